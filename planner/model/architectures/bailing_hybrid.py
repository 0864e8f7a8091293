"""Ling and Ring 2.5 and Ling 3: latent attention now and then between layers that keep a state, before Ling's experts.

vllm/model_executor/models/{bailing_moe_linear,bailing_moe_v3}.py and layers/mamba/linear/bailing_linear_attn.py. The
config classes are Python code of the repositories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.errors import ModelError
from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.bailing import ROUTER_DTYPES, ling_experts
from planner.model.architectures.blocks import attention, gated_mlp, norm
from planner.model.architectures.dense import Shape, norms_of, read_heads, rope_of
from planner.model.architectures.mla import mla_attention, mla_cache
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import rope_parameters
from planner.model.facts import Cache, Layer, Linear, Output, Parameter, StateTensor

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Heads, Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

LATENT = {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "kv_lora_rank": 512}


def ling_2_5(config: Config) -> ModelFacts:
    """Lightning attention with a gate and group norms; every layer_group_size-th layer is latent attention."""
    text = {**LATENT, **text_config(config)}
    period = optional(text, "layer_group_size", default=1)
    biased = bool(text.get("use_bias"))
    heads = replace(read_heads(text), num_kv_heads=required(text, "num_attention_heads"))
    states = (StateTensor((heads.num_heads, heads.head_dim, heads.head_dim), 0, role="conv"),)
    lightning = (_lightning(text, heads, biased=biased), Cache("mamba", mamba_type="linear", states=states))
    latent = (mla_attention(_whole_rotary(text)), mla_cache(text))
    router_dtype = ROUTER_DTYPES.get(text.get("router_dtype") or "fp32", "bfloat16")
    sparse = ling_experts(text, router_dtype, biased=biased)
    linear = [bool((index + 1) % period) for index in range(required(text, "num_hidden_layers"))]
    facts = _assembled(config, text, [lightning if one else latent for one in linear], sparse, biased=biased)
    return replace(facts, norm_groups=optional(text, "group_norm_size", default=1))


def _lightning(text: Config, heads: Heads, *, biased: bool) -> Modules:
    """As many keys as queries, an output gate, and a norm whose groups are divided over the ranks."""
    inner = heads.num_heads * heads.head_dim
    fused = attention(
        heads,
        qkv="query_key_value",
        out="dense",
        qkv_bias=biased or bool(text.get("use_qkv_bias")),
        out_bias=biased,
    )
    head_norms = ("self_attn.query_layernorm", "self_attn.key_layernorm") if text.get("use_qk_norm") else ()
    return (
        *(module for module in fused if isinstance(module, Linear)),
        *(module for name in head_norms for module in norm(name, heads.head_dim)),
        Linear("self_attn.g_proj", heads.hidden_size, (Output(inner, heads.num_heads),), "column"),
        Parameter("self_attn.g_norm.weight", (inner,), 0),
        Parameter("self_attn.slope_rate", (heads.num_heads,), dtype="float32", buffer=True, loaded=False),
        *rope_of(text, heads),
    )


def ling_3(config: Config) -> ModelFacts:
    """Kimi delta attention with full-rank gates; the last layers, which fill no group, are latent as well."""
    text = {**LATENT, **text_config(config)}
    if (config.get("quantization_config") or {}).get("weight_block_size"):
        raise ModelError(
            "BailingMoeV3ForCausalLM in FP8 blocks: how vLLM pads and repeats its projections there is not counted. "
            "Use the checkpoint in bfloat16."
        )
    period, count = required(text, "layer_group_size"), required(text, "num_hidden_layers")
    grouped = count // period * period
    heads, biased = read_heads(text), bool(text.get("use_bias"))
    delta = (_delta(text, heads), _delta_cache(text, heads))
    latent = (_gated_latent(text), mla_cache(text))
    sparse = ling_experts({**text, "moe_router_enable_expert_bias": True}, "float32", biased=biased)
    kinds = [delta if (index + 1) % period and index < grouped else latent for index in range(count)]
    return replace(_assembled(config, text, kinds, sparse, biased=biased), engine_added_in="0.29.0")


def _delta(text: Config, heads: Heads) -> Modules:
    """Kimi delta attention without low-rank gates; each convolution is a layer of its own, in fp32."""
    size, width = heads.hidden_size, heads.num_heads * heads.head_dim
    whole, kernel = Output(width, heads.num_heads), required(text, "short_conv_kernel_size")
    parts = (
        *(replace(whole, name=f"{part}_proj") for part in "qkv"),
        Output(heads.num_heads, heads.num_heads, name="b_proj"),
    )
    convolutions = (
        Linear(f"self_attn.{part}_conv1d", kernel, (whole,), "column", quantizable=False, dtype="float32")
        for part in "qkv"
    )
    return (
        Linear("self_attn.qkvb_proj", size, parts, "column"),
        Linear("self_attn.f_proj", size, (whole,), "column"),
        Linear("self_attn.g_proj", size, (whole,), "column"),
        *convolutions,
        Parameter("self_attn.dt_bias", (width,), 0, dtype="float32"),
        Parameter("self_attn.A_log", (heads.num_heads,), 0, dtype="float32"),
        *norm("self_attn.o_norm", heads.head_dim),
        Linear("self_attn.o_proj", width, (Output(size),), "row", in_heads=heads.num_heads),
    )


def _delta_cache(text: Config, heads: Heads) -> Cache:
    """kda_state_shape."""
    tail, dim = required(text, "short_conv_kernel_size") - 1, heads.head_dim
    states = (
        StateTensor((tail, 3 * heads.num_heads * dim), 1, role="conv"),
        StateTensor((heads.num_heads, dim, dim), 0),
    )
    return Cache("mamba", head_size=dim, mamba_type="kda", states=states)


def _gated_latent(text: Config) -> Modules:
    """Latent attention whose output is gated by head or by element before its last projection, named dense."""
    heads, gating = required(text, "num_attention_heads"), text.get("gated_attention_proj_granularity_type")
    width = {"head_wise": heads, "element_wise": heads * text["v_head_dim"]}.get(str(gating), 0)
    gate = Linear("self_attn.g_proj", required(text, "hidden_size"), (Output(width, heads),), "column")
    latent = mla_attention(_whole_rotary(text))
    renamed = (
        replace(module, name="self_attn.dense") if module.name == "self_attn.o_proj" else module for module in latent
    )
    return (*renamed, *((gate,) if width else ()))


def _whole_rotary(text: Config) -> Config:
    """partial_rotary_factor is of the layers that keep a state; latent attention turns all of qk_rope_head_dim."""
    rope = {key: value for key, value in rope_parameters(text).items() if key != "partial_rotary_factor"}
    return {**text, "partial_rotary_factor": None, "rope_scaling": None, "rope_parameters": rope}


def _assembled(
    config: Config, text: Config, kinds: list[tuple[Modules, Cache]], sparse: Modules, *, biased: bool
) -> ModelFacts:
    size, count = required(text, "hidden_size"), optional(text, "num_experts", default=0)
    dense = gated_mlp(size, required(text, "intermediate_size"), bias=biased)
    first = optional(text, "first_k_dense_replace", default=0)
    layers = [
        Layer((*modules, *(sparse if index >= first else dense), *norms_of(text, Shape())), (cache,))
        for index, (modules, cache) in enumerate(kinds)
    ]
    body = Body(
        num_experts=count,
        kv_heads=1,
        head_dim=text["kv_lora_rank"] + text["qk_rope_head_dim"],
        embedding_name="model.word_embeddings",
        flags={"is_mla": True, "needs_trust_remote_code": True},
    )
    return assemble({**config, "tie_word_embeddings": False}, layers, body)
