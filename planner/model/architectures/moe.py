"""Mixtures of experts on grouped-query attention: router, routed experts, shared experts, leading dense layers.

vllm/model_executor/models/{mixtral,qwen2_moe,qwen3_moe,glm4_moe,minimax_m2,gpt_oss,phimoe}.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import (
    attention,
    attention_cache,
    experts,
    gated_mlp,
    norm,
    replicated,
    router,
)
from planner.model.architectures.dense import QWEN3, Shape, attention_block, norms_of, read_heads
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import rope_cache, rope_parameters
from planner.model.architectures.windows import layer_windows
from planner.model.facts import Layer, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts


class Routing(Struct, frozen=True):
    """The experts of one family; names are the engine's. ``shared_width``: of the always-on expert, 0 without."""

    width: int
    count: int
    top_k: int
    prefix: str = "mlp"
    gate_dtype: str | None = None
    gate_bias: bool = False
    gate_quantizable: bool = False  # where config.json does not leave it out
    correction_bias: bool = False
    expert_bias: bool = False
    shared_width: int = 0
    shared_name: str = "shared_experts"
    shared_gate: bool = False


def moe_block(hidden_size: int, routing: Routing) -> Modules:
    """Router, routed experts, and the shared one."""
    prefix = routing.prefix
    correction = f"{prefix}.gate.e_score_correction_bias" if routing.correction_bias else None
    modules = (
        *router(
            hidden_size,
            routing.count,
            f"{prefix}.gate",
            bias=routing.gate_bias,
            dtype=routing.gate_dtype,
            correction_bias=correction,
            quantizable=routing.gate_quantizable,
        ),
        *experts(
            hidden_size, routing.width, routing.count, routing.top_k, f"{prefix}.experts", bias=routing.expert_bias
        ),
    )
    if routing.shared_width:
        modules += gated_mlp(hidden_size, routing.shared_width, f"{prefix}.{routing.shared_name}")
    if routing.shared_gate:
        modules += (replicated(f"{prefix}.shared_expert_gate", hidden_size, 1, quantizable=False),)
    return modules


def sparse_layers(text: Config, shape: Shape, routing: Routing, dense: frozenset[int] = frozenset()) -> list[Layer]:
    """Llama's layer with experts in place of the MLP, but for the ``dense`` layers."""
    size = required(text, "hidden_size")
    sparse_mlp = moe_block(size, routing)
    dense_mlp = gated_mlp(size, required(text, "intermediate_size")) if dense else ()
    heads, norms = read_heads(text), norms_of(text, shape)
    block = attention_block(text, shape)
    return [
        Layer(
            (*block, *(dense_mlp if index in dense else sparse_mlp), *norms),
            (attention_cache(heads, window.kind, window.tokens),),
        )
        for index, window in enumerate(layer_windows(text))
    ]


def qwen_dense_layers(text: Config) -> frozenset[int]:
    """decoder_sparse_step and mlp_only_layers of the Qwen families."""
    step = optional(text, "decoder_sparse_step", default=1)
    only = set(optional(text, "mlp_only_layers", default=()))
    count = required(text, "num_hidden_layers")
    return frozenset(index for index in range(count) if index in only or (index + 1) % step)


def leading_dense(text: Config) -> frozenset[int]:
    """first_k_dense_replace and moe_layer_freq of the DeepSeek line."""
    first = optional(text, "first_k_dense_replace", default=0)
    freq = optional(text, "moe_layer_freq", default=1)
    count = required(text, "num_hidden_layers")
    if isinstance(freq, (list, tuple)):
        return frozenset(index for index, sparse in enumerate(freq[:count]) if not sparse)
    return frozenset(index for index in range(count) if index < first or index % freq)


def everywhere(count: int, **flags: Any) -> Body:
    """Classes that build embedding and head on every pipeline stage."""
    return Body(num_experts=count, flags={"tables_everywhere": True, **flags})


def mixtral(config: Config) -> ModelFacts:
    """Eight experts in every layer."""
    text = text_config(config)
    count = required(text, "num_local_experts")
    routing = Routing(
        required(text, "intermediate_size"), count, required(text, "num_experts_per_tok"), "block_sparse_moe"
    )
    return assemble(config, sparse_layers(text, Shape(), routing), everywhere(count))


def qwen2_moe(config: Config) -> ModelFacts:
    """Routed experts beside a gated shared one."""
    text = text_config(config)
    count = required(text, "num_experts")
    routing = Routing(
        required(text, "moe_intermediate_size"),
        count,
        required(text, "num_experts_per_tok"),
        shared_width=optional(text, "shared_expert_intermediate_size", default=0),
        shared_name="shared_expert",
        shared_gate=True,
    )
    shape = Shape(qkv_bias=bool(optional(text, "qkv_bias", default=True)))
    plain = {**text, "qkv_bias": None}
    body = everywhere(count, max_experts_tp=count)
    return assemble(config, sparse_layers(plain, shape, routing, qwen_dense_layers(text)), body)


def qwen3_moe_layers(text: Config) -> list[Layer]:
    """Layers of Qwen3 with experts, shared by its vision-language form."""
    routing = Routing(
        required(text, "moe_intermediate_size"),
        required(text, "num_experts", "num_local_experts"),
        required(text, "num_experts_per_tok"),
        gate_quantizable=True,
    )
    return sparse_layers(text, QWEN3, routing, qwen_dense_layers(text))


def qwen3_moe(config: Config) -> ModelFacts:
    """Routed experts, no shared one, head norms."""
    text = text_config(config)
    count = required(text, "num_experts", "num_local_experts")
    return assemble(config, qwen3_moe_layers(text), everywhere(count, max_experts_tp=count))


def glm4_moe(config: Config) -> ModelFacts:
    """DeepSeek's routing on grouped-query attention, with biases on q, k and v."""
    text = {"partial_rotary_factor": 0.5, **text_config(config)}
    count = required(text, "n_routed_experts")
    width = required(text, "moe_intermediate_size")
    routing = Routing(
        width,
        count,
        required(text, "num_experts_per_tok"),
        gate_dtype="float32",
        correction_bias=True,
        shared_width=width * optional(text, "n_shared_experts", default=0),
    )
    shape = Shape(qkv_bias=bool(text.get("attention_bias")), qk_norm=bool(text.get("use_qk_norm")))
    plain = {**text, "attention_bias": False}
    return assemble(config, sparse_layers(plain, shape, routing, leading_dense(text)), Body(num_experts=count))


def minimax_m2(config: Config) -> ModelFacts:
    """Norms over all query and all key heads, split with them; a router in fp32."""
    text = text_config(config)
    heads, size = read_heads(text), required(text, "hidden_size")
    count = required(text, "num_local_experts")
    routing = Routing(
        required(text, "intermediate_size"),
        count,
        required(text, "num_experts_per_tok"),
        "block_sparse_moe",
        gate_dtype="float32",
        correction_bias=True,
    )
    rope = rope_parameters(text)
    modules = (
        *attention(heads),
        Parameter("self_attn.q_norm.weight", (heads.num_heads * heads.head_dim,), 0),
        Parameter("self_attn.k_norm.weight", (heads.num_kv_heads * heads.head_dim,), 0, heads=heads.num_kv_heads),
        rope_cache(heads.head_dim, required(text, "max_position_embeddings"), rope, rotary_dim=text.get("rotary_dim")),
        *moe_block(size, routing),
        *norms_of(text, Shape()),
    )
    layers = (Layer(modules, (attention_cache(heads),)),) * required(text, "num_hidden_layers")
    return assemble(config, layers, Body(num_experts=count, flags={"max_experts_tp": count}))


def gpt_oss(config: Config) -> ModelFacts:
    """Biases everywhere, sinks per head, a window on every other layer."""
    text = text_config(config)
    heads, size = read_heads(text), required(text, "hidden_size")
    count = required(text, "num_local_experts")
    routing = Routing(
        required(text, "intermediate_size"),
        count,
        required(text, "num_experts_per_tok"),
        gate_bias=True,
        expert_bias=True,
    )
    modules = (
        *attention(heads, prefix="attn", qkv="qkv_proj", out="o_proj", qkv_bias=True, out_bias=True),
        Parameter("attn.sinks", (heads.num_heads,), 0),
        rope_cache(heads.head_dim, required(text, "max_position_embeddings"), rope_parameters(text), dtype="float32"),
        *(moe_block(size, routing)),
        *norms_of(text, Shape()),
    )
    layers = [
        Layer(modules, (attention_cache(heads, window.kind, window.tokens, sinks=True),))
        for window in layer_windows(text)
    ]
    return assemble(config, layers, everywhere(count))


def phimoe(config: Config) -> ModelFacts:
    """Phi-3.5-MoE: LayerNorms, biases on attention and head."""
    text = text_config(config)
    size, count = required(text, "hidden_size"), required(text, "num_local_experts")
    routing = Routing(
        required(text, "intermediate_size"), count, required(text, "num_experts_per_tok"), "block_sparse_moe"
    )
    shape = Shape(norm_bias=True)
    body = Body(
        num_experts=count,
        final=norm("model.norm", size, bias=True),
        lm_head_bias=bool(text.get("lm_head_bias")),
        flags={"tables_everywhere": True},
    )
    return assemble(config, sparse_layers(text, shape, routing), body)
