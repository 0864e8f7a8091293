"""Ovis 2.5: a language model that reads images as words of a visual vocabulary, behind SigLIP 2 with rope.

vllm/model_executor/models/{ovis2_5,siglip2navit,ovis}.py. The config class is Python code of the repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.blocks import norm, plain_mlp, replicated
from planner.model.architectures.nested import beside
from planner.model.architectures.reading import optional, required
from planner.model.architectures.towers import encoder_frequencies, patch_embedding, self_attention, under
from planner.model.facts import Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

INDICATORS = 4  # ovis2_5.py INDICATOR_IDS: words that mark images, which no patch becomes


def ovis2_5(config: Config) -> ModelFacts:
    """The language model of text_config or llm_config, under ``llm``."""
    facts = beside(config, ())
    words, name = required(config, "visual_vocab_size"), "visual_tokenizer"
    vision = required(config, "vit_config")
    merged = required(vision, "hidden_size") * required(vision, "hidden_stride") ** 2
    tower = (
        *_siglip2(vision, f"{name}.vit.vision_model"),
        replicated(f"{name}.head.0", merged, words - INDICATORS, quantizable=False),
        *norm(f"{name}.head.1", words - INDICATORS, bias=True),
        Parameter("vte.weight", (words, facts.hidden_size)),
    )
    return replace(
        facts,
        tower=tower,
        needs_trust_remote_code=True,
        layers_prefix=facts.layers_prefix.replace("language_model.", "llm.", 1),
    )


def _siglip2(vision: Config, name: str) -> Modules:
    """Siglip2NavitModel: a projection of patches, or a convolution where num_patches names none."""
    width, num_heads = required(vision, "hidden_size"), required(vision, "num_attention_heads")
    channels, patch = optional(vision, "num_channels", default=3), required(vision, "patch_size")
    block = (
        *norm("layer_norm1", width, bias=True),
        *self_attention(width, num_heads, "self_attn", out="out_proj", qkv="qkv_proj"),
        *norm("layer_norm2", width, bias=True),
        *plain_mlp(width, required(vision, "intermediate_size"), names=("fc1", "fc2")),
    )
    projected = optional(vision, "num_patches", default=-1) > 0
    positions = vision["num_patches"] if projected else (required(vision, "image_size") // patch) ** 2
    return (
        *(
            (
                replicated(
                    f"{name}.embeddings.patch_embedding", channels * patch**2, width, bias=True, quantizable=False
                ),
            )
            if projected
            else patch_embedding(f"{name}.embeddings.patch_embedding", width, channels, patch, patch, bias=True)
        ),
        *(
            (Parameter(f"{name}.embeddings.position_embedding.weight", (positions, width)),)
            if vision.get("preserve_original_pe")
            else ()
        ),
        *(under(f"{name}.encoder.layers.0", block) * required(vision, "num_hidden_layers")),
        encoder_frequencies(f"{name}.encoder", width // num_heads),
        *norm(f"{name}.post_layernorm", width, bias=True),
    )
