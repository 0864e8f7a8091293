"""Vision towers: encoders and projectors, as vLLM builds them beside a language model.

vllm/model_executor/models/{qwen2_vl,qwen2_5_vl,qwen3_vl,glm4_1v,siglip,gemma3_mm}.py. A tower is a flat tuple of
modules; language_model_only leaves it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.blocks import Heads, gated_mlp, norm, plain_mlp, qkv_linear, replicated
from planner.model.architectures.reading import optional, required
from planner.model.facts import Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config

ROPE_POSITIONS = 8192  # qwen2_vl.py, qwen3_vl.py: get_rope(max_position=8192) of the tower's blocks

SIGLIP_MULTIPLE = 64


def under(prefix: str, modules: Modules) -> Modules:
    """The modules of one block under the name of the first: what a quantized checkpoint leaves alone goes by name."""
    return tuple(replace(module, name=f"{prefix}.{module.name}") for module in modules)


def dense_linear(name: str, in_features: int, out_features: int, split: str = "column") -> Linear:
    """One projection with a bias, split over TP."""
    row = split == "row"
    return Linear(name, in_features, (Output(out_features),), "row" if row else "column", bias=True)


def patch_embedding(name: str, width: int, *kernel: int, bias: bool) -> Modules:
    """A convolution that turns patches into tokens: whole on every rank."""
    weight = Parameter(f"{name}.weight", (width, *kernel))
    return (weight, Parameter(f"{name}.bias", (width,))) if bias else (weight,)


def self_attention(
    width: int, num_heads: int, prefix: str, *, out: str = "proj", qkv: str = "qkv", kv_heads: int | None = None
) -> Modules:
    """Full attention between patches, biases throughout, split between heads."""
    heads = Heads(width, num_heads, kv_heads or num_heads, width // num_heads)
    return (
        qkv_linear(heads, f"{prefix}.{qkv}", bias=True),
        Linear(f"{prefix}.{out}", width, (Output(width),), "row", bias=True, in_heads=num_heads),
    )


def merger(prefix: str, norm_width: int, width: int, out: int, names: tuple[str, str], *, norm_bias: bool) -> Modules:
    """Neighbouring patches, side by side, through two layers into the language model's width."""
    return (
        *norm(f"{prefix}.norm", norm_width, bias=norm_bias),
        dense_linear(f"{prefix}.{names[0]}", width, width),
        dense_linear(f"{prefix}.{names[1]}", width, out, "row"),
    )


def vision_rope(head_dim: int) -> Parameter:
    """The tower's own rope cache, half of each head."""
    return Parameter("visual.rotary_emb", (ROPE_POSITIONS, head_dim // 2), buffer=True, loaded=False)


def encoder_frequencies(name: str, head_dim: int) -> Parameter:
    """What an image encoder's rotary embedding over rows and columns keeps: inv_freq, half of a head each, in pairs."""
    return Parameter(f"{name}.rotary_pos_emb.inv_freq", (head_dim // 4,), dtype="float32", buffer=True, loaded=False)


def qwen2_vl_tower(config: Config) -> Modules:
    """Qwen2-VL: LayerNorms and a plain MLP."""
    vision = config["vision_config"]
    width, num_heads = required(vision, "embed_dim"), required(vision, "num_heads")
    merged = width * required(vision, "spatial_merge_size") ** 2
    block = (
        *norm("norm1", width, bias=True),
        *norm("norm2", width, bias=True),
        *self_attention(width, num_heads, "attn"),
        *plain_mlp(width, int(width * optional(vision, "mlp_ratio", default=4)), names=("fc1", "fc2")),
    )
    patch, frames = required(vision, "patch_size"), optional(vision, "temporal_patch_size", default=2)
    channels = optional(vision, "in_channels", "in_chans", default=3)
    return (
        *patch_embedding("visual.patch_embed.proj", width, channels, frames, patch, patch, bias=False),
        *(under("visual.blocks.0", block) * required(vision, "depth")),
        *merger("visual.merger", width, merged, required(vision, "hidden_size"), ("mlp.0", "mlp.2"), norm_bias=True),
        vision_rope(width // num_heads),
    )


def qwen2_5_vl_tower(config: Config) -> Modules:
    """Qwen2.5-VL, and EXAONE 4.5 with fewer KV heads: RMSNorms and a gated MLP with biases."""
    vision = config["vision_config"]
    width, num_heads = required(vision, "hidden_size"), required(vision, "num_heads")
    merged = width * required(vision, "spatial_merge_size") ** 2
    block = (
        *norm("norm1", width),
        *norm("norm2", width),
        *self_attention(width, num_heads, "attn", kv_heads=vision.get("num_key_value_heads")),
        *gated_mlp(width, required(vision, "intermediate_size"), bias=True),
    )
    patch, frames = required(vision, "patch_size"), optional(vision, "temporal_patch_size", default=2)
    channels = optional(vision, "in_channels", "in_chans", default=3)
    out = required(vision, "out_hidden_size")
    return (
        *patch_embedding("visual.patch_embed.proj", width, channels, frames, patch, patch, bias=False),
        *(under("visual.blocks.0", block) * required(vision, "depth")),
        *merger("visual.merger", width, merged, out, ("mlp.0", "mlp.2"), norm_bias=False),
        vision_rope(width // num_heads),
    )


def qwen3_vl_tower(config: Config) -> Modules:
    """Qwen3-VL and Qwen3.5: learned positions, and mergers that feed early layers (deepstack)."""
    vision = config["vision_config"]
    width, num_heads = required(vision, "hidden_size"), required(vision, "num_heads")
    merged = width * required(vision, "spatial_merge_size") ** 2
    out, names = required(vision, "out_hidden_size"), ("linear_fc1", "linear_fc2")
    block = (
        *norm("norm1", width, bias=True),
        *norm("norm2", width, bias=True),
        *self_attention(width, num_heads, "attn"),
        *plain_mlp(width, required(vision, "intermediate_size"), names=names),
    )
    patch, frames = required(vision, "patch_size"), optional(vision, "temporal_patch_size", default=2)
    channels = optional(vision, "in_channels", default=3)
    deep = len(optional(vision, "deepstack_visual_indexes", default=()))
    return (
        *patch_embedding("visual.patch_embed.proj", width, channels, frames, patch, patch, bias=True),
        Parameter("visual.pos_embed.weight", (required(vision, "num_position_embeddings"), width)),
        *(under("visual.blocks.0", block) * required(vision, "depth")),
        *merger("visual.merger", width, merged, out, names, norm_bias=True),
        *(merger("visual.deepstack_merger_list", merged, merged, out, names, norm_bias=True) * deep),
        vision_rope(width // num_heads),
    )


def glm4v_tower(config: Config) -> Modules:
    """GLM-4.1V and GLM-4.5V: RMSNorms, gated MLPs as wide as the output, learned positions, a gated merger.

    The names of vision_config are not what they seem: intermediate_size is the merger's.
    """
    vision = config["vision_config"]
    width, num_heads = required(vision, "hidden_size"), required(vision, "num_heads")
    out, patch = required(vision, "out_hidden_size"), required(vision, "patch_size")
    heads = Heads(width, num_heads, num_heads, width // num_heads)
    block = (
        *norm("norm1", width),
        *norm("norm2", width),
        qkv_linear(heads, "attn.qkv"),
        Linear("attn.proj", width, (Output(width),), "row", in_heads=num_heads),
        *gated_mlp(width, out),
    )
    channels, frames = optional(vision, "in_channels", default=3), optional(vision, "temporal_patch_size", default=2)
    merge, positions = required(vision, "spatial_merge_size"), (required(vision, "image_size") // patch) ** 2
    return (
        *patch_embedding("visual.patch_embed.proj", width, channels, frames, patch, patch, bias=True),
        *(under("visual.blocks.0", block) * required(vision, "depth")),
        Linear("visual.merger.proj", out, (Output(out),), "column"),
        *norm("visual.merger.post_projection_norm", out, bias=True),
        *gated_mlp(out, required(vision, "intermediate_size"), "visual.merger"),
        Parameter("visual.embeddings.position_embedding.weight", (positions, width)),
        Parameter("visual.embeddings.position_ids", (1, positions), dtype="int64", buffer=True, loaded=False),
        *norm("visual.post_conv_layernorm", width),
        *patch_embedding("visual.downsample", out, width, merge, merge, bias=True),
        *norm("visual.post_layernorm", width),
        vision_rope(width // num_heads),
    )


def siglip_mlp(width: int, inner: int) -> Modules:
    """siglip.py SiglipMLP: it is quantized only where both widths are whole 64s."""
    whole = not (width % SIGLIP_MULTIPLE or inner % SIGLIP_MULTIPLE)
    return plain_mlp(width, inner, quantizable=whole, names=("fc1", "fc2"))


def gemma3_tower(config: Config) -> Modules:
    """SigLIP, and a projector of one matrix."""
    vision = config["vision_config"]
    width, num_heads = required(vision, "hidden_size"), required(vision, "num_attention_heads")
    patch = required(vision, "patch_size")
    positions = (required(vision, "image_size") // patch) ** 2
    block = (
        *norm("layer_norm1", width, bias=True),
        *norm("layer_norm2", width, bias=True),
        *self_attention(width, num_heads, "self_attn", out="out_proj", qkv="qkv_proj"),
        *siglip_mlp(width, required(vision, "intermediate_size")),
    )
    text_width = required(config["text_config"], "hidden_size")
    return (
        *patch_embedding("vision_tower.patch_embedding", width, 3, patch, patch, bias=True),
        Parameter("vision_tower.position_embedding.weight", (positions, width)),
        Parameter("vision_tower.position_ids", (1, positions), dtype="int64", buffer=True, loaded=False),
        *(under("vision_tower.vision_model.encoder.layers.0", block) * required(vision, "num_hidden_layers")),
        *norm("vision_tower.post_layernorm", width, bias=True),
        Parameter("multi_modal_projector.mm_input_projection_weight", (width, text_width)),
        *norm("multi_modal_projector.mm_soft_emb_norm", width),
    )


def moonvit_tower(config: Config) -> Modules:
    """Kimi K2.5: MoonViT, learned positions, a projector of two layers (kimi_k25_vit.py)."""
    vision = config["vision_config"]
    width = required(vision, "vt_hidden_size", "hidden_size")
    num_heads = required(vision, "vt_num_attention_heads", "num_attention_heads")
    kernel = optional(vision, "merge_kernel_size", default=(2, 2))
    merged = width * kernel[0] * kernel[1]
    patch = required(vision, "patch_size")
    positions = (required(vision, "init_pos_emb_height"), required(vision, "init_pos_emb_width"), width)
    block = (
        *norm("norm0", width, bias=True),
        *norm("norm1", width, bias=True),
        *self_attention(width, num_heads, "attn", out="wo", qkv="wqkv"),
        *plain_mlp(width, required(vision, "vt_intermediate_size", "intermediate_size"), names=("fc0", "fc1")),
    )
    return (
        *patch_embedding("vision_tower.patch_embed.proj", width, 3, patch, patch, bias=True),
        Parameter("vision_tower.patch_embed.pos_emb.weight", positions),
        *(
            under("vision_tower.encoder.blocks.0", block)
            * required(vision, "vt_num_hidden_layers", "num_hidden_layers")
        ),
        *norm("vision_tower.encoder.final_layernorm", width, bias=True),
        *norm("mm_projector.pre_norm", width, bias=True),
        replicated("mm_projector.linear_1", merged, merged, bias=True),
        replicated("mm_projector.linear_2", merged, required(config["text_config"], "hidden_size"), bias=True),
    )
