"""DeepSeek-OCR: SAM and CLIP, side by side, before a small mixture of experts; the second has Qwen2 behind SAM.

vllm/model_executor/models/{deepseek_ocr,deepencoder,deepseek_ocr2,deepencoder2}.py. No encoder has a config of its own:
the sizes below are those that the classes write out (build_sam_vit_b, DeepseekOCRForCausalLM.__init__).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.errors import ModelError
from planner.model.architectures.blocks import norm, replicated
from planner.model.architectures.image_encoders import at, clip_encoder
from planner.model.architectures.moe_kin import deepseek_moe
from planner.model.architectures.reading import required, text_config
from planner.model.architectures.towers import patch_embedding, under
from planner.model.architectures.vision import with_tower
from planner.model.facts import Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

SAM_WIDTH, SAM_LAYERS, SAM_HEADS, SAM_PATCH, SAM_SIDE, SAM_WINDOW = 768, 12, 12, 16, 1024, 14
QWEN_WIDTH, QWEN_HEADS, QWEN_KV_HEADS, QWEN_INNER, QWEN_LAYERS, QUERIES = 896, 14, 2, 4864, 24, (144, 256)
SAM_GLOBAL = frozenset({2, 5, 8, 11})  # layers without a window
SAM_CHANNELS = (256, 512)  # of the neck and of the first of two convolutions behind it
CLIP = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 14,
}
PREFIXES = (
    ("model.embed_tokens.", "language_model.model.embed_tokens."),
    ("model.layers.", "language_model.model.layers."),
    ("model.norm.", "language_model.model.norm."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", ""),
)


def deepseek_ocr(config: Config) -> ModelFacts:
    """DeepSeek's experts on plain attention; two learned marks."""
    encoder = (*sam_encoder("sam_model"), *clip_layers("vision_model"))
    return _reader(config, encoder, ("image_newline", "view_seperator"))  # the class's spelling


def deepseek_ocr2(config: Config) -> ModelFacts:
    """Qwen2 in CLIP's place, reading SAM's patches into queries of its own; one mark."""
    encoder = (*sam_encoder("sam_model", QWEN_WIDTH), *_qwen2_encoder("qwen2_model"))
    return _reader(config, encoder, ("view_seperator",))


def _reader(config: Config, encoder: Modules, names: tuple[str, ...]) -> ModelFacts:
    architecture = config["architectures"][0]
    text = text_config(config)
    if text.get("use_mla", True) and (text.get("qk_nope_head_dim") or text.get("qk_rope_head_dim")):
        raise ModelError(
            f"config.json of {architecture}: the language model has latent attention (qk_nope_head_dim). Only plain "
            "attention is described here, so the KV cache cannot be counted. Use the published checkpoint."
        )
    projector = required(config, "projector_config")
    width = required(projector, "n_embed")
    if projector.get("projector_type") != "linear":
        raise ModelError(
            f"config.json of {architecture}: projector_type {projector.get('projector_type')} is not "
            "described; published checkpoints have linear. Use one of them."
        )
    tower = (
        *encoder,
        replicated("projector.layers", required(projector, "input_dim"), width, bias=True, quantizable=False),
        *(Parameter(name, (width,)) for name in names),
    )
    return with_tower(replace(deepseek_moe(config), needs_trust_remote_code=False), tower, *PREFIXES)


def sam_encoder(prefix: str, last: int = 1024) -> Modules:
    """SAM's base encoder with two more convolutions: plain torch, whole on every rank."""
    side = SAM_SIDE // SAM_PATCH
    neck, middle = SAM_CHANNELS
    layers = tuple(
        module
        for index in range(SAM_LAYERS)
        for module in under(f"{prefix}.blocks.0", _sam_layer(side if index in SAM_GLOBAL else SAM_WINDOW))
    )
    return (
        *patch_embedding(f"{prefix}.patch_embed.proj", SAM_WIDTH, 3, SAM_PATCH, SAM_PATCH, bias=True),
        Parameter(f"{prefix}.pos_embed", (1, side, side, SAM_WIDTH)),
        *layers,
        Parameter(f"{prefix}.neck.0.weight", (neck, SAM_WIDTH, 1, 1)),
        *norm(f"{prefix}.neck.1", neck, bias=True),
        Parameter(f"{prefix}.neck.2.weight", (neck, neck, 3, 3)),
        *norm(f"{prefix}.neck.3", neck, bias=True),
        Parameter(f"{prefix}.net_2.weight", (middle, neck, 3, 3)),
        Parameter(f"{prefix}.net_3.weight", (last, middle, 3, 3)),
    )


def _qwen2_encoder(prefix: str) -> Modules:
    """transformers' Qwen2Model without its table: plain torch, whole on every rank."""
    width, kv = QWEN_WIDTH, QWEN_WIDTH // QWEN_HEADS * QWEN_KV_HEADS
    layer = (
        *norm("input_layernorm", width),
        *norm("post_attention_layernorm", width),
        replicated("self_attn.q_proj", width, width, bias=True, quantizable=False),
        replicated("self_attn.k_proj", width, kv, bias=True, quantizable=False),
        replicated("self_attn.v_proj", width, kv, bias=True, quantizable=False),
        replicated("self_attn.o_proj", width, width, quantizable=False),
        replicated("mlp.gate_proj", width, QWEN_INNER, quantizable=False),
        replicated("mlp.up_proj", width, QWEN_INNER, quantizable=False),
        replicated("mlp.down_proj", QWEN_INNER, width, quantizable=False),
    )
    name = f"{prefix}.model.model"
    return (
        *(under(f"{name}.layers.0", layer) * QWEN_LAYERS),
        *norm(f"{name}.norm", width),
        *(
            Parameter(f"{name}.rotary_emb.{part}", (width // QWEN_HEADS // 2,), dtype="float32", buffer=True)
            for part in ("inv_freq", "original_inv_freq")
        ),
        *(Parameter(f"{prefix}.query.{count}.weight", (count, width)) for count in QUERIES),
    )


def _sam_layer(side: int) -> Modules:
    """One layer that looks at ``side`` by ``side`` patches, with positions relative to each other."""
    relative = (2 * side - 1, SAM_WIDTH // SAM_HEADS)
    return (
        *norm("norm1", SAM_WIDTH, bias=True),
        replicated("attn.qkv", SAM_WIDTH, 3 * SAM_WIDTH, bias=True, quantizable=False),
        replicated("attn.proj", SAM_WIDTH, SAM_WIDTH, bias=True, quantizable=False),
        Parameter("attn.rel_pos_h", relative),
        Parameter("attn.rel_pos_w", relative),
        *norm("norm2", SAM_WIDTH, bias=True),
        replicated("mlp.lin1", SAM_WIDTH, 4 * SAM_WIDTH, bias=True, quantizable=False),
        replicated("mlp.lin2", 4 * SAM_WIDTH, SAM_WIDTH, bias=True, quantizable=False),
    )


def clip_layers(prefix: str) -> Modules:
    """CLIP's large encoder; SAM's features take the place of its patches, whose weights it keeps."""
    modules = at(prefix, clip_encoder(CLIP, CLIP["num_hidden_layers"]))
    return tuple(replace(module, name=module.name.replace("encoder", "transformer")) for module in modules)
