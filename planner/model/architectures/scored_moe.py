"""Mixtures whose router scores experts one by one: Trinity, Hunyuan 3, Laguna, Command A's, LongCat-Flash, Param 2.

vllm/model_executor/models/{afmoe,hy_v3,laguna,cohere2_moe,longcat_flash,param2moe}.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention, attention_cache, experts, gated_mlp, norm, router
from planner.model.architectures.dense import read_heads
from planner.model.architectures.mla import mla_attention, mla_cache
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import rope_cache, rope_parameters
from planner.model.architectures.towers import under
from planner.model.facts import Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Heads, Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import Cache, ModelFacts

AFMOE_NORMS = ("input_layernorm", "post_attention_layernorm", "pre_mlp_layernorm", "post_mlp_layernorm")
LLAMA_NORMS = ("input_layernorm", "post_attention_layernorm")
GLOBAL_EVERY = 4  # transformers' AfmoeConfig.global_attn_every_n_layers, Cohere2MoeConfig.sliding_window_pattern
LAGUNA_WINDOW = 512  # transformers' LagunaConfig.sliding_window
AFMOE_WINDOW = 1024  # transformers' AfmoeConfig.sliding_window
ZERO_EXPERTS = 256  # transformers' LongcatFlashConfig.zero_expert_num


def norms(size: int, names: tuple[str, ...]) -> Modules:
    """RMSNorms over ``size``, or LayerNorms without a bias."""
    return tuple(module for name in names for module in norm(name, size))


def attention_kinds(text: Config) -> tuple[str, ...]:
    """layer_types, else every GLOBAL_EVERY-th layer attends to everything."""
    count = required(text, "num_hidden_layers")
    if published := text.get("layer_types"):
        return tuple(published[:count])
    every = optional(text, "global_attn_every_n_layers", "sliding_window_pattern", default=GLOBAL_EVERY)
    return tuple("full_attention" if (index + 1) % every == 0 else "sliding_attention" for index in range(count))


def windowed_cache(heads: Heads, window: int | None, *, sinks: bool = False) -> Cache:
    """The cache of a layer that attends to ``window`` tokens, or to everything."""
    return attention_cache(heads, "sliding_window" if window else "full", window, sinks=sinks)


def afmoe(config: Config) -> ModelFacts:
    """Arcee's Trinity: gated attention whose windowed layers alone have rope; an fp32 router; the head never tied."""
    text = {"head_dim": 128, **text_config(config)}
    size, heads = required(text, "hidden_size"), read_heads(text)
    count, width = required(text, "num_experts"), required(text, "moe_intermediate_size")
    shared = required(text, "num_shared_experts")
    sparse: Modules = (
        *router(size, count, dtype="float32", correction_bias="mlp.expert_bias"),
        *experts(size, width, count, required(text, "num_experts_per_tok")),
        *(gated_mlp(size, width * shared, "mlp.shared_experts") if shared else ()),
    )
    dense = gated_mlp(size, required(text, "intermediate_size"))
    query = Output(heads.num_heads * heads.head_dim, heads.num_heads)
    block = (
        *attention(heads, qk_norm=True),
        Linear("self_attn.gate_proj", size, (query,), "column"),
        *norms(size, AFMOE_NORMS),
    )
    rope = rope_cache(heads.head_dim, required(text, "max_position_embeddings"), rope_parameters(text))
    first = required(text, "num_dense_layers")
    layers = []
    for index, kind in enumerate(attention_kinds(text)):
        window = optional(text, "sliding_window", default=AFMOE_WINDOW) if kind == "sliding_attention" else None
        modules = (*block, *((rope,) if window else ()), *(sparse if index >= first else dense))
        layers.append(Layer(modules, (windowed_cache(heads, window),)))
    return assemble({**config, "tie_word_embeddings": False}, layers, Body(num_experts=count, head_dim=heads.head_dim))


def hy_v3(config: Config) -> ModelFacts:
    """Hunyuan 3: an fp32 router, one shared expert, tables on every stage."""
    text = text_config(config)
    size, heads = required(text, "hidden_size"), read_heads(text)
    count, width = required(text, "num_experts"), required(text, "expert_hidden_dim")
    shared = required(text, "num_shared_experts")
    sparse: Modules = (
        *router(size, count, dtype="float32", correction_bias="mlp.expert_bias"),
        *experts(size, width, count, required(text, "num_experts_per_tok")),
        *(gated_mlp(size, width * shared, "mlp.shared_mlp") if shared else ()),
    )
    dense = gated_mlp(size, required(text, "intermediate_size"))
    block = (
        *attention(heads, qk_norm=bool(text.get("qk_norm"))),
        rope_cache(heads.head_dim, optional(text, "max_position_embeddings", default=8192), rope_parameters(text)),
        *norms(size, LLAMA_NORMS),
    )
    first = required(text, "first_k_dense_replace")
    layers = [
        Layer((*block, *(sparse if index >= first else dense)), (attention_cache(heads),))
        for index in range(required(text, "num_hidden_layers"))
    ]
    flags = {"tables_everywhere": True, "max_experts_tp": count}
    return assemble(config, layers, Body(num_experts=count, head_dim=heads.head_dim, flags=flags))


def cohere2_moe(config: Config) -> ModelFacts:
    """Command A with experts: one norm for both branches, leading dense layers, a head that is the embedding."""
    text = {"head_dim": 128, **text_config(config)}
    size, heads, count = required(text, "hidden_size"), read_heads(text), required(text, "num_experts")
    width, shared = required(text, "intermediate_size"), optional(text, "num_shared_experts", default=0)
    sparse: Modules = (
        *router(size, count),
        *experts(size, width, count, required(text, "num_experts_per_tok")),
        *(gated_mlp(size, width * shared, "mlp.shared_experts") if shared else ()),
    )
    dense = gated_mlp(size, optional(text, "prefix_dense_intermediate_size", default=width))
    positions = optional(text, "model_max_length", "max_position_embeddings", default=8192)
    block = (
        *attention(heads),
        rope_cache(heads.head_dim, positions, rope_parameters(text)),
        *norm("input_layernorm", size),
    )
    layers = []
    for kind, mlp in zip(attention_kinds(text), _cohere_mlps(text), strict=True):
        window = required(text, "sliding_window") + 1 if kind == "sliding_attention" else None  # itself included
        layers.append(Layer((*block, *(dense if mlp == "dense" else sparse)), (windowed_cache(heads, window),)))
    flags = {"tables_everywhere": True, "max_experts_tp": count}
    body = Body(num_experts=count, head_dim=heads.head_dim, flags=flags)
    return assemble({**config, "tie_word_embeddings": True}, layers, body)


def _cohere_mlps(text: Config) -> tuple[str, ...]:
    """mlp_layer_types, else the first_k_dense_replace leading layers are dense (transformers' Cohere2MoeConfig)."""
    count = required(text, "num_hidden_layers")
    if published := text.get("mlp_layer_types"):
        return tuple(published[:count])
    first = optional(text, "first_k_dense_replace", default=0)
    return tuple("dense" if index < first else "sparse" for index in range(count))


def laguna(config: Config) -> ModelFacts:
    """Poolside's Laguna: heads that differ by layer, a gate on each, separate gate and up, a shared expert."""
    text = text_config(config)
    count = required(text, "num_experts")
    kinds = text.get("layer_types") or ("full_attention",) * required(text, "num_hidden_layers")
    sparse, dense = _laguna_experts(text), _apart(required(text, "hidden_size"), required(text, "intermediate_size"))
    mlps = text.get("mlp_layer_types") or ["dense"] + ["sparse"] * (required(text, "num_hidden_layers") - 1)
    layers = [
        _laguna_layer(text, index, kind, sparse if mlps[index] == "sparse" and count else dense)
        for index, kind in enumerate(kinds)
    ]
    body = Body(num_experts=count, head_dim=text.get("head_dim"), flags={"max_experts_tp": count})
    return assemble(config, layers, body)


def _apart(size: int, width: int, prefix: str = "mlp") -> Modules:
    """A gated MLP whose gate and up the engine leaves apart."""
    return (
        Linear(f"{prefix}.gate_proj", size, (Output(width),), "column"),
        Linear(f"{prefix}.up_proj", size, (Output(width),), "column"),
        Linear(f"{prefix}.down_proj", width, (Output(size),), "row"),
    )


def _laguna_experts(text: Config) -> Modules:
    size, count = required(text, "hidden_size"), required(text, "num_experts")
    shared = optional(text, "shared_expert_intermediate_size", default=0)
    return (
        *router(size, count, correction_bias="mlp.experts.e_score_correction_bias"),
        *experts(size, required(text, "moe_intermediate_size"), count, required(text, "num_experts_per_tok")),
        *(_apart(size, shared, "mlp.shared_expert") if shared else ()),
    )


def _laguna_layer(text: Config, index: int, kind: str, mlp: Modules) -> Layer:
    size, windowed = required(text, "hidden_size"), kind == "sliding_attention"
    per_layer = text.get("num_attention_heads_per_layer")
    heads = read_heads({**text, "num_attention_heads": per_layer[index] if per_layer else text["num_attention_heads"]})
    gating, biased = optional(text, "gating", default=True), bool(text.get("attention_bias"))
    per_head = gating is True or gating == "per-head"
    gate = Output(heads.num_heads * (1 if per_head else heads.head_dim), heads.num_heads)
    sinks = windowed and bool(text.get("swa_attention_sink_enabled"))
    modules = (
        *attention(heads, qkv_bias=biased, out_bias=biased, qk_norm=True),
        *((Linear("self_attn.g_proj", size, (gate,), "column"),) if gating else ()),
        *((Parameter("self_attn.sink", (heads.num_heads,), 0),) if sinks else ()),
        rope_cache(heads.head_dim, required(text, "max_position_embeddings"), _laguna_rope(text, kind)),
        *mlp,
        *norms(size, LLAMA_NORMS),
    )
    window = optional(text, "sliding_window", default=LAGUNA_WINDOW) if windowed else None
    return Layer(modules, (windowed_cache(heads, window, sinks=sinks),))


def _laguna_rope(text: Config, kind: str) -> dict[str, object]:
    """Windowed layers' settings: swa_rope_parameters, or those that rope_parameters keeps by layer type."""
    own = text.get("swa_rope_parameters") if kind == "sliding_attention" else None
    return rope_parameters({**text, "rope_parameters": own} if own else text, kind)


def longcat_flash(config: Config) -> ModelFacts:
    """LongCat-Flash: two latent attentions and two MLPs a layer, beside experts of which some do nothing."""
    text = text_config(config)
    text["intermediate_size"] = required(text, "ffn_hidden_size", "intermediate_size")
    size, count = required(text, "hidden_size"), required(text, "n_routed_experts")
    scored = count + optional(text, "zero_expert_num", default=ZERO_EXPERTS)
    left = set(text.get("disable_quant_module") or ())
    mlp = gated_mlp(size, text["intermediate_size"], "", quantizable="mlps" not in left)
    latent = mla_attention(text)
    if "self_attn" in left:
        latent = tuple(replace(part, quantizable=False) if isinstance(part, Linear) else part for part in latent)
    halves = tuple(
        module
        for index in ("0", "1")
        for module in (
            *(replace(part, name=part.name.replace("self_attn.", f"self_attn.{index}.", 1)) for part in latent),
            *under(f"mlps.{index}", tuple(replace(part, name=part.name.removeprefix(".")) for part in mlp)),
            *norms(size, (f"input_layernorm.{index}", f"post_attention_layernorm.{index}")),
        )
    )
    width = required(text, "expert_ffn_hidden_size", "moe_intermediate_size")
    routed = (
        *router(
            size,
            scored,
            "mlp.router.classifier",
            dtype="float32",
            correction_bias="mlp.router.e_score_correction_bias",
        ),
        *experts(size, width, count, required(text, "moe_topk")),
    )
    layer = Layer((*halves, *routed), (mla_cache(text), mla_cache(text)))
    body = Body(
        num_experts=count,
        kv_heads=1,
        head_dim=required(text, "kv_lora_rank") + required(text, "qk_rope_head_dim"),
        flags={"is_mla": True},
    )
    layers = (layer,) * required(text, "num_layers")
    return assemble({**config, "tie_word_embeddings": False}, layers, body)


def param2_moe(config: Config) -> ModelFacts:
    """Param 2: Ling's experts behind an fp32 router, norms on heads, rope over a part of each."""
    text = text_config(config)
    size, heads, count = required(text, "hidden_size"), read_heads(text), required(text, "num_experts")
    width, shared = required(text, "moe_intermediate_size"), optional(text, "num_shared_experts", default=1)
    biased = optional(text, "moe_router_enable_expert_bias", default=True)
    sparse: Modules = (
        *router(size, count, dtype="float32", correction_bias="mlp.gate.e_score_correction_bias" if biased else None),
        *experts(size, width, count, required(text, "num_experts_per_tok")),
    )
    if shared:
        shared_width = optional(text, "moe_shared_expert_intermediate_size", default=width * shared)
        sparse += gated_mlp(size, shared_width, "mlp.shared_experts")
    rope = {key: value for key, value in rope_parameters(text).items() if key != "partial_rotary_factor"}
    rotary = int(heads.head_dim * float(text.get("partial_rotary_factor") or 1.0))
    block = (
        *attention(heads, qkv_bias=bool(text.get("use_qkv_bias")), out_bias=bool(text.get("use_bias"))),
        *(norm("self_attn.q_layernorm", heads.head_dim) if text.get("use_qk_norm") else ()),
        *(norm("self_attn.k_layernorm", heads.head_dim) if text.get("use_qk_norm") else ()),
        rope_cache(rotary, required(text, "max_position_embeddings"), rope),
        *norms(size, LLAMA_NORMS),
    )
    dense, first = (
        gated_mlp(size, required(text, "intermediate_size")),
        optional(text, "first_k_dense_replace", default=1),
    )
    layers = [
        Layer((*block, *(sparse if index >= first else dense)), (attention_cache(heads),))
        for index in range(required(text, "num_hidden_layers"))
    ]
    facts = assemble(config, layers, Body(num_experts=count, head_dim=heads.head_dim))
    return replace(facts, needs_trust_remote_code=True)
