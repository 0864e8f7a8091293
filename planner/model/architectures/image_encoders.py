"""Image encoders that several vision-language families share: Pixtral, CLIP and SigLIP.

vllm/model_executor/models/{pixtral,clip,siglip}.py, for Hugging Face's checkpoints. Each function returns the encoder
under ``vision_tower``, with as many of its layers as the engine builds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.errors import UnknownArchitectureError
from planner.model.architectures.blocks import Heads, gated_mlp, norm, plain_mlp, qkv_linear
from planner.model.architectures.reading import optional, required
from planner.model.architectures.towers import patch_embedding, self_attention, siglip_mlp, under
from planner.model.facts import Linear, Output, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config

    Encoder = Callable[[Config, int], Modules]

# transformers' class defaults, where a checkpoint's vision_config leaves the key out
SMALL = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
DEFAULTS: dict[str, Mapping[str, Any]] = {
    "clip_vision_model": {**SMALL, "num_channels": 3, "image_size": 224, "patch_size": 32},
    "siglip_vision_model": {**SMALL, "num_channels": 3, "image_size": 224, "patch_size": 16},
    "pixtral": {**LARGE, "num_channels": 3, "image_size": 1024, "patch_size": 16},
}


def image_encoder(config: Config, feature_layer: int) -> tuple[Modules, int]:
    """The encoder of ``vision_config`` and its width; ``feature_layer``: the class's default of the key.

    Raises UnknownArchitectureError where the engine has another encoder, or none, for it.
    """
    kind = str(config["vision_config"].get("model_type"))
    if kind not in ENCODERS:
        raise UnknownArchitectureError(
            f"vision_config: model_type {kind} is not known; known are {', '.join(sorted(ENCODERS))}. Its weights "
            f"cannot be counted. To add it, write a function in planner/model/architectures/image_encoders.py."
        )
    vision = {**DEFAULTS[kind], **config["vision_config"]}
    layers = _layers(optional(config, "vision_feature_layer", default=feature_layer), vision["num_hidden_layers"])
    return ENCODERS[kind](vision, layers), vision["hidden_size"]


def _layers(chosen: int | list[int], count: int) -> int:
    """Layers up to the deepest whose features are used: the engine builds no more (_get_num_hidden_layers)."""
    indices = chosen if isinstance(chosen, list) else [chosen]
    return max(count + index + 1 if index < 0 else index for index in indices)


def pixtral_encoder(vision: Config, layers: int) -> Modules:
    """RMSNorms, gated MLPs, no biases, no learned positions and no last norm (PixtralHFVisionModel)."""
    width, num_heads = required(vision, "hidden_size"), required(vision, "num_attention_heads")
    block = (
        *norm("attention_norm", width),
        qkv_linear(Heads(width, num_heads, num_heads, width // num_heads), "attention.qkv_proj"),
        Linear("attention.o_proj", width, (Output(width),), "row", in_heads=num_heads),
        *gated_mlp(width, required(vision, "intermediate_size"), "feed_forward"),
        *norm("ffn_norm", width),
    )
    return (
        *patch_embedding("vision_tower.patch_conv", width, *_kernel(vision), bias=False),
        *norm("vision_tower.ln_pre", width),
        *(under("vision_tower.transformer.layers.0", block) * layers),
        *_axial_frequencies(vision, width // num_heads),
    )


def _axial_frequencies(vision: Config, head_dim: int) -> Modules:
    """transformers' inv_freq and its original; those that versions before 0.33.0 import hold a row per patch."""
    return tuple(
        Parameter(
            f"vision_tower.patch_positional_embedding.{name}",
            (head_dim // 2,),
            dtype="float32",
            buffer=True,
            loaded=False,
            shape_before_0_33=(_patches(vision), head_dim),
        )
        for name in ("inv_freq", "original_inv_freq")
    )


def clip_encoder(vision: Config, layers: int) -> Modules:
    """A class token, LayerNorms, a norm before the layers and, in these models, none after them (CLIPVisionModel)."""
    width, name = required(vision, "hidden_size"), "vision_tower.vision_model"
    return (
        Parameter(f"{name}.embeddings.class_embedding", (width,)),
        *patch_embedding(f"{name}.embeddings.patch_embedding", width, *_kernel(vision), bias=False),
        *_positions(f"{name}.embeddings", _patches(vision) + 1, width),
        *norm(f"{name}.pre_layrnorm", width, bias=True),
        *(under(f"{name}.encoder.layers.0", _block(vision)) * layers),
    )


def whole_siglip(config: Config) -> tuple[Modules, int]:
    """SigLIP with all its layers and the norm behind them, and its width."""
    vision = {**DEFAULTS["siglip_vision_model"], **config["vision_config"]}
    width = vision["hidden_size"]
    behind = norm("vision_tower.vision_model.post_layernorm", width, bias=True)
    return (*siglip_encoder(vision, vision["num_hidden_layers"]), *behind), width


def siglip_encoder(vision: Config, layers: int, *, idefics: bool = False) -> Modules:
    """CLIP's layers with a bias on the patches, without a class token or other norms (SiglipVisionModel).

    ``idefics``: in Idefics2VisionTransformer, which quantizes MLPs of any width.
    """
    width, name = required(vision, "hidden_size"), "vision_tower.vision_model"
    block = _block(vision)
    if not idefics:
        block = (*block[:-2], *siglip_mlp(width, required(vision, "intermediate_size")))
    return (
        *patch_embedding(f"{name}.embeddings.patch_embedding", width, *_kernel(vision), bias=True),
        *_positions(f"{name}.embeddings", _patches(vision), width),
        *(under(f"{name}.encoder.layers.0", block) * layers),
    )


def at(name: str, encoder: Modules) -> Modules:
    """An encoder's modules where a class keeps them under ``name``, not vision_tower.vision_model."""
    return tuple(replace(module, name=module.name.replace("vision_tower.vision_model", name, 1)) for module in encoder)


def _block(vision: Config) -> Modules:
    width = required(vision, "hidden_size")
    return (
        *norm("layer_norm1", width, bias=True),
        *self_attention(width, required(vision, "num_attention_heads"), "self_attn", out="out_proj", qkv="qkv_proj"),
        *norm("layer_norm2", width, bias=True),
        *plain_mlp(width, required(vision, "intermediate_size"), names=("fc1", "fc2")),
    )


def _kernel(vision: Config) -> tuple[int, int, int]:
    patch = required(vision, "patch_size")
    return (required(vision, "num_channels"), patch, patch)


def _patches(vision: Config) -> int:
    per_side: int = required(vision, "image_size") // required(vision, "patch_size")
    return per_side**2


def _positions(name: str, count: int, width: int) -> Modules:
    ids = Parameter(f"{name}.position_ids", (1, count), dtype="int64", buffer=True, loaded=False)
    return (Parameter(f"{name}.position_embedding.weight", (count, width)), ids)


ENCODERS: Mapping[str, Encoder] = {
    "clip_vision_model": clip_encoder,
    "pixtral": pixtral_encoder,
    "siglip_vision_model": siglip_encoder,
}
