"""Llama 3.2 Vision: text layers between layers of cross-attention over the picture.

Every documented version of vLLM refuses the class: it ran on the V0 engine only (registry.py,
_PREVIOUSLY_SUPPORTED_MODELS). The layers are transformers' (models/mllama/modeling_mllama.py), so that the model can
be named and counted.
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
    plain_mlp,
    qkv_linear,
)
from planner.model.architectures.dense import LLAMA, Shape, llama_layers, norms_of, read_heads
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.towers import dense_linear, patch_embedding, under
from planner.model.facts import Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

LAST_VERSION = "0.10.2"  # vllm/model_executor/models/registry.py _PREVIOUSLY_SUPPORTED_MODELS
IMAGE_TOKENS = 8  # MllamaTextModel.embed_tokens: rows after the vocabulary; the head has none
ASPECT_RATIOS = 8  # MllamaVisionConfig.supported_aspect_ratios, all eight shapes of up to four tiles
PREFIXES = (("model.language_model.", "language_model.model."), ("model.vision_model.", "vision_model."))


def mllama(config: Config) -> ModelFacts:
    """Llama 3.2 Vision, counted and refused."""
    text = text_config(config)
    crossed = frozenset(required(text, "cross_attention_layers"))
    cross = _cross_layer(text)
    layers = [cross if index in crossed else layer for index, layer in enumerate(llama_layers(text, LLAMA))]
    flags = {"layers_prefix": "language_model.model.layers", "name_prefixes": PREFIXES}
    facts = assemble(config, layers, Body(tower=mllama_tower(config), flags=flags))
    table, *more = facts.embedding
    embedding = (replace(table, vocab_size=facts.vocab_size + IMAGE_TOKENS), *more)
    return replace(facts, embedding=embedding, engine_last_version=LAST_VERSION)


def _cross_layer(text: Config) -> Layer:
    """Queries from the text, keys and values from the picture; two gates."""
    heads = read_heads(text)
    modules = (
        *attention(heads, prefix="cross_attn", qk_norm=True),
        Parameter("cross_attn_attn_gate", (1,)),
        Parameter("cross_attn_mlp_gate", (1,)),
        *gated_mlp(heads.hidden_size, required(text, "intermediate_size")),
        *norms_of(text, Shape()),
    )
    return Layer(modules, (attention_cache(heads, "cross"),), "cross_attention")


def mllama_tower(config: Config) -> Modules:
    """Tiles with gated positions through a local and a gated global encoder; one projection."""
    vision = config["vision_config"]
    width, patch = required(vision, "hidden_size"), required(vision, "patch_size")
    tiles, shapes = required(vision, "max_num_tiles"), len(vision.get("supported_aspect_ratios") or ()) or ASPECT_RATIOS
    patches = (required(vision, "image_size") // patch) ** 2 + 1
    gates = (Parameter("gate_attn", (1,)), Parameter("gate_ffn", (1,)))
    block, name = _vision_block(vision), "vision_model"
    channels = optional(vision, "num_channels", default=3)
    return (
        *patch_embedding(f"{name}.patch_embedding", width, channels, patch, patch, bias=False),
        Parameter(f"{name}.class_embedding", (width,)),
        Parameter(f"{name}.gated_positional_embedding.gate", (1,)),
        Parameter(f"{name}.gated_positional_embedding.embedding", (patches, width)),
        Parameter(f"{name}.gated_positional_embedding.tile_embedding.weight", (shapes + 1, tiles * patches * width)),
        *_tile_embedding(f"{name}.pre_tile_positional_embedding", shapes, tiles * width),
        *_tile_embedding(f"{name}.post_tile_positional_embedding", shapes, tiles * width),
        *norm(f"{name}.layernorm_pre", width, bias=True),
        *norm(f"{name}.layernorm_post", width, bias=True),
        *(under(f"{name}.transformer.layers.0", block) * required(vision, "num_hidden_layers")),
        *(under(f"{name}.global_transformer.layers.0", block + gates) * required(vision, "num_global_layers")),
        dense_linear(
            "multi_modal_projector",
            required(vision, "vision_output_dim"),
            required(config["text_config"], "hidden_size"),
        ),
    )


def _vision_block(vision: Config) -> Modules:
    width = required(vision, "hidden_size")
    num_heads = required(vision, "attention_heads", "num_attention_heads")
    heads = Heads(width, num_heads, num_heads, width // num_heads)
    return (
        qkv_linear(heads),
        Linear("self_attn.o_proj", width, (Output(width),), "row", in_heads=num_heads),
        *plain_mlp(width, required(vision, "intermediate_size"), names=("fc1", "fc2")),
        *norm("input_layernorm", width, bias=True),
        *norm("post_attention_layernorm", width, bias=True),
    )


def _tile_embedding(name: str, shapes: int, width: int) -> Modules:
    return (Parameter(f"{name}.embedding.weight", (shapes + 1, width)), Parameter(f"{name}.gate", (1,)))
