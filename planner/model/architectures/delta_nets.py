"""Gated-delta-net hybrids: Qwen3-Next, Qwen3.5 / Qwen3.6 with dense or expert layers and a vision tower, OLMo Hybrid.

vllm/model_executor/models/{qwen3_next,qwen3_5,olmo_hybrid}.py.
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
from planner.model.facts import Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import Cache, ModelFacts

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
    heads = _delta_heads(text)
    return gated_delta_net(heads, names), delta_cache(heads, text.get("mamba_ssm_dtype"))


def _delta_heads(text: Config) -> DeltaHeads:
    return DeltaHeads(
        hidden_size=required(text, "hidden_size"),
        key_heads=required(text, "linear_num_key_heads"),
        value_heads=required(text, "linear_num_value_heads"),
        key_dim=required(text, "linear_key_head_dim"),
        value_dim=required(text, "linear_value_head_dim"),
        conv_kernel=required(text, "linear_conv_kernel_dim"),
    )


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


def olmo_hybrid(config: Config) -> ModelFacts:
    """OLMo Hybrid: OLMo 3's attention between delta nets whose b and a lie apart; tables on every stage."""
    text = text_config(config)
    layers = [_olmo_layer(text, kind) for kind in layer_types(text)]
    return assemble(config, layers, Body(flags={"tables_everywhere": True}))


def _olmo_layer(text: Config, kind: str) -> Layer:
    size = required(text, "hidden_size")
    mlp = gated_mlp(size, required(text, "intermediate_size"))
    if kind == "linear_attention":
        heads = _delta_heads(text)
        norms = norm("input_layernorm", size) + norm("post_attention_layernorm", size)
        cache = replace(delta_cache(heads, text.get("mamba_ssm_dtype")), checkpoint_blocks=False)  # always FLA's kernel
        return Layer((*_olmo_delta_net(heads), *mlp, *norms), (cache,))
    count = required(text, "num_attention_heads")
    attends = Heads(size, count, optional(text, "num_key_value_heads", default=count), size // count)
    modules = (
        *attention(attends),
        *norm("self_attn.k_norm", attends.num_kv_heads * attends.head_dim),
        *norm("self_attn.q_norm", size),
        *_olmo_rope(text, attends),
        *mlp,
        *norm("post_attention_layernorm", size),
        *norm("post_feedforward_layernorm", size),
    )
    return Layer(modules, (attention_cache(attends),))


def _olmo_delta_net(heads: DeltaHeads, prefix: str = "linear_attn") -> Modules:
    """OlmoHybridGatedDeltaNetAttention."""
    keys, values = Output(heads.keys, heads.key_heads), Output(heads.values, heads.value_heads)
    single = Output(heads.value_heads, heads.value_heads)
    return (
        Linear(f"{prefix}.in_proj_qkvg", heads.hidden_size, (keys, keys, values, values), "column"),
        Linear(f"{prefix}.b_proj", heads.hidden_size, (single,), "column"),
        Linear(f"{prefix}.a_proj", heads.hidden_size, (single,), "column"),
        Linear(f"{prefix}.conv1d", heads.conv_kernel, (keys, keys, values), "column", quantizable=False),
        Parameter(f"{prefix}.dt_bias", (heads.value_heads,), split_dim=0),
        Parameter(f"{prefix}.A_log", (heads.value_heads,), split_dim=0),
        *norm(f"{prefix}.o_norm", heads.value_dim),
        Linear(f"{prefix}.o_proj", heads.values, (Output(heads.hidden_size),), "row", in_heads=heads.value_heads),
    )


def _olmo_rope(text: Config, heads: Heads) -> Modules:
    """None where the frequency is null: such models have no positions in attention."""
    rope = rope_parameters(text)
    if rope.get("rope_theta") is None:
        return ()
    return (rope_cache(heads.head_dim, required(text, "max_position_embeddings"), rope),)
