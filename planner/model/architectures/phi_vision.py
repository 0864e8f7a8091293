"""Phi that looks and listens: Phi-3 and 3.5 vision behind CLIP, Phi-4-multimodal behind SigLIP and a Conformer.

vllm/model_executor/models/{phi3v,phi4mm,phi4mm_audio,phi4mm_utils,phi4siglip}.py. Encoders of plain torch lie whole on
every rank; what no config.json says of them stands in these classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.blocks import norm, replicated
from planner.model.architectures.dense import llama_like
from planner.model.architectures.image_encoders import DEFAULTS, LARGE, at, clip_encoder, siglip_encoder
from planner.model.architectures.intern_vit import unquantized
from planner.model.architectures.reading import optional, required
from planner.model.architectures.towers import patch_embedding, under
from planner.model.architectures.vision import with_tower
from planner.model.facts import Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

CLIP_336 = {**DEFAULTS["clip_vision_model"], **LARGE, "image_size": 336, "patch_size": 14}  # phi3v.py
SIGLIP_448 = {  # phi4mm.py get_navit_vision_model
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_channels": 3,
    "image_size": 448,
    "patch_size": 14,
}
FEATURE_LAYER = -2
MERGED_PATCHES = 4  # Phi3HDImageEmbedding: patches side by side
MEL_STEPS = 5000  # AbsolutePositionalEncoding's max_len
PHI3V_PREFIXES = (
    ("model.vision_embed_tokens.", "vision_embed_tokens."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)


def phi3_v(config: Config) -> ModelFacts:
    """Phi-3's text behind CLIP.

    The class makes a second token table beside the encoder and drops it for the text's own where the checkpoint, as
    those published, holds one alone (Phi3VForCausalLM.load_weights).
    """
    name, size = "model.vision_embed_tokens", required(config, "hidden_size")
    width = required(config["img_processor"], "image_dim_out") * MERGED_PATCHES
    encoder = clip_encoder(CLIP_336, _layers(config, CLIP_336["num_hidden_layers"]))
    tower = (
        *at(f"{name}.img_processor.vision_model", encoder),
        Parameter(f"{name}.glb_GN", (1, 1, width)),
        Parameter(f"{name}.sub_GN", (1, 1, 1, width)),
        *_projection(f"{name}.img_projection", width, size),
    )
    facts = with_tower(llama_like(config), tower, *PHI3V_PREFIXES)
    return replace(facts, layers_prefix="model.layers", needs_trust_remote_code=True)


def phi4_mm(config: Config) -> ModelFacts:
    """Phi-4-mini's text behind SigLIP, whose layers are split, and a Conformer; no pipeline stages."""
    size = required(config, "hidden_size")
    width, name = SIGLIP_448["hidden_size"], "vision_encoder"
    images = siglip_encoder(SIGLIP_448, _layers(config, SIGLIP_448["num_hidden_layers"]))
    tower = (
        *(module for module in images if not module.name.endswith("position_ids")),
        Parameter(f"{name}.glb_GN", (1, 1, width)),
        Parameter(f"{name}.sub_GN", (1, 1, 1, width)),
        *_projection(f"{name}.img_projection", width, size),
        *_speech_encoder(config, size),
    )
    facts = with_tower(llama_like(config), unquantized(tower))
    return replace(facts, layers_prefix="model.layers", supports_pp=False, needs_trust_remote_code=True)


def _layers(config: Config, count: int) -> int:
    """Layers up to the one whose features are used, the last but one unless img_processor names another."""
    chosen: int = optional(config.get("img_processor") or {}, "layer_idx", default=FEATURE_LAYER)
    return count + chosen + 1 if chosen < 0 else chosen + 1


def _projection(name: str, width: int, size: int) -> Modules:
    return (
        replicated(f"{name}.0", width, size, bias=True, quantizable=False),
        replicated(f"{name}.2", size, size, bias=True, quantizable=False),
    )


def _speech_encoder(config: Config, size: int) -> Modules:
    """Convolutions that shorten the sound, Conformer blocks, and a projection for speech with and without images."""
    speech, name = required(config["audio_processor"], "config"), "embed_tokens_extend.encoder"
    width, mels = required(speech, "attention_dim"), required(speech, "input_size")
    buckets = 2 * required(speech, "relative_attention_bias_args")["t5_bias_max_distance"]
    return (
        *_shortening(speech, width, mels),
        Parameter(f"{name}.relative_attention_bias_layer.bias_values.weight", (buckets, speech["attention_heads"])),
        Parameter(f"{name}.encoder_embedding.global_mean", (mels,)),
        Parameter(f"{name}.encoder_embedding.global_invstd", (mels,)),
        *(under(f"{name}.encoders.0", _conformer_block(speech, width)) * required(speech, "num_blocks")),
        Parameter(f"{name}.dev_type", (), buffer=True, loaded=False),
        Parameter(f"{name}.pos_emb.pe", (1, MEL_STEPS, width), buffer=True, loaded=False),
        *_projection("embed_tokens_extend.audio_projection", width, size),
        *_projection("embed_tokens_extend.audio_projection_for_vision", width, size),
    )


def _shortening(speech: Config, width: int, mels: int) -> Modules:
    """NemoConvSubsampling: each step halves time and mels, the first with all channels, later ones one by one."""
    name, channels = "embed_tokens_extend.encoder.embed", required(speech, "nemo_conv_settings")["conv_channels"]
    steps = required(speech, "time_reduction").bit_length() - 1
    later = (
        *patch_embedding(f"{name}.conv.2", channels, 1, 3, 3, bias=True),
        *patch_embedding(f"{name}.conv.3", channels, channels, 1, 1, bias=True),
    )
    return (
        *patch_embedding(f"{name}.conv.0", channels, 1, 3, 3, bias=True),
        *(later * (steps - 1)),
        replicated(f"{name}.out", channels * -(-mels // 2**steps), width, bias=True),
    )


def _conformer_block(speech: Config, width: int) -> Modules:
    """Half a gated MLP, attention, a gated convolution, the other half."""
    inner, outer = required(speech, "linear_units"), required(speech, "ext_pw_out_channel")
    kernel, apart = required(speech, "kernel_size"), required(speech, "depthwise_seperable_out_channel")
    wide = width * required(speech, "depthwise_multiplier")
    half = (
        *norm("layer_norm", width, bias=True),
        replicated("net.0.linear", width, 2 * inner, bias=bool(optional(speech, "bias_in_glu", default=True))),
        replicated("net.2", inner, width, bias=True),
    )
    return (
        *under("feed_forward_in", half),
        *(replicated(f"self_attn.linear_{part}", width, width, bias=True) for part in ("q", "k", "v", "out")),
        *norm("conv.layer_norm", width, bias=True),
        Parameter("conv.glu.b1", (1, outer, 1)),
        Parameter("conv.glu.b2", (1, outer, 1)),
        *patch_embedding(
            "conv.glu.ext_pw_conv_1d", 2 * outer, width, required(speech, "ext_pw_kernel_size"), bias=True
        ),
        *patch_embedding("conv.dw_sep_conv_1d.dw_conv", wide, 1, kernel, bias=True),
        *patch_embedding("conv.dw_sep_conv_1d.pw_conv", apart, wide, 1, bias=True),
        *patch_embedding("conv.ext_pw_conv_1d", outer, apart, 1, bias=True),
        *under("feed_forward_out", half),
        *norm("layer_norm_att", width, bias=True),
        *norm("layer_norm", width, bias=True),
    )
