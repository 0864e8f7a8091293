"""Step's perception encoder: learned and rotary positions, scaled branches, two convolutions that shrink the grid.

vllm/model_executor/models/step_vl.py and step3p7.py; defaults are vllm/transformers_utils/configs/step5.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.model.architectures.blocks import norm, plain_mlp
from planner.model.architectures.reading import optional, required
from planner.model.architectures.towers import patch_embedding, self_attention, under
from planner.model.facts import Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config

MLP_RATIO = 8960 / 1536
LAYER_SCALE = 0.1
KERNEL = (3, 3)  # PerceptionEncoder.vit_downsampler1 and 2
SHRUNK = 4  # their output is so many times as wide


def step_tower(config: Config) -> Modules:
    """The encoder and one projection, whose output every rank gathers."""
    vision = {"use_ln_pre": True, "use_abs_posemb": True, **config["vision_config"]}
    width, name = required(vision, "width", "hidden_size"), "vision_model"
    patch = required(vision, "patch_size")
    positions = (required(vision, "image_size") // patch) ** 2 + int(bool(vision.get("use_cls_token")))
    layers = required(vision, "layers", "num_hidden_layers")
    out = required(config["text_config"], "hidden_size")
    return (
        *patch_embedding(f"{name}.conv1", width, 3, patch, patch, bias=False),
        *(norm(f"{name}.ln_pre", width, bias=True) if vision["use_ln_pre"] else ()),
        *(norm(f"{name}.ln_post", width, bias=True) if vision.get("use_ln_post") else ()),
        *(under(f"{name}.transformer.resblocks.0", _block(vision, width, positions)) * layers),
        *patch_embedding(f"{name}.vit_downsampler1", 2 * width, width, *KERNEL, bias=True),
        *patch_embedding(f"{name}.vit_downsampler2", SHRUNK * width, 2 * width, *KERNEL, bias=True),
        *((Parameter(f"{name}.class_embedding", (width,)),) if vision.get("use_cls_token") else ()),
        *((Parameter(f"{name}.positional_embedding", (positions, width)),) if vision["use_abs_posemb"] else ()),
        Linear(
            "vit_large_projector", SHRUNK * width, (Output(out),), "column", bias=bool(config.get("projector_bias"))
        ),
    )


def _block(vision: Config, width: int, positions: int) -> Modules:
    num_heads = required(vision, "heads", "num_attention_heads")
    inner = int(width * optional(vision, "mlp_ratio", default=MLP_RATIO))
    scaled = vision.get("ls_init_value", LAYER_SCALE) is not None
    frequencies = Parameter(
        "attn.rope.freqs_cache", (positions, width // num_heads), dtype="float32", buffer=True, loaded=False
    )
    scales = (Parameter("ls_1.gamma", (width,)), Parameter("ls_2.gamma", (width,)))
    return (
        *self_attention(width, num_heads, "attn", out="out_proj", qkv="qkv_proj"),
        frequencies,
        *(scales if scaled else ()),
        *norm("ln_1", width, bias=True),
        *norm("ln_2", width, bias=True),
        *plain_mlp(width, inner, "mlp", names=("fc1", "fc2")),
    )
