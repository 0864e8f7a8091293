"""Keye-VL and Keye-VL 1.5: Qwen3 behind SigLIP with axial positions and a second table for packed patches.

vllm/model_executor/models/{keye,keye_vl1_5}.py. The config classes are Python code of the repositories; they keep the
language model's keys at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.blocks import norm
from planner.model.architectures.dense import qwen3
from planner.model.architectures.image_encoders import DEFAULTS, at, siglip_encoder
from planner.model.architectures.reading import required
from planner.model.architectures.towers import dense_linear, encoder_frequencies
from planner.model.architectures.vision import with_tower
from planner.model.facts import Parameter

if TYPE_CHECKING:
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

PACKED_POSITIONS = 32_768  # KeyeVisionEmbeddings.packing_position_embedding
MERGED_PATCHES = 4  # Projector.merge_kernel_size
PREFIXES = (("lm_head.", "language_model.lm_head."), ("model.", "language_model.model."))


def keye(config: Config) -> ModelFacts:
    """The first Keye-VL: a norm over each patch before four of them are joined."""
    return _keye(config, required(config["vision_config"], "hidden_size"))


def keye_1_5(config: Config) -> ModelFacts:
    """The norm comes after the patches are joined."""
    return _keye(config, required(config["vision_config"], "hidden_size") * MERGED_PATCHES)


def _keye(config: Config, norm_width: int) -> ModelFacts:
    vision = {**DEFAULTS["siglip_vision_model"], **required(config, "vision_config")}
    width, name, size = vision["hidden_size"], "visual.vision_model", required(config, "hidden_size")
    merged = width * MERGED_PATCHES
    tower = (
        *at(name, siglip_encoder(vision, vision["num_hidden_layers"])),
        Parameter(f"{name}.embeddings.packing_position_embedding.weight", (PACKED_POSITIONS, width)),
        encoder_frequencies(f"{name}.encoder", width // vision["num_attention_heads"]),
        *norm(f"{name}.post_layernorm", width, bias=True),
        *norm("mlp_AR.pre_norm", norm_width, bias=True),
        dense_linear("mlp_AR.linear_1", merged, merged),
        dense_linear("mlp_AR.linear_2", merged, size, "row"),
    )
    facts = qwen3({**config, "model_type": "qwen3"})
    return replace(with_tower(facts, tower, *PREFIXES), needs_trust_remote_code=True)
