"""Gemma 3n: several streams of hidden states, an embedding for each layer, shared caches, two encoders beside them.

vllm/model_executor/models/{gemma3n,gemma3n_mm}.py. The encoders are timm's and transformers' own, whole on every rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import (
    Heads,
    attention,
    attention_cache,
    attention_scales,
    gated_mlp,
    norm,
    replicated,
)
from planner.model.architectures.gemma4 import scalar
from planner.model.architectures.mobilenet import mobilenet_v5
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import rope_cache, rope_parameters
from planner.model.architectures.towers import under
from planner.model.architectures.vision import with_tower
from planner.model.facts import Embedding, Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
    "post_per_layer_input_norm",
)
FULL_EVERY = 5  # transformers' Gemma3nTextConfig: every fifth layer attends to everything
LOCAL_THETA = 10_000.0  # transformers' Gemma3nTextConfig.rope_local_base_freq
# transformers' Gemma3nTextConfig, where a text_config leaves the key out
DEFAULTS = {
    "vocab_size": 262_400,
    "vocab_size_per_layer_input": 262_144,
    "hidden_size": 2048,
    "hidden_size_per_layer_input": 256,
    "intermediate_size": 16_384,
    "num_hidden_layers": 35,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "max_position_embeddings": 32_768,
    "sliding_window": 512,
    "altup_num_inputs": 4,
    "num_kv_shared_layers": 15,
    "laurel_rank": 64,
}

# transformers' Gemma3nVisionConfig and Gemma3nAudioConfig
VISION = {"architecture": "mobilenetv5_300m_enc", "hidden_size": 2048, "vocab_size": 128}
AUDIO = {
    "vocab_size": 128,
    "input_feat_size": 128,
    "hidden_size": 1536,
    "conf_attention_chunk_size": 12,
    "conf_attention_context_left": 13,
    "conf_attention_context_right": 0,
    "conf_num_attention_heads": 8,
    "conf_num_hidden_layers": 12,
    "conf_conv_kernel_size": 5,
    "sscp_conv_channel_size": (128, 32),
    "sscp_conv_kernel_size": ((3, 3), (3, 3)),
    "sscp_conv_stride_size": ((2, 2), (2, 2)),
}


def text_model(config: Config) -> ModelFacts:
    """The language model; it runs in one stage, and its head is the embedding."""
    text = {**DEFAULTS, **text_config(config)}
    count = text["num_hidden_layers"]
    shared_from = count - text["num_kv_shared_layers"]
    layers = [_layer(text, index, kind, shares=index >= shared_from) for index, kind in enumerate(_kinds(text))]
    body = Body(tied=True, embedding=_tables(text), head_dim=text["head_dim"], flags={"supports_pp": False})
    plain = {**text, "intermediate_size": _width(text, 0), "architectures": config.get("architectures")}
    return assemble(plain, layers, body)


def _kinds(text: Config) -> tuple[str, ...]:
    if published := text.get("layer_types"):
        return tuple(published[: text["num_hidden_layers"]])
    return tuple(
        "sliding_attention" if (index + 1) % FULL_EVERY else "full_attention"
        for index in range(text["num_hidden_layers"])
    )


def _width(text: Config, index: int) -> int:
    """MatFormer: intermediate_size may differ from layer to layer."""
    width: int | list[int] = required(text, "intermediate_size")
    return width[index] if isinstance(width, list) else width


def _layer(text: Config, index: int, kind: str, *, shares: bool) -> Layer:
    size, streams = text["hidden_size"], text["altup_num_inputs"]
    heads = Heads(size, text["num_attention_heads"], text["num_key_value_heads"], text["head_dim"])
    window = text["sliding_window"] if kind == "sliding_attention" else None
    per_layer, rank = text["hidden_size_per_layer_input"], text["laurel_rank"]
    modules = (
        replicated("altup.correction_coefs", streams, streams),
        replicated("altup.prediction_coefs", streams, streams**2),
        replicated("altup.modality_router", size, streams),
        *norm("altup.router_norm", size),
        scalar("altup.router_input_scale"),
        Parameter("altup.correct_output_scale", (size,), dtype="float32"),
        *_attention(heads, bias=bool(text.get("attention_bias")), shares=shares),
        rope_cache(heads.head_dim, text["max_position_embeddings"], _rope(text, kind)),
        *gated_mlp(size, _width(text, index)),
        Linear("laurel.linear_left", size, (Output(rank),), "column"),
        Linear("laurel.linear_right", rank, (Output(size),), "row"),
        *norm("laurel.post_laurel_norm", size),
        replicated("per_layer_input_gate", size, per_layer),
        replicated("per_layer_projection", per_layer, size),
        *(module for name in NORMS for module in norm(name, size)),
    )
    cache = attention_cache(heads, "sliding_window" if window else "full", window)
    return Layer(modules, () if shares else (cache,))


def _attention(heads: Heads, *, bias: bool, shares: bool) -> Modules:
    """Layers that share an earlier layer's cache have queries alone."""
    if not shares:
        value_norm = _ones("self_attn.v_norm.weight", heads.head_dim)
        return (*attention(heads, qkv_bias=bias, out_bias=bias, qk_norm=True), value_norm)
    width = heads.num_heads * heads.head_dim
    return (
        Linear("self_attn.q_proj", heads.hidden_size, (Output(width, heads.num_heads),), "column", bias=bias),
        Linear("self_attn.o_proj", width, (Output(heads.hidden_size),), "row", bias=bias, in_heads=heads.num_heads),
        *norm("self_attn.q_norm", heads.head_dim),
        *attention_scales(),
    )


def _ones(name: str, width: int) -> Parameter:
    """The weight of a norm that has none: ones that the class makes (layernorm.py RMSNorm, has_weight)."""
    return Parameter(name, (width,), buffer=True, loaded=False)


def _rope(text: Config, kind: str) -> dict[str, object]:
    """Windowed layers turn at their own, unscaled frequency."""
    if isinstance((text.get("rope_parameters") or {}).get(kind), dict):
        return rope_parameters(text, kind)
    if kind == "sliding_attention":
        theta = optional(text, "rope_local_base_freq", default=LOCAL_THETA)
        return {"rope_type": "default", "rope_theta": theta}
    return rope_parameters(text)


def _tables(text: Config) -> Modules:
    """Every layer's own embedding in one table, and what leads from one stream into the others and back."""
    size, per_layer = text["hidden_size"], text["hidden_size_per_layer_input"]
    every, name = per_layer * text["num_hidden_layers"], "model.self_decoder"
    others = text["altup_num_inputs"] - 1
    return (
        Embedding(f"{name}.embed_tokens_per_layer", text["vocab_size_per_layer_input"], every),
        Linear(f"{name}.per_layer_model_projection", size, (Output(every),), "column"),
        *norm(f"{name}.per_layer_projection_norm", per_layer),
        *(Linear(f"{name}.altup_projections.0", size, (Output(size),), "column"),) * others,
        *(Linear("model.altup_unembed_projections.0", size, (Output(size),), "column"),) * others,
        *(
            scalar(f"{name}.{scale}")
            for scale in ("embed_scale", "embed_scale_per_layer", "per_layer_input_scale", "per_layer_projection_scale")
        ),
    )


def conditional(config: Config) -> ModelFacts:
    """The language model, MobileNet and a conformer; a row of all layers' embeddings for each token of a batch."""
    text = {**DEFAULTS, **text_config(config)}
    vision, audio = {**VISION, **config["vision_config"]}, {**AUDIO, **config["audio_config"]}
    tower = (
        *mobilenet_v5(vision),
        *_embedder("embed_vision", vision, text),
        *_conformer(audio),
        *_embedder("embed_audio", audio, text),
    )
    prefixes = (("model.language_model.", "language_model.model."), ("model.", ""))
    facts = with_tower(text_model(config), tower, *prefixes)
    return replace(facts, token_buffer_width=text["num_hidden_layers"] * text["hidden_size_per_layer_input"])


def _embedder(name: str, modality: Config, text: Config) -> Modules:
    """Gemma3nMultimodalEmbedder."""
    width, size = modality["hidden_size"], text["hidden_size"]
    return (
        Embedding(f"{name}.embedding", modality["vocab_size"], width),
        *norm(f"{name}.hard_embedding_norm", width),
        *norm(f"{name}.soft_embedding_norm", width),
        Linear(f"{name}.embedding_projection", width, (Output(size),), "row"),
        _ones(f"{name}.embedding_post_projection_norm.weight", size),
    )


def _conformer(audio: Config) -> Modules:
    """transformers' Gemma3nAudioEncoder: convolutions, then layers of feed-forward, attention and convolution."""
    width: int = audio["hidden_size"]
    first, second = audio["sscp_conv_channel_size"]
    kernels = [tuple(kernel) for kernel in audio["sscp_conv_kernel_size"]]
    pitches = audio["input_feat_size"]
    for stride in audio["sscp_conv_stride_size"]:
        pitches = -(-pitches // stride[1])
    name = "audio_tower.subsample_conv_projection"
    return (
        Parameter(f"{name}.conv_0.conv.weight", (first, 1, *kernels[0])),
        *norm(f"{name}.conv_0.norm", first),
        Parameter(f"{name}.conv_1.conv.weight", (second, first, *kernels[1])),
        *norm(f"{name}.conv_1.norm", second),
        replicated(f"{name}.input_proj_linear", second * pitches, width, quantizable=False),
        *(under("audio_tower.conformer.0", _conformer_layer(audio)) * audio["conf_num_hidden_layers"]),
    )


def _conformer_layer(audio: Config) -> Modules:
    width, heads = audio["hidden_size"], audio["conf_num_attention_heads"]
    chunk, past = audio["conf_attention_chunk_size"], max(0, audio["conf_attention_context_left"] - 1)
    span = chunk + past + audio["conf_attention_context_right"]
    clips = ("", "ffw_layer_start.", "attention.", "lconv1d.", "ffw_layer_end.")
    return (
        *(scalar(f"{place}gradient_clipping") for place in clips),
        *_feed_forward("ffw_layer_start", width),
        *norm("attention.pre_attn_norm", width),
        Parameter("attention.attn.per_dim_scale", (width // heads,)),
        scalar("attention.attn.q_scale"),
        Parameter("attention.attn.local_causal_valid_mask", (chunk, span), dtype="bool", buffer=True),
        Parameter("attention.attn.softcap", (), dtype="float32", buffer=True),
        Parameter(
            "attention.attn.relative_position_embedding.inv_timescales",
            (1, 1, width // 2),
            dtype="float32",
            buffer=True,
        ),
        *(
            replicated(f"attention.{part}", width, width, quantizable=False)
            for part in (
                "attn.relative_position_embedding.pos_proj",
                "attn.q_proj",
                "attn.k_proj",
                "attn.v_proj",
                "post",
            )
        ),
        *norm("attention.post_norm", width),
        *norm("lconv1d.pre_layer_norm", width),
        replicated("lconv1d.linear_start", width, 2 * width, quantizable=False),
        Parameter("lconv1d.depthwise_conv1d.weight", (width, 1, audio["conf_conv_kernel_size"])),
        *norm("lconv1d.conv_norm", width),
        replicated("lconv1d.linear_end", width, width, quantizable=False),
        *_feed_forward("ffw_layer_end", width),
        *norm("norm", width),
    )


def _feed_forward(name: str, width: int) -> Modules:
    return (
        *norm(f"{name}.pre_layer_norm", width),
        replicated(f"{name}.ffw_layer_1", width, 4 * width, quantizable=False),
        replicated(f"{name}.ffw_layer_2", 4 * width, width, quantizable=False),
        *norm(f"{name}.post_layer_norm", width),
    )
