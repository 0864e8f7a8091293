"""Llama 4: experts between dense layers, chunked attention on layers with rope, full attention on those without.

vllm/model_executor/models/llama4.py and mllama4.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import (
    attention,
    attention_cache,
    experts,
    gated_mlp,
    norm,
    plain_mlp,
    replicated,
)
from planner.model.architectures.dense import Shape, norms_of, read_heads, rope_of
from planner.model.architectures.intern_vit import unquantized
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.towers import self_attention, under
from planner.model.facts import Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

NO_ROPE_INTERVAL = 4  # transformers' Llama4TextConfig.no_rope_layer_interval: every fourth layer has no rope
PREFIXES = (("language_model.model.", "language_model.model."), ("vision_model.", "vision_model."))


def llama4(config: Config) -> ModelFacts:
    """Scout and Maverick, with their tower."""
    text = text_config(config)
    count = required(text, "num_local_experts")
    body = Body(
        num_experts=count,
        tower=unquantized(llama4_tower(config)) if "vision_config" in config else (),
        flags={"layers_prefix": "language_model.model.layers", "name_prefixes": PREFIXES},
    )
    layers = [_layer(text, index) for index in range(required(text, "num_hidden_layers"))]
    return assemble(config, layers, body)


def _layer(text: Config, index: int) -> Layer:
    size, heads = required(text, "hidden_size"), read_heads(text)
    no_rope = optional(text, "no_rope_layers", default=())
    roped = bool(no_rope[index]) if index < len(no_rope) else bool((index + 1) % NO_ROPE_INTERVAL)
    step = optional(text, "interleave_moe_layer_step", default=1)
    sparse = (index + 1) % step == 0
    mlp = _experts(text) if sparse else gated_mlp(size, required(text, "intermediate_size_mlp"), "feed_forward")
    rope = rope_of(text, heads) if roped else ()
    chunk = optional(text, "attention_chunk_size", default=8192)
    cache = attention_cache(heads, "chunked_local", chunk) if roped else attention_cache(heads)
    return Layer((*attention(heads), *rope, *mlp, *norms_of(text, Shape())), (cache,))


def _experts(text: Config) -> Modules:
    size, width = required(text, "hidden_size"), required(text, "intermediate_size")
    count = required(text, "num_local_experts")
    return (
        replicated("feed_forward.router", size, count, quantizable=False),
        *experts(size, width, count, required(text, "num_experts_per_tok"), "feed_forward.experts"),
        *gated_mlp(size, width, "feed_forward.shared_expert"),
    )


def llama4_tower(config: Config) -> Modules:
    """Patches through one linear layer, a pixel shuffle, an adapter and a projector without biases."""
    vision = config["vision_config"]
    width, num_heads = required(vision, "hidden_size"), required(vision, "num_attention_heads")
    patch = required(vision, "patch_size")
    positions = (required(vision, "image_size") // patch) ** 2 + 1
    block = (
        *norm("input_layernorm", width, bias=True),
        *norm("post_attention_layernorm", width, bias=True),
        *self_attention(width, num_heads, "self_attn", out="o_proj", qkv="qkv_proj"),
        *plain_mlp(width, required(vision, "intermediate_size"), names=("fc1", "fc2")),
    )
    inner, out = required(vision, "projector_input_dim"), required(vision, "projector_output_dim")
    shuffled = int(width // optional(vision, "pixel_shuffle_ratio", default=0.5) ** 2)
    text_width = required(config["text_config"], "hidden_size")
    return (
        Parameter("vision_model.class_embedding", (width,)),
        Parameter("vision_model.positional_embedding_vlm", (positions, width)),
        _linear("vision_model.patch_embedding.linear", 3 * patch * patch, width),
        *norm("vision_model.layernorm_pre", width, bias=True),
        *norm("vision_model.layernorm_post", width, bias=True),
        *(under("vision_model.model.layers.0", block) * required(vision, "num_hidden_layers")),
        _linear("vision_model.vision_adapter.mlp.fc1", shuffled, inner),
        Linear("vision_model.vision_adapter.mlp.fc2", inner, (Output(out),), "row"),
        _linear("multi_modal_projector.linear_1", required(vision, "vision_output_dim"), text_width),
    )


def _linear(name: str, in_features: int, out_features: int) -> Linear:
    return Linear(name, in_features, (Output(out_features),), "column")
