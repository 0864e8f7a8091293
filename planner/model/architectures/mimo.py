"""MiMo V2: K and V of different sizes, windowed layers with heads and sinks of their own.

vllm/model_executor/models/mimo_v2.py, mimo_v2_omni.py for MiMo-V2.5, which sees and hears, mimo_audio.py for its
encoder of sound. What a config leaves out is Mimo_VLVisionConfig, MimoAudioEncoderConfig and transformers' Qwen2Config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import (
    Heads,
    attention,
    attention_cache,
    gated_mlp,
    norm,
    qkv_linear,
    replicated,
)
from planner.model.architectures.dense import Shape, norms_of
from planner.model.architectures.intern_vit import unquantized
from planner.model.architectures.moe import Routing, leading_dense, moe_block
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import frequencies, rope_cache
from planner.model.architectures.towers import patch_embedding, under, vision_rope
from planner.model.architectures.vision import with_tower
from planner.model.facts import Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import CacheKind, ModelFacts, Module

OMNI_PREFIXES = (
    ("speech_embeddings.", "audio_encoder.speech_embeddings."),
    ("model.language_model.", "language_model.model."),
    ("model.visual.", "visual."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)
VISION = {
    "depth": 28,
    "hidden_size": 1280,
    "intermediate_size": 4608,
    "num_heads": 32,
    "num_key_value_heads": 8,
    "qk_channels": 64,
    "kv_channels": 64,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "out_hidden_size": 2048,
    "fullatt_block_indexes": None,
}
AUDIO = {
    "speech_vocab_size": "1025-1025-129-129-129-129-129-129",
    "group_size": 4,
    "audio_channels": 8,
    "input_local_layers": 6,
    "input_local_dim": 1024,
    "input_local_attn_heads": 64,
    "input_local_intermediate_size": 4096,
    "out_hidden_size": 4096,
    "projection_layers": 1,
    "add_post_norm": False,
}
QWEN2_VOCABULARY = 151_936
AUDIO_TOKENIZER = (
    "model.repo: the audio tokenizer of this repository (its folder audio_tokenizer, which vLLM loads where it is "
    "on disk) is described by no config.json read here and not counted. If nobody sends sound or images, leave "
    "encoders and tokenizer out: engine.extra_args: {language-model-only: true}."
)
BLOCK = 128  # _fused_qkv_kv_chunk_rows: rows that share a scale


def mimo_v2_flash(config: Config) -> ModelFacts:
    """Experts with an fp32 router beside leading dense layers."""
    text = text_config(config)
    size, count = required(text, "hidden_size"), required(text, "n_routed_experts")
    routing = Routing(
        required(text, "moe_intermediate_size"),
        count,
        required(text, "num_experts_per_tok"),
        gate_dtype="float32",
        correction_bias=True,
    )
    pattern = required(text, "hybrid_layer_pattern")
    dense = leading_dense(text)
    sparse_mlp, dense_mlp = moe_block(size, routing), gated_mlp(size, required(text, "intermediate_size"))
    layers = [
        _layer(text, bool(windowed), dense_mlp if index in dense else sparse_mlp)
        for index, windowed in enumerate(pattern[: required(text, "num_hidden_layers")])
    ]
    return assemble(config, layers, Body(num_experts=count, flags={"max_experts_tp": count}))


def mimo_v2(config: Config) -> ModelFacts:
    """MiMo-V2.5 and -Pro, whose config class is Python code of the repository.

    With a vision_config vLLM takes its class for images and sound (MimoV2ModelArchConfigConvertor).
    """
    facts = replace(mimo_v2_flash(config), needs_trust_remote_code=True)
    if not config.get("vision_config"):
        return facts
    facts = with_tower(facts, (*_vision_tower(config["vision_config"]), *_audio_encoder(config)), *OMNI_PREFIXES)
    return replace(facts, notes=(AUDIO_TOKENIZER,)) if config.get("audio_config") else facts


def _vision_tower(published: Config) -> Modules:
    """Qwen2.5-VL's blocks with fewer KV heads and sinks, whole on every rank, in the windowed ones."""
    vision = {**VISION, **published}
    width, num_heads, patch = vision["hidden_size"], vision["num_heads"], vision["patch_size"]
    heads = Heads(width, num_heads, vision["num_key_value_heads"], vision["qk_channels"], vision["kv_channels"])
    block = (
        *norm("norm1", width),
        *norm("norm2", width),
        qkv_linear(heads, "attn.qkv", bias=True),
        Linear("attn.proj", num_heads * heads.value_dim, (Output(width),), "row", bias=True, in_heads=num_heads),
        *gated_mlp(width, vision["intermediate_size"], bias=True),
    )
    sinks = (Parameter("attn.sinks", (num_heads,)),) if vision.get("use_sink") else ()
    full = vision["fullatt_block_indexes"] or ()
    merged = width * vision["spatial_merge_size"] ** 2
    tower = (
        *patch_embedding("visual.patch_embed.proj", width, 3, vision["temporal_patch_size"], patch, patch, bias=False),
        *(
            module
            for index in range(vision["depth"])
            for module in under("visual.blocks.0", block if index in full else (*block, *sinks))
        ),
        *norm("visual.merger.ln_q", width),
        Linear("visual.merger.mlp.0", merged, (Output(merged),), "column"),
        Linear("visual.merger.mlp.2", merged, (Output(vision["out_hidden_size"]),), "row"),
        vision_rope(heads.head_dim),
    )
    return unquantized(tower)


def _audio_encoder(config: Config) -> Modules:
    """transformers' Qwen2 over tables of speech codes, whole on every rank; its own token table stays, unused."""
    if not config.get("audio_config"):
        return ()
    audio, name = {**AUDIO, **config["audio_config"]}, "audio_encoder"
    width, grouped = audio["input_local_dim"], audio["input_local_dim"] * audio["group_size"]
    head_dim = width // audio["input_local_attn_heads"]
    block = (
        *(replicated(f"self_attn.{part}_proj", width, width, bias=part != "o") for part in "qkvo"),
        *(replicated(f"mlp.{part}_proj", width, audio["input_local_intermediate_size"]) for part in ("gate", "up")),
        replicated("mlp.down_proj", audio["input_local_intermediate_size"], width),
        *norm("input_layernorm", width),
        *norm("post_attention_layernorm", width),
    )
    out = audio["out_hidden_size"]
    widths = ((grouped, out),) if audio["projection_layers"] == 1 else ((grouped, 4 * grouped), (4 * grouped, out))
    return unquantized(
        (
            Parameter(f"{name}.input_local_transformer.embed_tokens.weight", (QWEN2_VOCABULARY, width)),
            *(under(f"{name}.input_local_transformer.layers.0", block) * audio["input_local_layers"]),
            *(norm(f"{name}.input_local_transformer.norm", width) if audio["add_post_norm"] else ()),
            *frequencies(head_dim, name),
            *(Parameter(f"{name}.speech_embeddings.0.weight", (rows, width)) for rows in _speech_tables(audio)),
            *(replicated(f"{name}.projection.{index}", *sizes) for index, sizes in enumerate(widths)),
        )
    )


def _speech_tables(audio: Config) -> list[int]:
    """One size for all channels, or one each (_parse_maybe_list)."""
    sizes = str(audio["speech_vocab_size"])
    return [int(size) for size in sizes.split("-")] if "-" in sizes else [int(sizes)] * audio["audio_channels"]


def _layer(text: Config, windowed: bool, mlp: Modules) -> Layer:
    prefix = "swa_" if windowed else ""
    head_dim = required(text, f"{prefix}head_dim")
    heads = Heads(
        required(text, "hidden_size"),
        required(text, f"{prefix}num_attention_heads"),
        required(text, f"{prefix}num_key_value_heads"),
        head_dim,
        optional(text, f"{prefix}v_head_dim", default=head_dim),
    )
    sinks = bool(text.get("add_swa_attention_sink_bias" if windowed else "add_full_attention_sink_bias"))
    theta = text.get("swa_rope_theta") if windowed else text.get("rope_theta")
    rope = {
        "rope_type": "default",  # whatever rope_scaling says
        "rope_theta": theta,
        "partial_rotary_factor": text.get("partial_rotary_factor"),
    }
    modules = (
        *(_fused(module, text, heads) for module in attention(heads, qkv_bias=bool(text.get("attention_bias")))),
        *((Parameter("self_attn.attention_sink_bias", (heads.num_heads,), 0),) if sinks else ()),
        rope_cache(heads.head_dim, required(text, "max_position_embeddings"), rope),
        *mlp,
        *norms_of(text, Shape()),
    )
    window = optional(text, "sliding_window_size", "sliding_window") if windowed else None
    kind: CacheKind = "sliding_window" if windowed else "full"
    return Layer(modules, (attention_cache(heads, kind, window, sinks=sinks),))


def _fused(module: Module, text: Config, heads: Heads) -> Module:
    """Checkpoints that hold q, k and v as one, cut for as many ranks as there are KV heads.

    In FP8 blocks the rows of K and V of one such chunk are padded to whole blocks where a rank holds several of them
    and they share one (_fused_qkv_kv_chunk_rows; 0.25.0 does not pad, which is less by 0.003 %).
    """
    if not isinstance(module, Linear) or module.split != "column":
        return module
    if text.get("attention_projection_layout") != "fused_qkv":
        return module
    fused = replace(module, outputs=tuple(replace(output, name="") for output in module.outputs))
    chunks = required(text, "num_key_value_heads")
    whole = heads.num_heads % chunks == 0 and heads.num_kv_heads % chunks == 0
    if not whole or not (text.get("quantization_config") or {}).get("weight_block_size"):
        return fused
    q, k, v = (output.features // chunks for output in module.outputs)
    if q % BLOCK or (k % BLOCK == 0 and v % BLOCK == 0):
        return fused
    return replace(fused, kv_chunks=(chunks, -(-(k + v) // BLOCK) * BLOCK))
