"""Molmo: OLMo's or Qwen2's layers behind CLIP, whose sizes stand in vLLM's class alone; Molmo 2, with SigLIP's.

vllm/model_executor/models/{molmo,molmo2}.py. The config class is Python code of the repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention, attention_cache, gated_mlp, norm, plain_mlp, replicated
from planner.model.architectures.dense import read_heads, rope_of
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.towers import dense_linear, self_attention, under
from planner.model.facts import Embedding, Layer, Linear, Output, Parameter

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


def molmo2(config: Config) -> ModelFacts:
    """Head norms or norms over whole heads where asked for; a table of more tokens; every table on every stage."""
    text = text_config(config)
    size, heads, vocabulary = required(text, "hidden_size"), read_heads(text), required(text, "vocab_size")
    wide = optional(text, "qk_norm_type", default="olmo") != "qwen3"
    norms = (heads.num_heads, heads.num_kv_heads) if wide else (1, 1)
    modules = (
        *attention(heads, qkv_bias=bool(optional(text, "qkv_bias", default=True))),
        *(
            module
            for name, count in zip("qk", norms, strict=True)
            for module in norm(f"self_attn.{name}_norm", count * heads.head_dim)
            if text.get("use_qk_norm")
        ),
        *rope_of(text, heads),
        *gated_mlp(size, required(text, "intermediate_size")),
        *norm("input_layernorm", size),
        *norm("post_attention_layernorm", size),
    )
    layers = (Layer(modules, (attention_cache(heads),)),) * int(required(text, "num_hidden_layers"))
    body = Body(
        flags={"tables_everywhere": True, "needs_trust_remote_code": True, "name_prefixes": PREFIXES},
        tower=_siglip_backbone(config["vit_config"], config["adapter_config"]),
    )
    facts = assemble({**config, "tie_word_embeddings": False}, layers, body)
    more = optional(text, "additional_vocab_size", default=0)
    return replace(facts, embedding=(Embedding("model.embed_tokens", vocabulary + more, size),))


def _siglip_backbone(vision: Config, adapter: Config) -> Modules:
    """SigLIP up to the deepest layer that is read; attention and a gated MLP bring its patches into the text."""
    name, width, read = "vision_backbone", required(vision, "hidden_size"), required(adapter, "vit_layers")
    layers = required(vision, "num_hidden_layers")
    deepest = max(layer if layer >= 0 else layer + layers for layer in read) + 1
    pooled, inner = required(adapter, "hidden_size"), required(adapter, "intermediate_size")
    patch = required(vision, "image_patch_size")
    block = (
        *self_attention(width, required(vision, "num_attention_heads"), "attention", out="wo", qkv="merged_qkv"),
        *plain_mlp(width, required(vision, "intermediate_size"), "feed_forward", names=("w1", "w2")),
        *norm("attention_norm", width, bias=True),
        *norm("ffn_norm", width, bias=True),
    )
    out = required(adapter, "text_hidden_size")
    return (
        Parameter(f"{name}.image_vit.positional_embedding", (required(vision, "image_num_pos"), width)),
        replicated(f"{name}.image_vit.patch_embedding", 3 * patch * patch, width, bias=True, quantizable=False),
        *(under(f"{name}.image_vit.transformer.resblocks.0", block) * min(deepest, layers)),
        dense_linear(f"{name}.image_pooling_2d.q_proj", width * len(read), pooled),
        Linear(
            f"{name}.image_pooling_2d.merged_kv",
            width * len(read),
            (Output(pooled), Output(pooled)),
            "column",
            bias=True,
        ),
        dense_linear(f"{name}.image_pooling_2d.o_proj", pooled, pooled, "row"),
        *gated_mlp(pooled, inner, f"{name}.image_projector", names=("merged_linear", "unused"))[:1],
        *gated_mlp(out, inner, f"{name}.image_projector")[1:],
    )


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
