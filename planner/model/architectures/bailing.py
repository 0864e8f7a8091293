"""Ling, Ring and Ling 2.0: bailing_moe.

vllm/model_executor/models/bailing_moe.py. Both class names are one class there; what differs is in config.json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention, attention_cache, gated_mlp, norm
from planner.model.architectures.dense import Shape, norms_of, read_heads, rope_of
from planner.model.architectures.moe import Routing, moe_block
from planner.model.architectures.reading import optional, required, text_config
from planner.model.facts import Layer, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

ROUTER_DTYPES = {None: None, "fp32": "float32"}  # BailingMoE.__init__; any other word is bfloat16


def bailing(config: Config) -> ModelFacts:
    """Fused attention, leading dense layers, a router that may be fp32 with a bias for each expert."""
    text = text_config(config)
    size, heads = required(text, "hidden_size"), read_heads(text)
    biased = bool(text.get("use_bias"))
    block = (
        *attention(
            heads,
            prefix="attention",
            qkv="query_key_value",
            out="dense",
            qkv_bias=biased or bool(text.get("use_qkv_bias")),
            out_bias=biased,
        ),
        *_head_norms(text, heads.head_dim),
        *rope_of(_with_rotary_dim(text, heads.head_dim), heads),
        *norms_of(text, Shape()),
    )
    dense = gated_mlp(size, required(text, "intermediate_size"), bias=biased)
    sparse = ling_experts(text, ROUTER_DTYPES.get(text.get("router_dtype"), "bfloat16"), biased=biased)
    first = optional(text, "first_k_dense_replace", default=0)
    layers = [
        Layer((*block, *(dense if index < first else sparse)), (attention_cache(heads),))
        for index in range(required(text, "num_hidden_layers"))
    ]
    body = Body(
        num_experts=required(text, "num_experts"),
        head_dim=heads.head_dim,
        embedding_name="model.word_embeddings",
        flags={"needs_trust_remote_code": True},
    )
    return assemble(config, layers, body)


def _head_norms(text: Config, head_dim: int) -> Modules:
    if not text.get("use_qk_norm"):
        return ()
    biased = not text.get("use_rmsnorm")  # else LayerNorms
    names = ("attention.query_layernorm", "attention.key_layernorm")
    return tuple(module for name in names for module in norm(name, head_dim, bias=biased))


def _with_rotary_dim(text: Config, head_dim: int) -> Config:
    """rotary_dim, where it is published, as the part of each head that it is."""
    rotary_dim = text.get("rotary_dim")
    return text if rotary_dim is None else {**text, "partial_rotary_factor": rotary_dim / head_dim}


def ling_experts(text: Config, router_dtype: str | None, *, biased: bool) -> Modules:
    """Router, a bias for each expert, routed and shared experts."""
    size, width = required(text, "hidden_size"), required(text, "moe_intermediate_size")
    count, shared = required(text, "num_experts"), optional(text, "num_shared_experts", default=0)
    routing = Routing(width, count, required(text, "num_experts_per_tok"), gate_dtype=router_dtype)
    shared_width = shared * optional(text, "moe_shared_expert_intermediate_size", default=width)
    return (
        *moe_block(size, routing),
        *((Parameter("mlp.gate.expert_bias", (count,), dtype="float32"),) if _has_expert_bias(text) else ()),
        *(gated_mlp(size, shared_width, "mlp.shared_experts", bias=biased) if shared else ()),
    )


def _has_expert_bias(text: Config) -> bool:
    return bool(text.get("moe_router_enable_expert_bias"))
