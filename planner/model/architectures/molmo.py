"""Molmo: OLMo's or Qwen2's layers behind CLIP, whose sizes stand in vLLM's class alone.

vllm/model_executor/models/molmo.py. The config class is Python code of the repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention, attention_cache, gated_mlp, norm, plain_mlp, replicated
from planner.model.architectures.dense import read_heads, rope_of
from planner.model.architectures.reading import optional, required
from planner.model.architectures.towers import dense_linear, under
from planner.model.facts import Embedding, Layer, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

ADDITIONAL_VOCABULARY = 128
# VisionBackboneConfig; patches of two layers are pooled side by side (VIT_LAYERS)
WIDTH, INNER, LAYERS, POSITIONS, PATCH, POOLED = 1024, 4096, 23, 577, 14, 2
PREFIXES = (("model.vision_backbone.", "vision_backbone."), ("model.transformer.", "model."))


def molmo(config: Config) -> ModelFacts:
    """Fused halves in intermediate_size, norms over whole heads where asked for, every table on every stage."""
    size, heads = required(config, "hidden_size"), read_heads({**config, "head_dim": None})
    vocabulary = optional(config, "embedding_size", default=required(config, "vocab_size"))
    whole_norms = (
        *norm("self_attn.q_norm", size),
        *norm("self_attn.k_norm", heads.num_kv_heads * heads.head_dim),
    )
    modules = (
        *attention(heads, qkv_bias=bool(config.get("qkv_bias"))),
        *(whole_norms if config.get("attention_layer_norm") else ()),
        *rope_of(config, heads),
        *gated_mlp(size, required(config, "intermediate_size") // 2),
        *norm("input_layernorm", size),
        *norm("post_attention_layernorm", size),
    )
    layers = (Layer(modules, (attention_cache(heads),)),) * int(required(config, "num_hidden_layers"))
    body = Body(
        vocab_size=vocabulary,
        flags={"tables_everywhere": True, "needs_trust_remote_code": True, "name_prefixes": PREFIXES},
        tower=_vision_backbone(config, size),
    )
    facts = assemble({**config, "tie_word_embeddings": bool(config.get("weight_tying"))}, layers, body)
    table = Embedding("model.embed_tokens", vocabulary + ADDITIONAL_VOCABULARY, size)
    return replace(facts, embedding=(table,))


def _vision_backbone(config: Config, size: int) -> Modules:
    """CLIP up to the layer that is read last; attention and a gated MLP bring its patches into the text."""
    name, inner = "vision_backbone", required(config, "intermediate_size") // 2
    block = (
        *_attention("attention", WIDTH),
        *plain_mlp(WIDTH, INNER, "feed_forward", names=("w1", "w2")),
        *norm("attention_norm", WIDTH, bias=True),
        *norm("ffn_norm", WIDTH, bias=True),
    )
    return (
        Parameter(f"{name}.image_vit.class_embedding", (WIDTH,)),
        Parameter(f"{name}.image_vit.positional_embedding", (POSITIONS, WIDTH)),
        replicated(f"{name}.image_vit.patch_embedding", 3 * PATCH * PATCH, WIDTH, quantizable=False),
        *norm(f"{name}.image_vit.pre_ln", WIDTH, bias=True),
        *(under(f"{name}.image_vit.transformer.resblocks.0", block) * LAYERS),
        *_attention(f"{name}.image_pooling_2d", POOLED * WIDTH),
        *gated_mlp(WIDTH, inner, f"{name}.image_projector", names=("merged_linear", "unused"))[:1],
        *gated_mlp(size, inner, f"{name}.image_projector")[1:],
        Parameter(f"{name}.pad_embed", (2, POOLED * WIDTH)),
    )


def _attention(prefix: str, width: int) -> Modules:
    """Attention of CLIP's width over ``width`` values of each patch, q, k and v apart."""
    return (
        *(dense_linear(f"{prefix}.{part}", width, WIDTH) for part in ("wq", "wk", "wv")),
        dense_linear(f"{prefix}.wo", WIDTH, WIDTH, "row"),
    )
