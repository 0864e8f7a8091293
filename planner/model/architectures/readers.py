"""Small models that look and read: SmolVLM and Idefics 3, PaliGemma, PaddleOCR-VL, dots.ocr, GLM-OCR, LFM2-VL.

vllm/model_executor/models/{idefics3,idefics2_vision_model,paligemma,paddleocr_vl,dots_ocr,glm_ocr,lfm2_vl}.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures import dense, llama_kin
from planner.model.architectures.blocks import Heads, gated_mlp, norm, plain_mlp, qkv_linear, replicated
from planner.model.architectures.image_encoders import DEFAULTS, whole_siglip
from planner.model.architectures.nested import beside, nested_text
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.towers import (
    dense_linear,
    encoder_frequencies,
    patch_embedding,
    self_attention,
    siglip_mlp,
    under,
    vision_rope,
)
from planner.model.architectures.vision import QWEN_PREFIXES, with_tower
from planner.model.facts import Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

# transformers' Idefics3VisionConfig and SmolVLMVisionConfig, where vision_config leaves the key out
IDEFICS_VISION = {
    "hidden_size": 1152,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
}
# vllm transformers_utils/configs/dotsocr.py DotsVisionConfig
DOTS_VISION = {
    "embed_dim": 1536,
    "hidden_size": 1536,
    "intermediate_size": 4224,
    "num_hidden_layers": 42,
    "num_attention_heads": 12,
    "num_channels": 3,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "use_bias": False,
    "post_norm": True,
}
# transformers' Siglip2VisionConfig
SIGLIP2_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "num_patches": 256,
    "patch_size": 16,
}
LFM2_CLASSES = {"lfm2": "Lfm2ForCausalLM", "lfm2_moe": "Lfm2MoeForCausalLM"}
READER_MERGE = 2  # paddleocr_vl.py Projector.merge_kernel_size


def idefics3(config: Config) -> ModelFacts:
    """Llama's layers behind SigLIP; one matrix brings shuffled patches into its width; the class cannot be staged."""
    vision = {**IDEFICS_VISION, **config["vision_config"]}
    width = vision["hidden_size"]
    llama = {**text_config(config), "architectures": ["LlamaForCausalLM"]}  # whatever text_config names
    text = nested_text({**config, "text_config": llama})
    merged = width * optional(config, "scale_factor", default=2) ** 2
    tower = (
        *_siglip_patches(vision, "model.vision_model.embeddings"),
        *(under("model.vision_model.encoder.layers.0", siglip_block(vision)) * vision["num_hidden_layers"]),
        *norm("model.vision_model.post_layernorm", width, bias=True),
        replicated("model.connector.modality_projection.proj", merged, required(text, "hidden_size")),
    )
    own = {key: value for key, value in config.items() if key != "tie_word_embeddings"}  # the text's decides
    facts = replace(beside({**own, "text_config": text}, tower), supports_pp=False)
    return replace(facts, layers_prefix="model.text_model.layers")


def siglip_block(vision: Config) -> Modules:
    """One layer of SigLIP, split over TP."""
    width = required(vision, "hidden_size")
    return (
        *norm("layer_norm1", width, bias=True),
        *self_attention(width, required(vision, "num_attention_heads"), "self_attn", out="out_proj", qkv="qkv_proj"),
        *norm("layer_norm2", width, bias=True),
        *plain_mlp(width, required(vision, "intermediate_size"), names=("fc1", "fc2")),
    )


def _siglip_patches(vision: Config, prefix: str) -> Modules:
    width, patch = required(vision, "hidden_size"), required(vision, "patch_size")
    positions = (required(vision, "image_size") // patch) ** 2
    return (
        *patch_embedding(f"{prefix}.patch_embedding", width, required(vision, "num_channels"), patch, patch, bias=True),
        Parameter(f"{prefix}.position_embedding.weight", (positions, width)),
    )


def paligemma(config: Config) -> ModelFacts:
    """Gemma or Gemma 2 behind all of SigLIP; one matrix between them."""
    text = text_config(config)
    family = dense.gemma if text.get("model_type") == "gemma" else dense.gemma2
    encoder, width = whole_siglip(config)
    size = optional(config["vision_config"], "projection_dim", default=required(text, "hidden_size"))
    projector = replicated("multi_modal_projector.linear", width, size, bias=True, quantizable=False)
    prefixes = (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
    )
    facts = with_tower(family({**config, "text_config": text}), (*encoder, projector), *prefixes)
    return replace(facts, mm_prefix=True)


def paddleocr_vl(config: Config) -> ModelFacts:
    """ERNIE 4.5 behind SigLIP with axial positions; the projector is plain torch; the class cannot be staged."""
    vision = {**DEFAULTS["siglip_vision_model"], **config["vision_config"]}
    width, heads = vision["hidden_size"], vision["num_attention_heads"]
    merged, size = width * READER_MERGE**2, required(text_config(config), "hidden_size")
    positions = (vision["image_size"] // vision["patch_size"]) ** 2
    name = "visual.vision_model"
    block = (*siglip_block(vision)[:-2], *siglip_mlp(width, vision["intermediate_size"]))
    tower = (
        *_siglip_patches(vision, f"{name}.embeddings"),
        Parameter(f"{name}.embeddings.position_ids", (1, positions), dtype="int64", buffer=True, loaded=False),
        *(under(f"{name}.encoder.layers.0", block) * vision["num_hidden_layers"]),
        encoder_frequencies(f"{name}.encoder", width // heads),
        *norm(f"{name}.post_layernorm", width, bias=True),
        *norm("mlp_AR.pre_norm", width, bias=True),
        replicated("mlp_AR.linear_1", merged, merged, bias=True, quantizable=False),
        replicated("mlp_AR.linear_2", merged, size, bias=True, quantizable=False),
    )
    prefixes = (("model.", "language_model.model."), ("lm_head.", "language_model.lm_head."))
    # transformers' PaddleOCRVLConfig: the head is tied unless a nested text_config says that it is not
    tied = optional(config.get("text_config") or {}, "tie_word_embeddings", default=True)
    facts = llama_kin.ernie4_5({**config, "tie_word_embeddings": tied or bool(config.get("tie_word_embeddings"))})
    return replace(with_tower(facts, tower, *prefixes), supports_pp=False)


def dots_ocr(config: Config) -> ModelFacts:
    """Qwen2 behind a tower of gated MLPs and RMSNorms."""
    vision = {**DOTS_VISION, **config["vision_config"]}
    width, num_heads, bias = vision["embed_dim"], vision["num_attention_heads"], bool(vision["use_bias"])
    merged = width * vision["spatial_merge_size"] ** 2
    heads = Heads(width, num_heads, num_heads, width // num_heads)
    block = (
        qkv_linear(heads, "attn.qkv", bias=bias),
        Linear("attn.proj", width, (Output(width),), "row", bias=bias, in_heads=num_heads),
        *norm("norm1", width),
        *gated_mlp(width, vision["intermediate_size"], bias=bias, names=("fc13", "fc2")),
        *norm("norm2", width),
    )
    patch, name = vision["patch_size"], "vision_tower"
    tower = (
        *patch_embedding(f"{name}.patch_embed.patchifier.proj", width, vision["num_channels"], patch, patch, bias=True),
        *norm(f"{name}.patch_embed.patchifier.norm", width),
        encoder_frequencies(name, heads.head_dim),
        *(under(f"{name}.blocks.0", block) * vision["num_hidden_layers"]),
        *(norm(f"{name}.post_trunk_norm", width) if vision["post_norm"] else ()),
        *norm(f"{name}.merger.ln_q", width, bias=True),
        dense_linear(f"{name}.merger.mlp.0", merged, merged),
        dense_linear(f"{name}.merger.mlp.2", merged, vision["hidden_size"], "row"),
    )
    text = {**config, "model_type": "qwen2"}  # its window is Qwen2's: inert unless use_sliding_window
    return with_tower(dense.qwen2(text), tower, ("model.", "language_model.model."))


def glm_ocr(config: Config) -> ModelFacts:
    """GLM-4's text behind GLM-4V's tower with biases and head norms, without its positions."""
    vision, text = config["vision_config"], text_config(config)
    width, num_heads = required(vision, "hidden_size"), required(vision, "num_heads")
    out, patch = required(vision, "out_hidden_size"), required(vision, "patch_size")
    heads = Heads(width, num_heads, num_heads, width // num_heads)
    block = (
        *norm("norm1", width),
        *norm("norm2", width),
        qkv_linear(heads, "attn.qkv", bias=True),
        Linear("attn.proj", width, (Output(width),), "row", bias=True, in_heads=num_heads),
        *norm("attn.q_norm", heads.head_dim),
        *norm("attn.k_norm", heads.head_dim),
        *gated_mlp(width, required(vision, "intermediate_size"), bias=True),
    )
    channels, frames = optional(vision, "in_channels", default=3), optional(vision, "temporal_patch_size", default=2)
    merge, context = required(vision, "spatial_merge_size"), required(text, "intermediate_size")
    tower = (
        *patch_embedding("visual.patch_embed.proj", width, channels, frames, patch, patch, bias=True),
        *(under("visual.blocks.0", block) * required(vision, "depth")),
        Linear("visual.merger.proj", out, (Output(out),), "column"),
        *norm("visual.merger.post_projection_norm", out, bias=True),
        *gated_mlp(out, context, "visual.merger"),
        *patch_embedding("visual.downsample", out, width, merge, merge, bias=True),
        *norm("visual.post_layernorm", width),
        vision_rope(heads.head_dim),
    )
    return with_tower(dense.glm4(config), tower, *QWEN_PREFIXES)


def lfm2_vl(config: Config) -> ModelFacts:
    """LFM2, dense or with experts, behind SigLIP 2; a projector of two layers, whole on every rank."""
    vision, text = {**SIGLIP2_VISION, **config["vision_config"]}, text_config(config)
    width, patch = vision["hidden_size"], vision["patch_size"]
    name, merged = "vision_tower.vision_model", width * optional(config, "downsample_factor", default=2) ** 2
    inner = optional(config, "projector_hidden_size", default=2560)
    bias = bool(optional(config, "projector_bias", default=True))
    tower = (
        replicated(f"{name}.embeddings.patch_embedding", vision["num_channels"] * patch**2, width, bias=True),
        Parameter(f"{name}.embeddings.position_embedding.weight", (vision["num_patches"], width)),
        *(under(f"{name}.encoder.layers.0", siglip_block(vision)) * vision["num_hidden_layers"]),
        *norm(f"{name}.post_layernorm", width, bias=True),
        *(
            norm("multi_modal_projector.layer_norm", merged, bias=True)
            if optional(config, "projector_use_layernorm", default=True)
            else ()
        ),
        replicated("multi_modal_projector.linear_1", merged, inner, bias=bias, quantizable=False),
        replicated("multi_modal_projector.linear_2", inner, required(text, "hidden_size"), bias=bias),
    )
    prefixes = (
        ("lm_head.", "language_model.lm_head."),
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
    )
    return beside(
        {**config, "text_config": {**text, "architectures": [LFM2_CLASSES[text["model_type"]]]}}, tower, *prefixes
    )
