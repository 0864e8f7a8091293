"""Nemotron Nano VL: Nemotron-H behind RADIO, a ViT with a token for each of its teachers.

vllm/model_executor/models/{nano_nemotron_vl,radio,intern_vit}.py and transformers_utils/configs/radio.py. The config
class is Python code of the repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.errors import UnknownArchitectureError
from planner.model.architectures.blocks import norm, plain_mlp, replicated
from planner.model.architectures.intern_vit import unquantized
from planner.model.architectures.nested import beside
from planner.model.architectures.reading import optional, required
from planner.model.architectures.towers import self_attention, under
from planner.model.facts import Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

# VIT_TIMM_DIM_BY_NAME: width, layers, heads and the MLP's width
VITS = {
    "vit_small_patch16_224": (384, 12, 6, 1536),
    "vit_base_patch16_224": (768, 12, 12, 3072),
    "vit_large_patch16_224": (1024, 24, 16, 4096),
    "vit_huge_patch16_224": (1280, 32, 16, 5120),
}
PREFIXES = (("language_model.backbone.", "language_model.model."),)


def nemotron_vl(config: Config) -> ModelFacts:
    """Neither encoder nor projector is quantized, and no pipeline stages are made.

    A model with a sound encoder is refused: its convolutions are transformers' own and not described.
    """
    if config.get("sound_config"):
        raise UnknownArchitectureError(
            "NemotronH_Nano_VL_V2 with a sound_config is not known: its sound encoder's weights cannot be counted, and "
            "a guess would be worth nothing. To add it, describe the encoder in "
            "planner/model/architectures/nemotron_vl.py from sound_config."
        )
    facts = beside(config, (), *PREFIXES)
    ratio = round(1 / optional(config, "downsample_ratio", default=0.5)) ** 2
    merged, inner = required(config, "vit_hidden_size") * ratio, required(config, "projector_hidden_size")
    final = bool(optional(config.get("llm_config") or {}, "num_nextn_predict_layers", default=0))
    tower = (
        *_radio(config),
        *(norm("vision_final_layernorm", config["vit_hidden_size"], bias=True) if final else ()),
        *norm("mlp1.0", merged),
        replicated("mlp1.1", merged, inner),
        replicated("mlp1.3", inner, facts.hidden_size),
    )
    return replace(facts, tower=unquantized(tower), supports_pp=False, needs_trust_remote_code=True)


def _radio(config: Config) -> Modules:
    """Positions for the largest image, tokens for teachers and registers, InternViT's layers, no norm behind them."""
    vision = required(config, "vision_config")
    settings = required(vision, "args")
    kind, patch = required(settings, "model"), optional(vision, "patch_size", default=16)
    if kind not in VITS:
        raise UnknownArchitectureError(
            f"vision_config: RADIO's {kind} is not known; known are {', '.join(VITS)}. Its weights cannot be counted."
        )
    width, layers, heads, inner = VITS[kind]
    side = round(optional(settings, "cpe_max_size", default=2048) / patch)
    pixels, frames = 3 * patch * patch, optional(vision, "video_temporal_patch_size", default=1)
    block = (
        *self_attention(width, heads, "attn"),
        *plain_mlp(width, inner, names=("fc1", "fc2")),
        *norm("norm1", width, bias=True),
        *norm("norm2", width, bias=True),
        Parameter("ls1", (width,)),
        Parameter("ls2", (width,)),
    )
    name = "vision_model.model.patch_generator"
    teachers = optional(settings, "teachers", default=())
    summaries = sum(bool(teacher.get("use_summary", True)) for teacher in teachers)
    return (
        replicated(f"{name}.embedder", pixels, width),
        *((replicated(f"{name}.video_embedder", pixels * frames, width),) if frames > 1 else ()),
        Parameter(f"{name}.pos_embed", (1, side * side, width)),
        Parameter(f"{name}.cls_token.token", (_tokens(settings, teachers), width)),
        *(under("vision_model.model.encoder.layers.0", block) * layers),
        *((Parameter("vision_model.summary_idxs", (summaries,), dtype="int64", buffer=True),) if summaries else ()),
    )


def _tokens(settings: Config, teachers: list[Config]) -> int:
    """One for each teacher's name, or one, and registers up to a multiple (ClsToken)."""
    count = len({teacher["name"] for teacher in teachers}) if settings.get("cls_token_per_teacher") else 1
    multiple = settings.get("register_multiple")
    return count + (multiple - count % multiple if multiple else 0)
