"""Llamas whose layers a search has made unlike each other: Nemotron NAS (DeciLM).

vllm/model_executor/models/nemotron_nas.py. ``block_configs`` has one entry per layer: how many query heads share a
KV head, how wide the MLP is, and which of the two is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention, attention_cache, gated_mlp, norm
from planner.model.architectures.dense import read_heads, rope_of
from planner.model.architectures.reading import optional, required, text_config
from planner.model.facts import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.model.architectures.blocks import Heads, Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

    Block = Mapping[str, Any]

MLP_MULTIPLE = 256  # nemotron_nas.py _ffn_mult_to_intermediate_size: widths are rounded up to it


def deci_lm(config: Config) -> ModelFacts:
    """Llama-3.x-Nemotron 49B, 51B, 253B: layers without attention keep nothing in the cache."""
    text = text_config(config)
    blocks = required(text, "block_configs")[: required(text, "num_hidden_layers")]
    attending = [_heads(text, block) for block in blocks if not block["attention"].get("no_op")]
    body = Body(kv_heads=attending[0].num_kv_heads, flags={"needs_trust_remote_code": True})
    facts = assemble(config, [_layer(text, block) for block in blocks], body)
    widest = max(mlp_width(text, block) for block in blocks if not block["ffn"].get("no_op"))
    return replace(facts, intermediate_size=widest)


def _layer(text: Config, block: Block) -> Layer:
    size = required(text, "hidden_size")
    modules: Modules = ()
    caches: tuple[Any, ...] = ()
    if not block["attention"].get("no_op"):
        heads = _heads(text, block)
        biased = bool(optional(text, "attention_bias", "bias", default=False))
        qkv_biased = bool(optional(text, "qkv_bias", default=biased))
        modules += (
            *attention(heads, qkv_bias=qkv_biased, out_bias=biased),
            *rope_of(text, heads),
            *norm("input_layernorm", size),
        )
        caches = (attention_cache(heads),)
    if not block["ffn"].get("no_op"):
        bias = bool(optional(text, "mlp_bias", default=False))
        modules += (*gated_mlp(size, mlp_width(text, block), bias=bias), *norm("post_attention_layernorm", size))
    return Layer(modules, caches)


def _heads(text: Config, block: Block) -> Heads:
    heads = read_heads({**text, "num_key_value_heads": None})
    return replace(heads, num_kv_heads=heads.num_heads // block["attention"]["n_heads_in_group"])


def mlp_width(text: Config, block: Block) -> int:
    """intermediate_size, or two thirds of ffn_mult hidden sizes rounded up to MLP_MULTIPLE."""
    if block["ffn"].get("ffn_mult") is None:
        width: int = required(block["ffn"], "intermediate_size")
        return width
    width = int(2 * block["ffn"]["ffn_mult"] * required(text, "hidden_size") / 3)
    return -(-width // MLP_MULTIPLE) * MLP_MULTIPLE
