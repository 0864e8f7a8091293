"""An image encoder, a projector and any language model: the LLaVA line, Pixtral among it, Mistral 3, Command A Vision.

vllm/model_executor/models/{llava,llava_next,llava_next_video,llava_onevision,mistral3,lightonocr,
cohere2_vision}.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.blocks import norm, replicated
from planner.model.architectures.image_encoders import image_encoder, whole_siglip
from planner.model.architectures.intern_vit import spared
from planner.model.architectures.nested import beside, nested_text
from planner.model.architectures.reading import optional, required
from planner.model.facts import Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

# checkpoint -> engine: hf_to_vllm_mapper.orig_to_new_prefix of these classes
PREFIXES = (
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower", "vision_tower"),
    ("model.multi_modal_projector", "multi_modal_projector"),
    ("model.image_newline", "image_newline"),
)

LIGHTON_PREFIXES = (
    ("model.vision_encoder.", "vision_tower."),
    ("model.vision_projection.", "multi_modal_projector."),
    ("model.language_model.", "language_model.model."),
)


def llava(config: Config) -> ModelFacts:
    """LLaVA 1.5, Pixtral as Hugging Face has it, and all that join an encoder to a language model as they do."""
    encoder, width = image_encoder(config, -2)
    return beside(config, (*encoder, *projector(config, width, biased=True)), *PREFIXES)


def llava_next(config: Config) -> ModelFacts:
    """LLaVA 1.6: features of several layers side by side where they are asked for, and a learned line break."""
    encoder, width = image_encoder(config, -2)
    chosen = optional(config, "vision_feature_layer", default=-2)
    features = width * (len(chosen) if isinstance(chosen, list) else 1)
    return with_newline(beside(config, (*encoder, *projector(config, features, biased=True)), *PREFIXES))


def llava_onevision(config: Config) -> ModelFacts:
    """LLaVA-OneVision: a projector of plain torch, whole on every rank and never quantized; the same line break."""
    encoder, width = image_encoder(config, -1)
    size = required(nested_text(config), "hidden_size")
    bias = bool(optional(config, "multimodal_projector_bias", default=True))
    layers = (
        replicated("multi_modal_projector.linear_1", width, size, bias=bias, quantizable=False),
        replicated("multi_modal_projector.linear_2", size, size, bias=bias, quantizable=False),
    )
    return with_newline(beside(config, (*encoder, *layers), *PREFIXES))


def rvl(config: Config) -> ModelFacts:
    """R-4B: LLaVA-OneVision with a norm before a projector that always has biases, on every pipeline stage."""
    encoder, width = image_encoder(config, -1)
    size = required(nested_text(config), "hidden_size")
    layers = (
        *norm("multi_modal_projector.pre_norm", width, bias=True),
        replicated("multi_modal_projector.linear_1", width, size, bias=True, quantizable=False),
        replicated("multi_modal_projector.linear_2", size, size, bias=True, quantizable=False),
    )
    facts = with_newline(beside(config, encoder, *PREFIXES))
    return replace(facts, everywhere=(*facts.everywhere, *layers), needs_trust_remote_code=True)


def cohere2_vision(config: Config) -> ModelFacts:
    """Command A Vision: all of SigLIP, and a gated projector that is never quantized."""
    encoder, width = whole_siglip(config)
    merged = width * optional(config, "downsample_factor", default=2) ** 2
    inner = optional(config, "alignment_intermediate_size", default=36_864) // 2
    name, size = "multi_modal_projector", required(nested_text(config), "hidden_size")
    layers = (
        Linear(f"{name}.linear_1", merged, (Output(inner), Output(inner)), "column", bias=True, quantizable=False),
        Linear(f"{name}.linear_2", inner, (Output(size),), "row", bias=True, quantizable=False),
    )
    return beside(config, (*spared(config, encoder), *layers), *PREFIXES)


def with_newline(facts: ModelFacts) -> ModelFacts:
    """A parameter that is made with the encoder, so without memory where the encoder is left out."""
    return replace(facts, tower=(*facts.tower, Parameter("image_newline", (facts.hidden_size,))))


def mistral3(config: Config) -> ModelFacts:
    """Mistral Small 3.1 and 3.2, Ministral 3: Pixtral's encoder and a projector that merges neighbouring patches."""
    encoder, width = image_encoder(config, -1)
    merged = width * optional(config, "spatial_merge_size", default=2) ** 2
    tower = (
        *encoder,
        *norm("multi_modal_projector.norm", width),
        Parameter("multi_modal_projector.patch_merger.merging_layer.weight", (width, merged)),
        *projector(config, width, biased=False),
    )
    return beside(config, tower, *PREFIXES)


def lightonocr(config: Config) -> ModelFacts:
    """Mistral 3's encoder and projector before Qwen3, under names of their own."""
    # tied as transformers' Mistral3Config has it, where the outer config is silent
    return replace(mistral3({"tie_word_embeddings": True, **config}), name_prefixes=LIGHTON_PREFIXES)


def llava_next_video(config: Config) -> ModelFacts:
    """LLaVA 1.6 for films: pooled patches, a projector of plain torch, no line break."""
    encoder, width = image_encoder(config, -2)
    size, bias = (
        required(nested_text(config), "hidden_size"),
        optional(config, "multimodal_projector_bias", default=True),
    )
    layers = (
        replicated("multi_modal_projector.linear_1", width, size, bias=bool(bias), quantizable=False),
        replicated("multi_modal_projector.linear_2", size, size, bias=bool(bias), quantizable=False),
    )
    return beside(config, (*encoder, *layers), *PREFIXES)


def projector(config: Config, width: int, *, biased: bool) -> Modules:
    """Two layers into the language model's width; ``biased``: the class's default."""
    text_width = required(nested_text(config), "hidden_size")
    bias = bool(optional(config, "multimodal_projector_bias", default=biased))
    name = "multi_modal_projector"
    return (
        Linear(f"{name}.linear_1", width, (Output(text_width),), "column", bias=bias),
        Linear(f"{name}.linear_2", text_width, (Output(text_width),), "row", bias=bias),
    )
