"""MiniMax-M3: attention to blocks that an index branch picks, experts beside a shared one, a tower in three dimensions.

vllm/models/minimax_m3/nvidia/model.py and common/{indexer,sparse_attention,vision_tower}.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention, attention_cache, attention_scales, gated_mlp, norm, plain_mlp
from planner.model.architectures.dense import Shape, norms_of, read_heads
from planner.model.architectures.moe import Routing, leading_dense, moe_block
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import rope_cache
from planner.model.architectures.towers import dense_linear, patch_embedding, self_attention, under
from planner.model.architectures.vision import with_tower
from planner.model.facts import Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Heads, Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

INDEX_ITEM_BYTES = 2  # config/attention.py resolve_indexer_kv_dtype: the index keys stay in bf16
PREFIXES = (
    ("multi_modal_projector.", "vision_tower.multi_modal_projector."),
    ("patch_merge_mlp.", "vision_tower.patch_merge_mlp."),
)


def minimax_m3(config: Config) -> ModelFacts:
    """The text model: three dense layers, then block-sparse attention and experts."""
    text = text_config(config)
    count = required(text, "num_local_experts")
    dense, sparse = leading_dense(text), _sparse_layers(text)
    layers = [_layer(text, index in sparse, index in dense) for index in range(required(text, "num_hidden_layers"))]
    index = text.get("sparse_attention_config") or {}
    flags = {
        "max_experts_tp": count,
        "index_topk": optional(index, "sparse_topk_blocks", default=0),
        "index_heads": index.get("sparse_num_index_heads"),
    }
    return assemble(config, layers, Body(num_experts=count, flags=flags))


def conditional(config: Config) -> ModelFacts:
    """The text model beside its tower."""
    return with_tower(minimax_m3(config), minimax_m3_tower(config), *PREFIXES)


def unserved(config: Config) -> ModelFacts:
    """The text model under a class name that no documented version of vLLM has."""
    return replace(minimax_m3(config), engine_has_class=False)


def _sparse_layers(text: Config) -> frozenset[int]:
    published = (text.get("sparse_attention_config") or {}).get("sparse_attention_freq") or ()
    return frozenset(index for index, sparse in enumerate(published) if sparse)


def _layer(text: Config, sparse: bool, dense: bool) -> Layer:
    size, heads = required(text, "hidden_size"), read_heads(text)
    mlp = gated_mlp(size, required(text, "dense_intermediate_size")) if dense else _experts(text)
    cache = attention_cache(heads)
    if not sparse:
        modules = (*attention(heads, qk_norm=True), _rope(text, heads))
        return Layer((*modules, *mlp, *norms_of(text, Shape())), (cache,))
    index = text["sparse_attention_config"]
    dim = required(index, "sparse_index_dim")
    cache = replace(
        cache,
        extra_bytes_per_token=dim * INDEX_ITEM_BYTES,
        kernel_block_tokens=required(index, "sparse_block_size"),
    )
    modules = (*_indexed_attention(heads, required(index, "sparse_num_index_heads"), dim), _rope(text, heads))
    return Layer((*modules, *mlp, *norms_of(text, Shape())), (cache,))


def _indexed_attention(heads: Heads, index_heads: int, dim: int) -> Modules:
    """q, k, v and the index branch in one projection (MinimaxM3QKVParallelLinearWithIndexer)."""
    qkv, *rest = attention(heads, qk_norm=True)
    assert isinstance(qkv, Linear)  # noqa: S101 - what attention() returns first
    more = (
        Output(index_heads * dim, index_heads, replicable=True, name="index_q_proj"),
        Output(dim, 1, replicable=True, name="index_k_proj"),
    )
    others = tuple(module for module in rest if not module.name.startswith("self_attn.attn."))
    return (
        replace(qkv, outputs=(*qkv.outputs, *more)),
        *others,
        *norm("self_attn.index_q_norm", dim),
        *norm("self_attn.index_k_norm", dim),
        *(replace(scale, shape_before_0_33=(0,)) for scale in attention_scales("self_attn")),
    )


def _rope(text: Config, heads: Heads) -> Parameter:
    rope = {
        "rope_type": "default",
        "rope_theta": required(text, "rope_theta"),
        "partial_rotary_factor": required(text, "partial_rotary_factor"),
    }
    return rope_cache(heads.head_dim, required(text, "max_position_embeddings"), rope)


def _experts(text: Config) -> Modules:
    width, count = required(text, "intermediate_size"), required(text, "num_local_experts")
    routing = Routing(
        width,
        count,
        required(text, "num_experts_per_tok"),
        "block_sparse_moe",
        gate_dtype="float32",
        correction_bias=bool(text.get("use_routing_bias")),
        shared_width=width * optional(text, "n_shared_experts", default=0),
    )
    return moe_block(required(text, "hidden_size"), routing)


def minimax_m3_tower(config: Config) -> Modules:
    """CLIP's layers without a last norm, a projector, and a merger of neighbouring patches (MiniMaxVLVisionModel)."""
    vision, size = config["vision_config"], required(config["text_config"], "hidden_size")
    compression = vision.get("img_token_compression_config") or {}
    merge = optional(compression, "spatial_merge_size", default=2)
    frames = optional(compression, "temporal_patch_size", default=2)
    width, num_heads = required(vision, "hidden_size"), required(vision, "num_attention_heads")
    patch, inner = required(vision, "patch_size"), optional(config, "projector_hidden_size", default=size)
    block = (
        *norm("layer_norm1", width, bias=True),
        *self_attention(width, num_heads, "self_attn", out="out_proj", qkv="qkv_proj"),
        *norm("layer_norm2", width, bias=True),
        *plain_mlp(width, required(vision, "intermediate_size"), names=("fc1", "fc2")),
    )
    name = "vision_tower.vision_model"
    channels = optional(vision, "num_channels", default=3)
    return (
        *patch_embedding(f"{name}.embeddings.patch_embedding", width, channels, frames, patch, patch, bias=False),
        *norm(f"{name}.pre_layrnorm", width, bias=True),
        *(under(f"{name}.encoder.layers.0", block) * required(vision, "num_hidden_layers")),
        *_two_layers("vision_tower.multi_modal_projector", width, inner, size),
        *_two_layers("vision_tower.patch_merge_mlp", size * merge**2, inner, size),
        *_frequencies(name, width // num_heads),
    )


def _two_layers(name: str, in_features: int, inner: int, out: int) -> Modules:
    return (
        dense_linear(f"{name}.linear_1", in_features, inner),
        dense_linear(f"{name}.linear_2", inner, out, "row"),
    )


def _frequencies(name: str, head_dim: int) -> Modules:
    """inv_freq of time, height and width: a third of each head, in pairs."""
    pairs = 2 * (head_dim // 2) // 3 // 2
    axes = ("t", "h", "w")
    return tuple(
        Parameter(f"{name}.inv_freq_{axis}", (pairs,), dtype="float32", buffer=True, loaded=False) for axis in axes
    )
