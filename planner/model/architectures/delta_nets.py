"""Gated-delta-net hybrids: Qwen3-Next, and Qwen3.5 / Qwen3.6 with dense or expert layers and a vision tower.

vllm/model_executor/models/qwen3_next.py and qwen3_5.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import (
    Heads,
    attention,
    attention_cache,
    experts,
    gated_mlp,
    norm,
    replicated,
    router,
)
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import MROPE_POSITIONS_FACTOR, rope_cache, rope_parameters
from planner.model.architectures.states import DeltaHeads, delta_cache, gated_delta_net
from planner.model.architectures.towers import qwen3_vl_tower
from planner.model.architectures.vision import QWEN_PREFIXES, with_tower
from planner.model.facts import Layer

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import Cache, ModelFacts, Parameter

FULL_ATTENTION_INTERVAL = 4  # transformers' Qwen3NextConfig and Qwen3_5TextConfig: every fourth layer attends
# The checkpoint's parts of the fused projections. Qwen3-Next ships them fused, Qwen3.5 apart.
NEXT_NAMES = (("in_proj_qkvz",) * 4, ("in_proj_ba",))
QWEN3_5_NAMES = (("in_proj_qkv",) * 3 + ("in_proj_z",), ("in_proj_b", "in_proj_a"))


def qwen3_next(config: Config) -> ModelFacts:
    """Qwen3-Next: gated delta nets, gated attention, many small experts."""
    text = text_config(config)
    count = optional(text, "num_experts", default=512)
    body = Body(num_experts=count, flags={"tables_everywhere": True, "max_experts_tp": count or None})
    return assemble(config, qwen3_next_layers(text), body)


def qwen3_5(config: Config) -> ModelFacts:
    """Qwen3.5 and 3.6, text alone or with images, dense or with experts."""
    text = text_config(config)
    count = optional(text, "num_experts", default=0)
    body = Body(num_experts=count, flags={"embedding_everywhere": True, "max_experts_tp": count or None})
    facts = assemble(config, qwen3_5_layers(text, sparse=count > 0), body)
    if "vision_config" not in config:
        return facts
    return with_tower(facts, qwen3_vl_tower(config), *QWEN_PREFIXES)


def qwen3_next_layers(text: Config) -> tuple[Layer, ...]:
    """Three delta nets to one gated attention; experts in all but the layers that the config names."""
    dense = set(optional(text, "mlp_only_layers", default=()))
    step = optional(text, "decoder_sparse_step", default=1)
    has_experts = optional(text, "num_experts", default=512) > 0
    return tuple(
        _layer(
            text,
            kind,
            NEXT_NAMES,
            sparse=has_experts and index not in dense and (index + 1) % step == 0,
        )
        for index, kind in enumerate(layer_types(text))
    )


def qwen3_5_layers(text: Config, *, sparse: bool) -> tuple[Layer, ...]:
    """The same pattern; experts in every layer or in none."""
    return tuple(_layer(text, kind, QWEN3_5_NAMES, sparse=sparse) for kind in layer_types(text))


def layer_types(text: Config) -> tuple[str, ...]:
    """linear_attention or full_attention for each layer."""
    published = text.get("layer_types")
    if published:
        return tuple(published)
    interval = optional(text, "full_attention_interval", default=FULL_ATTENTION_INTERVAL)
    count = required(text, "num_hidden_layers")
    return tuple("linear_attention" if (index + 1) % interval else "full_attention" for index in range(count))


def _layer(text: Config, kind: str, names: tuple[tuple[str, ...], tuple[str, ...]], *, sparse: bool) -> Layer:
    hidden_size = required(text, "hidden_size")
    mixer, cache = _delta_net(text, names) if kind == "linear_attention" else _attention(text)
    norms = norm("input_layernorm", hidden_size) + norm("post_attention_layernorm", hidden_size)
    mlp = _experts(text) if sparse else gated_mlp(hidden_size, required(text, "intermediate_size"))
    return Layer((*mixer, *mlp, *norms), (cache,))


def _delta_net(text: Config, names: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[Modules, Cache]:
    heads = DeltaHeads(
        hidden_size=required(text, "hidden_size"),
        key_heads=required(text, "linear_num_key_heads"),
        value_heads=required(text, "linear_num_value_heads"),
        key_dim=required(text, "linear_key_head_dim"),
        value_dim=required(text, "linear_value_head_dim"),
        conv_kernel=required(text, "linear_conv_kernel_dim"),
    )
    return gated_delta_net(heads, names), delta_cache(heads, text.get("mamba_ssm_dtype"))


def _attention(text: Config) -> tuple[Modules, Cache]:
    heads = Heads(
        required(text, "hidden_size"),
        required(text, "num_attention_heads"),
        required(text, "num_key_value_heads"),
        required(text, "head_dim"),
    )
    gated = optional(text, "attn_output_gate", default=True)
    bias = optional(text, "qkv_bias", default=False)
    return (*attention(heads, qkv_bias=bias, qk_norm=True, gated=gated), _rope(text, heads)), attention_cache(heads)


def _rope(text: Config, heads: Heads) -> Parameter:
    """Positions of text; those of images lie in the same rows from 0.33.0 (qwen3_vl.py mrope_positions_factor)."""
    rope = rope_parameters(text)
    rope.setdefault("partial_rotary_factor", 0.25)
    has_images = rope.pop("mrope_section", None) is not None
    cache = rope_cache(heads.head_dim, required(text, "max_position_embeddings"), rope)
    if not has_images:
        return cache
    rows, width = cache.shape
    return replace(cache, shape_before_0_33=(rows * MROPE_POSITIONS_FACTOR, width))


def _experts(text: Config) -> Modules:
    """Routed experts and one shared expert behind its own gate (Qwen3NextSparseMoeBlock)."""
    hidden_size, count = required(text, "hidden_size"), required(text, "num_experts")
    shared = optional(text, "shared_expert_intermediate_size", default=0)
    shared_mlp = gated_mlp(hidden_size, shared, "mlp.shared_expert") if shared else ()
    return (
        *router(hidden_size, count),
        replicated("mlp.shared_expert_gate", hidden_size, 1, quantizable=False),
        *shared_mlp,
        *experts(hidden_size, required(text, "moe_intermediate_size"), count, required(text, "num_experts_per_tok")),
    )
