"""InternViT and its projector, in vLLM's class for InternVL's own checkpoints and in that for Hugging Face's.

vllm/model_executor/models/{intern_vit,internvl,interns1_vit,interns1}.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.blocks import norm, plain_mlp, replicated
from planner.model.architectures.nested import beside, nested_text
from planner.model.architectures.reading import optional, required
from planner.model.architectures.towers import patch_embedding, self_attention, under
from planner.model.facts import Linear, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts, Module

HF_PREFIXES = (
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower", "vision_tower"),
    ("model.multi_modal_projector", "multi_modal_projector"),
)


def internvl_chat(config: Config) -> ModelFacts:
    """InternVL 2 to 3.5 as published first: InternViT's own class, split over TP, and a projector named mlp1."""
    vision = config["vision_config"]
    selected = optional(config, "select_layer", default=-1)
    layers = required(vision, "num_hidden_layers") + selected + 1 if selected < 0 else selected + 1
    width, (patches, kernel) = required(vision, "hidden_size"), _patching(vision)
    tower = (
        Parameter("vision_model.embeddings.class_embedding", (1, 1, width)),
        *patch_embedding("vision_model.embeddings.patch_embedding", width, 3, *kernel, bias=True),
        Parameter("vision_model.embeddings.position_embedding", (1, patches + 1, width)),
        *(under("vision_model.encoder.layers.0", _block(vision)) * layers),
        *_projector(config, ("mlp1.0", "mlp1.1", "mlp1.3")),
    )
    return replace(beside(config, spared(config, tower)), needs_trust_remote_code=True)


def spared(config: Config, tower: Modules) -> Modules:
    """AWQ of the language model alone leaves the tower as it is (_patch_quant_config)."""
    published = nested_text(config).get("quantization_config") or {}
    alone = published.get("quant_method") == "awq" and not published.get("modules_to_not_convert")
    return unquantized(tower) if alone else tower


def unquantized(modules: Modules) -> Modules:
    """Modules to which the engine hands no quantization."""
    return tuple(replace(module, quantizable=False) if isinstance(module, Linear) else module for module in modules)


def _patching(vision: Config) -> tuple[int, tuple[int, int]]:
    """Patches of an image, and the patch's height and width."""
    image, patch = required(vision, "image_size"), required(vision, "patch_size")
    images = image if isinstance(image, list) else [image, image]
    patches = patch if isinstance(patch, list) else [patch, patch]
    return (images[0] // patches[0]) * (images[1] // patches[1]), (patches[0], patches[1])


def _block(vision: Config) -> Modules:
    """One layer; an odd number of heads (25 in the 6B encoder) leaves attention whole on every rank.

    InternParallelAttention: disable_tp where the heads do not divide.
    """
    width, num_heads = required(vision, "hidden_size"), required(vision, "num_attention_heads")
    attention = self_attention(width, num_heads, "attn")
    if num_heads % 2:
        attention = tuple(_whole(module) for module in attention)
    qkv = replace(attention[0], bias=bool(optional(vision, "qkv_bias", default=True)))
    return (
        qkv,
        *attention[1:],
        *(_head_norms("attn", width) if optional(vision, "qk_normalization", default=False) else ()),
        *plain_mlp(width, required(vision, "intermediate_size"), names=("fc1", "fc2")),
        *_norms(vision, ("norm1", "norm2")),
        Parameter("ls1", (width,)),
        Parameter("ls2", (width,)),
    )


def _whole(module: Module) -> Module:
    return replace(module, split="replicated") if isinstance(module, Linear) else module


def _head_norms(prefix: str, width: int) -> Modules:
    return norm(f"{prefix}.q_norm", width) + norm(f"{prefix}.k_norm", width)


def _norms(vision: Config, names: tuple[str, str]) -> Modules:
    biased = optional(vision, "norm_type", default="layer_norm") == "layer_norm"
    return tuple(module for name in names for module in norm(name, required(vision, "hidden_size"), bias=biased))


def _projector(config: Config, names: tuple[str, str, str]) -> Modules:
    """Neighbouring patches side by side, a norm and two layers of plain torch, never quantized nor split."""
    ratio = optional(config, "downsample_ratio", default=0.5)
    width = required(config["vision_config"], "hidden_size") * int(1 / ratio) ** 2
    text_width = required(nested_text(config), "hidden_size")
    return (
        *norm(names[0], width, bias=True),
        replicated(names[1], width, text_width, bias=True, quantizable=False),
        replicated(names[2], text_width, text_width, bias=True, quantizable=False),
    )


def internvl(config: Config) -> ModelFacts:
    """The same models as Hugging Face's class: attention of plain torch on every rank, only the MLPs split.

    InternS1VisionModel hands its encoder no quantization.
    """
    vision = {"attention_bias": False, "use_qk_norm": False, **config["vision_config"]}
    width, (patches, kernel) = required(vision, "hidden_size"), _patching(vision)
    positions = optional(vision, "use_absolute_position_embeddings", default=True)
    tower = (
        Parameter("vision_tower.embeddings.cls_token", (1, 1, width)),
        *((Parameter("vision_tower.embeddings.mask_token", (1, 1, width)),) if vision.get("use_mask_token") else ()),
        *((Parameter("vision_tower.embeddings.position_embeddings", (1, patches + 1, width)),) if positions else ()),
        *patch_embedding("vision_tower.embeddings.patch_embeddings.projection", width, 3, *kernel, bias=True),
        *(under("vision_tower.encoder.layer.0", _hf_block(vision)) * required(vision, "num_hidden_layers")),
        *(
            ()
            if optional(vision, "use_mean_pooling", default=True)
            else norm("vision_tower.layernorm", width, bias=True)
        ),
        *under("multi_modal_projector", _projector(config, ("layer_norm", "linear_1", "linear_2"))),
    )
    return beside(config, unquantized(tower), *HF_PREFIXES)


def _hf_block(vision: Config) -> Modules:
    width, bias = required(vision, "hidden_size"), bool(vision["attention_bias"])
    return (
        *(replicated(f"attention.{name}_proj", width, width, bias=bias) for name in ("q", "k", "v")),
        replicated("attention.projection_layer", width, width, bias=True),
        *(_head_norms("attention", width) if vision["use_qk_norm"] else ()),
        *plain_mlp(width, required(vision, "intermediate_size"), names=("fc1", "fc2")),
        *_norms(vision, ("layernorm_before", "layernorm_after")),
        Parameter("lambda_1", (width,)),
        Parameter("lambda_2", (width,)),
    )
