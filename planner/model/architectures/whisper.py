"""Whisper: an encoder that hears, a decoder that attends to itself and to what was heard.

vllm/model_executor/models/whisper.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.audio_encoders import cross_attention, whisper_attention, whisper_encoder
from planner.model.architectures.blocks import Heads, attention_cache, attention_scales, norm, plain_mlp
from planner.model.architectures.reading import required
from planner.model.facts import Layer, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts


def whisper(config: Config) -> ModelFacts:
    """Two caches in every layer of the decoder, one of text and one of sound; every rank holds the whole vocabulary."""
    width, num_heads = required(config, "d_model"), required(config, "decoder_attention_heads")
    heads = Heads(width, num_heads, num_heads, width // num_heads)
    modules = (
        *whisper_attention(width, num_heads, "self_attn"),
        *attention_scales("self_attn.attn"),
        *norm("self_attn_layer_norm", width, bias=True),
        *cross_attention(width, num_heads),
        *attention_scales("encoder_attn.attn"),
        *norm("encoder_attn_layer_norm", width, bias=True),
        *plain_mlp(width, required(config, "decoder_ffn_dim"), "mlp", names=("fc1", "fc2")),
        *norm("final_layer_norm", width, bias=True),
    )
    layer = Layer(modules, (attention_cache(heads), attention_cache(heads, "cross")))
    positions = (required(config, "max_target_positions"), width)
    body = Body(
        tied=True,
        embedding=(Parameter("model.decoder.embed_positions.weight", positions),),
        final=norm("model.decoder.layer_norm", width, bias=True),
        embedding_name="model.decoder.embed_tokens",
        heads=num_heads,
        kv_heads=num_heads,
        head_dim=heads.head_dim,
        tower=whisper_encoder(config, "model.encoder"),
        flags={"layers_prefix": "model.decoder.layers", "supports_pp": False},
    )
    facts = assemble({**config, "tie_word_embeddings": True}, (layer,) * required(config, "decoder_layers"), body)
    table = Parameter("model.decoder.embed_tokens.weight", (facts.vocab_size, width))  # plain torch: no padding
    return replace(facts, embedding=(table, *facts.embedding[1:]))
