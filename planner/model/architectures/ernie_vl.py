"""ERNIE 4.5 VL: experts for words beside experts for patches, and a vision tower whose patches are joined in time.

vllm/model_executor/models/{ernie45_vl,ernie45_vl_moe}.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention, attention_cache, experts, gated_mlp, norm, plain_mlp
from planner.model.architectures.dense import read_heads
from planner.model.architectures.reading import optional, required
from planner.model.architectures.rope import MROPE_POSITIONS_FACTOR
from planner.model.architectures.towers import encoder_frequencies, self_attention, under
from planner.model.architectures.vision import with_tower
from planner.model.facts import Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

PREFIXES = (
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
    ("language_model.model.resampler_model.", "resampler_model."),
)


def ernie4_5_vl(config: Config) -> ModelFacts:
    """Two sets of experts in a layer, each from its own first to its own last layer, shared experts beside both."""
    size, heads = required(config, "hidden_size"), read_heads(config)
    biased = bool(config.get("use_bias"))
    positions = optional(config, "max_position_embeddings", default=131_072) * MROPE_POSITIONS_FACTOR
    block = (
        *attention(heads, qkv_bias=biased),
        Parameter("self_attn.rotary_emb.cos_sin_cache", (positions, heads.head_dim), buffer=True, loaded=False),
        *norm("input_layernorm", size),
        *norm("post_attention_layernorm", size),
    )
    layers = [
        Layer((*block, *_mlp(config, index, biased=biased)), (attention_cache(heads),))
        for index in range(required(config, "num_hidden_layers"))
    ]
    count = max(required(config, "moe_num_experts"))
    facts = assemble(config, layers, Body(tied=True, num_experts=count, head_dim=heads.head_dim))
    if config.get("im_patch_id"):
        token_ids = Parameter("_visual_token_ids_tensor_cache", (1,), dtype="int64", buffer=True, loaded=False)
        facts = replace(facts, everywhere=(*facts.everywhere, token_ids))
    facts = with_tower(facts, _tower(config), *PREFIXES)
    # a tied head is looked up on stages that have no embedding, as in ERNIE's text models, which fails
    return replace(facts, supports_pp=not facts.tied_embedding, needs_trust_remote_code=True)


def _mlp(config: Config, index: int, *, biased: bool) -> Modules:
    size, last = required(config, "hidden_size"), required(config, "num_hidden_layers") - 1
    dense = required(config, "intermediate_size")
    first, end = (
        required(config, "moe_layer_start_index"),
        optional(config, "moe_layer_end_index", default=[last, last]),
    )
    on_step = (index + 1) % optional(config, "moe_layer_interval", default=1) == 0
    if not on_step or not min(first) <= index <= max(end):
        return gated_mlp(size, dense, bias=biased)
    widths, count = required(config, "moe_intermediate_size"), required(config, "moe_num_experts")[0]
    shared = optional(config, "moe_num_shared_experts", default=0)
    modules: Modules = (Parameter("mlp.e_score_correction_bias", (2, count), dtype="float32"),)
    if shared:
        modules += gated_mlp(size, widths[0] * shared, "mlp.shared_experts")
    for kind, start, stop, width in zip(("text", "vision"), first, end, widths, strict=False):
        name = f"mlp.{kind}_experts"
        if start <= index <= stop:
            gate = Linear(f"{name}_gate", size, (Output(count),), "replicated", dtype="float32")
            modules += (gate, *experts(size, width, count, required(config, "moe_k"), name))
        else:
            modules += gated_mlp(size, dense, name, bias=biased)
    return modules


def _tower(config: Config) -> Modules:
    """Blocks of LayerNorms and plain MLPs; patches that are neighbours in space, then in time, become one."""
    vision, name = required(config, "vision_config"), "resampler_model"
    width, num_heads, patch = (required(vision, key) for key in ("embed_dim", "num_heads", "patch_size"))
    space = required(config, "pixel_hidden_size") * required(config, "spatial_conv_size") ** 2
    time = space * required(config, "temporal_conv_size")
    block = (
        *norm("norm1", width, bias=True),
        *norm("norm2", width, bias=True),
        *self_attention(width, num_heads, "attn"),
        *plain_mlp(width, int(width * optional(vision, "mlp_ratio", default=4)), names=("fc1", "fc2")),
    )
    in_time = (
        _joined(f"{name}.temporal_linear1", time, space),
        _joined(f"{name}.temporal_linear2", space, space),
        *norm(f"{name}.temporal_norm", space, bias=True),
    )
    return (
        Parameter(
            "vision_model.patch_embed.proj.weight", (width, optional(vision, "in_channels", default=3) * patch * patch)
        ),
        encoder_frequencies("vision_model", width // num_heads),
        *(under("vision_model.blocks.0", block) * required(vision, "depth")),
        *norm("vision_model.ln", width, bias=True),
        _joined(f"{name}.spatial_linear1", space, space),
        _joined(f"{name}.spatial_linear2", space, space),
        *norm(f"{name}.spatial_norm", space, bias=True),
        *(in_time if optional(config, "use_temporal_conv", default=True) else ()),
        _joined(f"{name}.mlp", space, required(config, "hidden_size")),
        *norm(f"{name}.after_norm", required(config, "hidden_size")),
    )


def _joined(name: str, width: int, out: int) -> Linear:
    return Linear(name, width, (Output(out),), "column", bias=True, quantizable=False)
