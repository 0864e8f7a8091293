"""Hybrids of Mamba and attention: Jamba, Granite 4 and Falcon-H1.

vllm/model_executor/models/{jamba,granitemoehybrid,falcon_h1}.py.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention, attention_cache, experts, gated_mlp, norm, router
from planner.model.architectures.dense import read_heads, rope_of
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.states import (
    Mamba1,
    Mamba2,
    mamba1_cache,
    mamba1_mixer,
    mamba2_cache,
    mamba2_mixer,
)
from planner.model.facts import Layer, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

AUTO_RANK_DIVISOR = 16  # transformers' JambaConfig and MambaConfig: "auto" is hidden_size / 16


def jamba(config: Config) -> ModelFacts:
    """Mamba-1 with an attention layer now and then, experts on every other layer; the head is never tied."""
    text = text_config(config)
    size, count = required(text, "hidden_size"), optional(text, "num_experts", default=16)
    layers = tuple(_jamba_layer(text, index, count) for index in range(required(text, "num_hidden_layers")))
    body = Body(
        final=norm("model.final_layernorm", size),
        num_experts=count if count > 1 else 0,
        flags={"tables_everywhere": True, "mamba_prefix_caching": True},
    )
    return assemble({**config, "tie_word_embeddings": False}, layers, body)


def _jamba_layer(text: Config, index: int, count: int) -> Layer:
    size = required(text, "hidden_size")
    attends = _falls_on(text, index, "attn_layer", 8, 4)
    sparse = count > 1 and _falls_on(text, index, "expert_layer", 2, 1)
    norms = norm("input_layernorm", size) + norm("pre_ff_layernorm", size)
    mlp = (
        _jamba_experts(text, count) if sparse else gated_mlp(size, required(text, "intermediate_size"), "feed_forward")
    )
    if attends:
        heads = read_heads({**text, "head_dim": None})
        modules, cache = attention(heads), attention_cache(heads)
    else:
        shape = _jamba_mamba(text)
        modules, cache = mamba1_mixer(shape, "mamba"), mamba1_cache(shape)
    return Layer((*modules, *mlp, *norms), (cache,))


def _falls_on(text: Config, index: int, key: str, period: int, offset: int) -> bool:
    """Every ``period``-th layer from ``offset`` on; the defaults are transformers' JambaConfig's."""
    every = optional(text, f"{key}_period", default=period)
    first = optional(text, f"{key}_offset", default=offset)
    return bool(index % every == first)


def _jamba_mamba(text: Config) -> Mamba1:
    size = required(text, "hidden_size")
    rank = optional(text, "mamba_dt_rank", default="auto")
    return Mamba1(
        hidden_size=size,
        intermediate_size=optional(text, "mamba_expand", default=2) * size,
        state_size=optional(text, "mamba_d_state", default=16),
        conv_kernel=optional(text, "mamba_d_conv", default=4),
        time_step_rank=ceil(size / AUTO_RANK_DIVISOR) if rank == "auto" else rank,
        conv_bias=optional(text, "mamba_conv_bias", default=True),
        bias=optional(text, "mamba_proj_bias", default=False),
        inner_norms=True,
    )


def _jamba_experts(text: Config, count: int) -> Modules:
    size, width = required(text, "hidden_size"), required(text, "intermediate_size")
    top_k = optional(text, "num_experts_per_tok", default=2)
    return (
        *router(size, count, "feed_forward.router"),
        *experts(size, width, count, top_k, "feed_forward.experts"),
    )


def granite_hybrid(config: Config) -> ModelFacts:
    """Granite 4: Mamba-2 or attention per layer, each followed by experts and a shared MLP, or by the latter alone."""
    text = text_config(config)
    count = required(text, "num_local_experts")
    made = {kind: _granite_layer(text, kind, count) for kind in set(required(text, "layer_types"))}
    flags = {"tables_everywhere": True, "mamba_prefix_caching": True}
    flags["mamba_chunk_size"] = optional(text, "mamba_chunk_size", default=256)
    return assemble(
        config, [made[kind] for kind in text["layer_types"]], Body(tied=True, num_experts=count, flags=flags)
    )


def _granite_layer(text: Config, kind: str, count: int) -> Layer:
    size = required(text, "hidden_size")
    norms = norm("input_layernorm", size) + norm("post_attention_layernorm", size)
    if kind in ("mamba", "linear_attention"):
        shape = granite_mamba(text)
        modules, cache = mamba2_mixer(shape, "mamba"), mamba2_cache(shape)
    else:
        heads = read_heads({**text, "head_dim": None})
        biased = bool(optional(text, "attention_bias", default=False))
        rotary = text.get("position_embedding_type") == "rope"
        modules = attention(heads, qkv_bias=biased, out_bias=biased) + (rope_of(text, heads) if rotary else ())
        cache = attention_cache(heads)
    return Layer((*modules, *_granite_mlp(text, count), *norms), (cache,))


def _granite_mlp(text: Config, count: int) -> Modules:
    size, shared = required(text, "hidden_size"), required(text, "shared_intermediate_size")
    modules: Modules = ()
    if count:
        width, top_k = required(text, "intermediate_size"), required(text, "num_experts_per_tok")
        prefix = "block_sparse_moe"
        modules = (
            *router(size, count, f"{prefix}.gate"),
            *experts(size, width, count, top_k, f"{prefix}.experts"),
        )
    if shared:
        modules += gated_mlp(size, shared, "shared_mlp", names=("input_linear", "output_linear"))
    return modules


def granite_mamba(text: Config) -> Mamba2:
    """The mixer as Bamba's keys describe it; Falcon-H1 may name its width apart."""
    size, heads = required(text, "hidden_size"), required(text, "mamba_n_heads")
    width = text.get("mamba_d_ssm") or int(optional(text, "mamba_expand", default=2) * size)
    head_dim = optional(text, "mamba_d_head", default="auto")
    return Mamba2(
        hidden_size=size,
        intermediate_size=width,
        heads=heads,
        head_dim=width // heads if head_dim == "auto" else head_dim,
        groups=optional(text, "mamba_n_groups", default=1),
        state_size=required(text, "mamba_d_state"),
        conv_kernel=required(text, "mamba_d_conv"),
        conv_bias=optional(text, "mamba_conv_bias", default=True),
        bias=optional(text, "mamba_proj_bias", default=False),
    )


def falcon_h1(config: Config) -> ModelFacts:
    """Attention and Mamba-2 side by side in every layer: it keeps two caches."""
    text = text_config(config)
    size, heads, shape = required(text, "hidden_size"), read_heads(text), granite_mamba(text)
    shape = replace(shape, rms_norm=optional(text, "mamba_rms_norm", default=False))
    scales = 2 * shape.intermediate_size + 2 * shape.groups * shape.state_size + shape.heads
    modules = (
        *attention(heads),
        *rope_of(text, heads),
        *mamba2_mixer(shape, "mamba.mamba"),
        Parameter("mamba.mup_vector", (1, scales), 1, buffer=True, loaded=False),
        *gated_mlp(size, required(text, "intermediate_size"), "feed_forward"),
        *norm("input_layernorm", size),
        *norm("pre_ff_layernorm", size),
    )
    layer = Layer(modules, (attention_cache(heads), mamba2_cache(shape)))
    flags = {"mamba_prefix_caching": True, "mamba_chunk_size": optional(text, "mamba_chunk_size", default=256)}
    body = Body(final=norm("model.final_layernorm", size), flags=flags)
    return assemble(config, (layer,) * required(text, "num_hidden_layers"), body)
