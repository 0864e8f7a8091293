"""Step-3: one key head, queries through a narrow shared projection, experts beside a shared one.

vllm/model_executor/models/step3_text.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import (
    Heads,
    attention_cache,
    attention_scales,
    experts,
    gated_mlp,
    norm,
    replicated,
    router,
)
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import rope_cache, rope_parameters
from planner.model.facts import Layer, Linear, Output

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

HEAD_DIM = 256  # Step3TextAttention.__init__
POSITIONS = 65_536  # vllm transformers_utils/configs/step3_vl.py Step3TextConfig


def step3_text(config: Config) -> ModelFacts:
    """Step-3's text; the head is never tied and never quantized."""
    text = text_config(config)
    size, count = required(text, "hidden_size"), required(text, "moe_num_experts")
    heads = Heads(size, required(text, "num_attention_heads"), 1, optional(text, "head_dim", default=HEAD_DIM))
    block = (
        *_attention(text, heads),
        *norm("input_layernorm", size),
        *norm("post_attention_layernorm", size),
    )
    sparse: Modules = (
        *router(size, count, "moe.gate"),
        *experts(size, required(text, "moe_intermediate_size"), count, required(text, "moe_top_k"), "moe.experts"),
        *gated_mlp(size, required(text, "share_expert_dim"), "share_expert"),
    )
    dense = gated_mlp(size, required(text, "intermediate_size"))
    chosen = _sparse_layers(text)
    layers = [
        Layer((*block, *(sparse if index in chosen else dense)), (attention_cache(heads),))
        for index in range(required(text, "num_hidden_layers"))
    ]
    body = Body(num_experts=count, kv_heads=1, head_dim=heads.head_dim, flags={"max_experts_tp": count})
    return assemble({**config, "tie_word_embeddings": False}, layers, body)


def _attention(text: Config, heads: Heads) -> Modules:
    """Every rank computes the narrow query, the key and the value whole; the query's heads come after."""
    narrow = optional(text, "share_q_dim", default=heads.head_dim)
    width = heads.num_heads * heads.head_dim
    positions = optional(text, "max_position_embedding", "max_position_embeddings", default=POSITIONS)
    return (
        replicated("self_attn.qkv_proj", heads.hidden_size, narrow + 2 * heads.head_dim),
        Linear("self_attn.o_proj", width, (Output(heads.hidden_size),), "row", in_heads=heads.num_heads),
        *norm("self_attn.inter_norm", narrow),
        Linear("self_attn.wq", narrow, (Output(width, heads.num_heads),), "column"),
        rope_cache(heads.head_dim, positions, rope_parameters(text)),
        *attention_scales(),
    )


def _sparse_layers(text: Config) -> frozenset[int]:
    """moe_layers_enum, else all but the first (Step3TextDecoderLayer)."""
    listed = text.get("moe_layers_enum")
    if listed is None:
        return frozenset(range(1, required(text, "num_hidden_layers")))
    items = listed.split(",") if isinstance(listed, str) else listed
    return frozenset(int(item) for item in items)
