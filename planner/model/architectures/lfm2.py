"""LFM2: gated short convolutions and attention, dense or with experts.

vllm/model_executor/models/{lfm2,lfm2_moe}.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention, attention_cache, experts, gated_mlp, norm, replicated
from planner.model.architectures.dense import read_heads, rope_of
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.states import short_conv, short_conv_cache
from planner.model.facts import Layer, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

MLP_NAMES = ("w13", "w2")


def lfm2(config: Config) -> ModelFacts:
    """Every layer with an MLP; the head is the embedding."""
    text = text_config(config)
    mlp = gated_mlp(required(text, "hidden_size"), mlp_width(text), "feed_forward", names=MLP_NAMES)
    kinds = layer_kinds(text)
    width = optional(text, "conv_dim", default=required(text, "hidden_size"))
    layers = [_layer(text, kind, mlp, width) for kind in kinds]
    return _lfm2(config, layers, 0)


def lfm2_moe(config: Config) -> ModelFacts:
    """The first layers with an MLP, the others with experts."""
    text = text_config(config)
    size, count = required(text, "hidden_size"), required(text, "num_experts")
    dense = gated_mlp(size, required(text, "intermediate_size"), "feed_forward", names=MLP_NAMES)
    first = required(text, "num_dense_layers")
    sparse = _experts(text)
    layers = [
        _layer(text, kind, dense if index < first else sparse, size) for index, kind in enumerate(layer_kinds(text))
    ]
    return _lfm2(config, layers, count)


def layer_kinds(text: Config) -> tuple[str, ...]:
    """full_attention or conv for each layer, from layer_types or from full_attn_idxs."""
    if text.get("layer_types"):
        return tuple(text["layer_types"])
    attends = set(required(text, "full_attn_idxs"))
    count = required(text, "num_hidden_layers")
    return tuple("full_attention" if index in attends else "conv" for index in range(count))


def mlp_width(text: Config) -> int:
    """block_ff_dim, reduced to two thirds and rounded up where block_auto_adjust_ff_dim says so (Lfm2MLP)."""
    width: int = required(text, "block_ff_dim", "intermediate_size")
    if not optional(text, "block_auto_adjust_ff_dim", default=True):
        return width
    multiple: int = optional(text, "block_multiple_of", default=256)
    width = int(optional(text, "block_ffn_dim_multiplier", default=1.0) * int(2 * width / 3))
    return -(-width // multiple) * multiple


def _lfm2(config: Config, layers: list[Layer], count: int) -> ModelFacts:
    text = text_config(config)
    body = Body(
        final=norm("model.embedding_norm", required(text, "hidden_size")),
        num_experts=count,
        flags={"embedding_everywhere": True, "max_experts_tp": count or None},
    )
    return assemble({**config, "tie_word_embeddings": True}, layers, body)


def _layer(text: Config, kind: str, mlp: Modules, width: int) -> Layer:
    size = required(text, "hidden_size")
    norms = norm("operator_norm", size) + norm("ffn_norm", size)
    if kind == "full_attention":
        heads = read_heads({**text, "head_dim": None})
        head_norms = norm("self_attn.q_layernorm", heads.head_dim) + norm("self_attn.k_layernorm", heads.head_dim)
        modules: Modules = (*attention(heads, out="out_proj"), *head_norms, *rope_of(text, heads))
        cache = attention_cache(heads)
    else:
        kernel = required(text, "conv_L_cache")
        modules = short_conv(width, kernel, bias=optional(text, "conv_bias", default=False))
        cache = short_conv_cache(width, kernel)
    return Layer((*modules, *mlp, *norms), (cache,))


def _experts(text: Config) -> Modules:
    """Unlike other routers, this one takes the checkpoint's quantization."""
    size, count = required(text, "hidden_size"), required(text, "num_experts")
    bias: Modules = ()
    if optional(text, "use_expert_bias", default=True):
        bias = (Parameter("feed_forward.gate.e_score_correction_bias", (count,), dtype="float32"),)
    width, top_k = required(text, "moe_intermediate_size"), required(text, "num_experts_per_tok")
    return (
        replicated("feed_forward.gate", size, count),
        *bias,
        *experts(size, width, count, top_k, "feed_forward.experts"),
    )
