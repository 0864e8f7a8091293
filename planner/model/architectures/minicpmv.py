"""MiniCPM-V 2.5 to 4.5 and MiniCPM-o: Llama, Qwen2 or Qwen3 behind SigLIP, through a resampler of learned queries.

vllm/model_executor/models/{minicpmv,minicpmo,idefics2_vision_model}.py and layers/resampler.py. The config classes are
Python code of the repositories; they keep the language model's keys at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.errors import UnknownArchitectureError
from planner.model.architectures import dense
from planner.model.architectures.audio_encoders import DEFAULTS, transformers_encoder
from planner.model.architectures.blocks import norm, replicated
from planner.model.architectures.image_encoders import DEFAULTS as IMAGE_DEFAULTS
from planner.model.architectures.image_encoders import at, siglip_encoder
from planner.model.architectures.reading import required
from planner.model.facts import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

PATCHES_PER_SIDE = 70  # Resampler2_5's max_size
FRAMES = 36_000  # Resampler4_5's max_temporal_size
VIDEO_VERSION = "4.5"
# version -> the language model, and the model_type that says what its window means
TEXTS: Mapping[str, tuple[Callable[[Config], ModelFacts], str]] = {
    "2.5": (dense.llama, "llama"),
    "2.6": (dense.qwen2, "qwen2"),
    "4.0": (dense.llama, "llama"),
    VIDEO_VERSION: (dense.qwen3, "qwen3"),
}


def minicpm_v(config: Config) -> ModelFacts:
    """The class of config.json's version (MiniCPMV.__new__)."""
    version = str(config.get("version") or ("2.0" if _is_first(config) else "2.5"))
    if version not in TEXTS:
        raise UnknownArchitectureError(
            f"MiniCPMV: version {version} is not known; known are {', '.join(TEXTS)}. Its weights cannot be counted. "
            "To add it, describe its encoder in planner/model/architectures/minicpmv.py."
        )
    family, model_type = TEXTS[version]
    facts = family({**config, "model_type": model_type})
    tower = (*_encoder(config), *_resampler(config, with_time=version == VIDEO_VERSION))
    return replace(
        facts,
        tower=tower,
        is_multimodal=True,
        needs_trust_remote_code=True,
        layers_prefix=f"llm.{facts.layers_prefix}",
    )


def minicpm_o(config: Config) -> ModelFacts:
    """MiniCPM-o 2.6 and 4.5: MiniCPM-V of that version with Whisper's encoder; what speaks is not loaded."""
    facts = minicpm_v({"version": "2.6", **config})
    if not config.get("audio_config"):
        return facts
    audio, size = {**DEFAULTS, **config["audio_config"]}, required(config, "hidden_size")
    projection = (
        replicated("audio_projection_layer.linear1", audio["encoder_ffn_dim"] // 4, size, bias=True, quantizable=False),
        replicated("audio_projection_layer.linear2", size, size, bias=True, quantizable=False),
    )
    whisper = (
        *transformers_encoder(audio),
        Parameter("apm.embed_positions.weight", (audio["max_source_positions"], audio["d_model"])),
        *norm("apm.layer_norm", audio["d_model"], bias=True),
    )
    return replace(facts, tower=(*facts.tower, *whisper, *projection))


def _is_first(config: Config) -> bool:
    return (config.get("hidden_size"), config.get("query_num")) == (2304, 64)


def _encoder(config: Config) -> Modules:
    """Idefics2VisionTransformer, which is SigLIP with the norm behind it; the last layer dropped where asked for."""
    vision = {**IMAGE_DEFAULTS["siglip_vision_model"], **required(config, "vision_config")}
    layers = vision["num_hidden_layers"] - bool(config.get("drop_vision_last_layer"))
    modules = (
        *siglip_encoder(vision, layers, idefics=True),
        *norm("vision_tower.vision_model.post_layernorm", vision["hidden_size"], bias=True),
    )
    return at("vpm", tuple(module for module in modules if not module.name.endswith("position_ids")))


def _resampler(config: Config, *, with_time: bool) -> Modules:
    """Queries that attend to the patches; torch's attention, whole on every rank, with its tables of positions."""
    size, width = required(config, "hidden_size"), config["vision_config"].get("hidden_size")
    frames = Parameter("resampler.temporal_pos_embed", (FRAMES, size), buffer=True, loaded=False)
    return (
        Parameter("resampler.query", (required(config, "query_num"), size)),
        *((replicated("resampler.kv_proj", width, size),) if width != size else ()),
        replicated("resampler.attn.in_proj", size, 3 * size, bias=True, quantizable=False),
        replicated("resampler.attn.out_proj", size, size, bias=True, quantizable=False),
        *(module for name in ("ln_q", "ln_kv", "ln_post") for module in norm(f"resampler.{name}", size, bias=True)),
        Parameter("resampler.proj", (size, size)),
        Parameter("resampler.pos_embed", (PATCHES_PER_SIDE, PATCHES_PER_SIDE, size), buffer=True, loaded=False),
        *((frames,) if with_time else ()),
    )
