"""Audio encoders: Whisper's layers, in vLLM's own class and in transformers', and Qwen3-Omni's.

vllm/model_executor/models/{whisper,voxtral,qwen3_omni_moe_thinker}.py; Qwen2-Audio and Qwen2.5-Omni run transformers'
encoders, which lie whole on every rank and are never quantized.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.blocks import norm, plain_mlp, replicated
from planner.model.architectures.reading import required
from planner.model.architectures.towers import self_attention, under
from planner.model.facts import Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config

CONV_KERNEL = 3  # of every convolution over the spectrogram
# transformers' Qwen2AudioEncoderConfig, Qwen2_5OmniAudioEncoderConfig and Qwen3OmniMoeAudioEncoderConfig
DEFAULTS = {
    "num_mel_bins": 128,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "d_model": 1280,
    "max_source_positions": 1500,
    "downsample_hidden_size": 480,
    "output_dim": 3584,
}


def convolutions(prefix: str, audio: Config) -> Modules:
    """Two convolutions over time, whole on every rank."""
    width, mels = required(audio, "d_model"), required(audio, "num_mel_bins")
    return (
        Parameter(f"{prefix}.conv1.weight", (width, mels, CONV_KERNEL)),
        Parameter(f"{prefix}.conv1.bias", (width,)),
        Parameter(f"{prefix}.conv2.weight", (width, width, CONV_KERNEL)),
        Parameter(f"{prefix}.conv2.bias", (width,)),
    )


def transformers_layer(audio: Config) -> Modules:
    """One layer of plain torch: a bias on all projections but the key's."""
    width, inner = required(audio, "d_model"), required(audio, "encoder_ffn_dim")
    return (
        *(
            replicated(f"self_attn.{name}", width, width, bias=name != "k_proj", quantizable=False)
            for name in ("k_proj", "v_proj", "q_proj", "out_proj")
        ),
        *norm("self_attn_layer_norm", width, bias=True),
        replicated("fc1", width, inner, bias=True, quantizable=False),
        replicated("fc2", inner, width, bias=True, quantizable=False),
        *norm("final_layer_norm", width, bias=True),
    )


def transformers_encoder(audio: Config, prefix: str = "audio_tower") -> Modules:
    """Convolutions and layers of transformers' encoders, without what stands before and behind them."""
    return (
        *convolutions(prefix, audio),
        *(under(f"{prefix}.layers.0", transformers_layer(audio)) * required(audio, "encoder_layers")),
    )


def qwen2_audio_encoder(config: Config, text_width: int) -> Modules:
    """Qwen2-Audio: Whisper's encoder and one matrix into the language model."""
    audio = {**DEFAULTS, **config["audio_config"]}
    width = audio["d_model"]
    return (
        *transformers_encoder(audio),
        Parameter("audio_tower.embed_positions.weight", (audio["max_source_positions"], width)),
        *norm("audio_tower.layer_norm", width, bias=True),
        replicated("multi_modal_projector.linear", width, text_width, bias=True, quantizable=False),
    )


def qwen2_5_omni_encoder(config: Config) -> Modules:
    """Qwen2.5-Omni: positions that no checkpoint has, two learned marks and a projection."""
    audio = {**DEFAULTS, **config["audio_config"]}
    width, out = audio["d_model"], audio["output_dim"]
    return (
        *transformers_encoder(audio),
        _sinusoids(audio),
        Parameter("audio_tower.audio_bos_eos_token.weight", (2, out)),
        *norm("audio_tower.ln_post", width, bias=True),
        replicated("audio_tower.proj", width, out, bias=True, quantizable=False),
    )


def _sinusoids(audio: Config) -> Parameter:
    shape = (required(audio, "max_source_positions"), required(audio, "d_model"))
    return Parameter(
        "audio_tower.positional_embedding.positional_embedding", shape, dtype="float32", buffer=True, loaded=False
    )


def qwen3_omni_encoder(config: Config) -> Modules:
    """Qwen3-Omni and Qwen3-ASR: three convolutions over time and pitch; whole where tp does not divide its heads."""
    audio = {**DEFAULTS, **config["audio_config"]}
    width, heads, channels = audio["d_model"], audio["encoder_attention_heads"], audio["downsample_hidden_size"]
    block = (
        *self_attention(width, heads, "self_attn", out="out_proj", qkv="qkv_proj"),
        *norm("self_attn_layer_norm", width, bias=True),
        Linear("fc1", width, (Output(audio["encoder_ffn_dim"]),), "column", bias=True),
        Linear("fc2", audio["encoder_ffn_dim"], (Output(width),), "row", bias=True),
        *norm("final_layer_norm", width, bias=True),
    )
    block = tuple(
        replace(module, quantizable=False, whole_unless=heads) if isinstance(module, Linear) else module
        for module in block
    )
    pitches = (((audio["num_mel_bins"] + 1) // 2 + 1) // 2 + 1) // 2
    kernel = (CONV_KERNEL, CONV_KERNEL)
    return (
        _sinusoids(audio),
        *_convolution("conv2d1", channels, 1, *kernel),
        *_convolution("conv2d2", channels, channels, *kernel),
        *_convolution("conv2d3", channels, channels, *kernel),
        replicated("audio_tower.conv_out", channels * pitches, width, quantizable=False),
        *(under("audio_tower.layers.0", block) * audio["encoder_layers"]),
        *norm("audio_tower.ln_post", width, bias=True),
        replicated("audio_tower.proj1", width, width, bias=True, quantizable=False),
        replicated("audio_tower.proj2", width, audio["output_dim"], bias=True, quantizable=False),
    )


def _convolution(name: str, width: int, *kernel: int) -> Modules:
    return (
        Parameter(f"audio_tower.{name}.weight", (width, *kernel)),
        Parameter(f"audio_tower.{name}.bias", (width,)),
    )


def whisper_attention(width: int, heads: int, prefix: str) -> Modules:
    """Self-attention of vLLM's Whisper: fused, split between heads, a bias for the key too."""
    return self_attention(width, heads, prefix, out="out_proj", qkv="qkv_proj")


def whisper_encoder(audio: Config, prefix: str, *, positions_dtype: str | None = None) -> Modules:
    """vLLM's WhisperEncoder."""
    width, heads = required(audio, "d_model"), required(audio, "encoder_attention_heads")
    block = (
        *whisper_attention(width, heads, "self_attn"),
        *norm("self_attn_layer_norm", width, bias=True),
        *plain_mlp(width, required(audio, "encoder_ffn_dim"), "mlp", names=("fc1", "fc2")),
        *norm("final_layer_norm", width, bias=True),
    )
    positions = (required(audio, "max_source_positions"), width)
    return (
        *convolutions(prefix, audio),
        *(under(f"{prefix}.layers.0", block) * required(audio, "encoder_layers")),
        *norm(f"{prefix}.layer_norm", width, bias=True),
        Parameter(f"{prefix}.embed_positions.weight", positions, dtype=positions_dtype),
    )


def cross_attention(width: int, heads: int, prefix: str = "encoder_attn") -> Modules:
    """Attention of a decoder to what the encoder heard: the query apart from key and value."""
    half = Output(width, heads)
    return (
        Linear(f"{prefix}.q_proj", width, (half,), "column", bias=True),
        Linear(f"{prefix}.kv_proj", width, (half, half), "column", bias=True),
        Linear(f"{prefix}.out_proj", width, (Output(width),), "row", bias=True, in_heads=heads),
    )
