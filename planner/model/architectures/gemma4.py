"""Gemma 4: windowed and full layers with heads of their own, experts beside the MLP, layers that share a cache.

vllm/model_executor/models/{gemma4,gemma4_mm}.py. The vision tower is transformers' own and lies whole on every rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.errors import UnknownArchitectureError
from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import (
    Heads,
    attention,
    attention_cache,
    attention_scales,
    experts,
    gated_mlp,
    norm,
    replicated,
    router,
)
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import frequencies, rope_cache, rope_parameters
from planner.model.architectures.towers import under
from planner.model.architectures.vision import with_tower
from planner.model.facts import Embedding, Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import Cache, ModelFacts, Module

NORMS = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
MOE_NORMS = ("post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "pre_feedforward_layernorm_2")

FLASH_ATTN_4 = 4
ANY_WIDTH = frozenset({"bitsandbytes", "torchao", "compressed-tensors"})
TOWER_MULTIPLE = 64
FULL, WINDOWED, PERIOD = "full_attention", "sliding_attention", 6
IMAGE_TOKENS = 280  # transformers' default_output_length of Gemma4VisionConfig
VIDEO_FRAMES, FRAME_TOKENS = 32, 70 + 2 + 6  # gemma4_mm.py get_mm_max_tokens_per_item: soft, begin and end, time stamp

PREFIXES = (
    ("model.vision_tower", "vision_tower"),
    ("model.embed_vision", "embed_vision"),
    ("model.language_model.", "language_model.model."),
    ("model.", "language_model.model."),
)
UNIFIED_PREFIXES = (
    ("model.embed_audio.", "embed_audio."),
    ("model.embed_vision.", "embed_vision."),
    ("model.language_model.", "language_model.model."),
    ("model.vision_embedder.", "vision_embedder."),
    ("model.", "language_model.model."),
)


def scalar(name: str, shape: tuple[int, ...] = ()) -> Parameter:
    """A number that the class keeps as a buffer, a storage of its own."""
    return Parameter(name, shape, buffer=True, loaded=False)


def text_model(config: Config) -> ModelFacts:
    """The language model; every pipeline stage builds its tables (Gemma4Model.__init__)."""
    text = text_config(config)
    count = required(text, "num_hidden_layers")
    shared_from = count - optional(text, "num_kv_shared_layers", default=0)
    kinds = _layer_types(text, count)
    layers = [_layer(text, kind, shares_cache=index >= shared_from) for index, kind in enumerate(kinds)]
    experts_count = optional(text, "num_experts", default=0)
    body = Body(
        tied=True,
        embedding=(scalar("model.normalizer"), *_per_layer_tables(text)),
        num_experts=experts_count,
        head_dim=required(text, "head_dim"),
        flags={"tables_everywhere": True, "flash_attn_version": _flash_attn_version(text, kinds)},
    )
    return assemble(config, layers, body)


def _layer_types(text: Config, count: int) -> list[str]:
    """As published, else five windowed layers before each full one; the last is made full (Gemma4TextConfig)."""
    kinds = text.get("layer_types") or [WINDOWED if (index + 1) % PERIOD else FULL for index in range(count)]
    return [*kinds[:-1], FULL][:count]


def _flash_attn_version(text: Config, kinds: list[str]) -> int | None:
    """Heads of two sizes take FlashAttention 4 in every layer, else Triton (models/config.py Gemma4Config)."""
    return FLASH_ATTN_4 if len({_heads(text, full=kind == FULL).head_dim for kind in kinds}) > 1 else None


def conditional(config: Config) -> ModelFacts:
    """The language model and its vision tower. An audio encoder is not described, so such a model is refused."""
    if config.get("audio_config"):
        raise UnknownArchitectureError(
            "Gemma4ForConditionalGeneration with an audio_config is not known: the audio encoder's weights cannot be "
            "counted, and a guess would be worth nothing. To add it, describe the encoder in "
            "planner/model/architectures/gemma4.py from audio_config."
        )
    facts = with_tower(text_model(config), _tower(config), *PREFIXES)
    if text_config(config).get("use_bidirectional_attention") != "vision":
        return facts
    image = optional(required(config, "vision_config"), "default_output_length", default=IMAGE_TOKENS)
    return replace(facts, mm_prefix=True, mm_item_tokens=max(image, VIDEO_FRAMES * FRAME_TOKENS))


def unified(config: Config) -> ModelFacts:
    """Gemma 4 without encoders: patches and samples of sound are projected as they are, on every pipeline stage.

    Gemma4UnifiedForConditionalGeneration marks none of it as a tower, so it stays with language_model_only too.
    """
    vision, audio, text = required(config, "vision_config"), config.get("audio_config"), text_config(config)
    size, width = required(text, "hidden_size"), required(vision, "mm_embed_dim")
    pixels = 3 * required(vision, "model_patch_size") ** 2
    embedders: Modules = (
        *norm("vision_embedder.patch_ln1", pixels, bias=True),
        Linear("vision_embedder.patch_dense", pixels, (Output(width),), "column", bias=True),
        *norm("vision_embedder.patch_ln2", width, bias=True),
        Parameter("vision_embedder.pos_embedding", (required(vision, "mm_posemb_size"), 2, width)),
        *norm("vision_embedder.pos_norm", width, bias=True),
        *_embedder("embed_vision", optional(vision, "output_proj_dims", default=width), size),
        *(_embedder("embed_audio", required(audio, "audio_embed_dim", "hidden_size"), size) if audio else ()),
    )
    facts = with_tower(text_model(config), (), *UNIFIED_PREFIXES)
    facts = replace(facts, everywhere=(*facts.everywhere, *embedders))
    if text.get("use_bidirectional_attention") != "vision":
        return facts
    item = max(required(vision, "num_soft_tokens"), VIDEO_FRAMES * FRAME_TOKENS)
    return replace(facts, mm_prefix=True, mm_item_tokens=item)


def _embedder(name: str, width: int, size: int) -> Modules:
    return (replicated(f"{name}.embedding_projection", width, size, quantizable=False),)


def _heads(text: Config, *, full: bool) -> Heads:
    kv_heads = required(text, "num_key_value_heads")
    if full and text.get("attention_k_eq_v"):
        kv_heads = optional(text, "num_global_key_value_heads", default=kv_heads)
    head_dim = required(text, "head_dim")
    if full:
        head_dim = optional(text, "global_head_dim", default=head_dim)
    return Heads(required(text, "hidden_size"), required(text, "num_attention_heads"), kv_heads, head_dim)


def _layer(text: Config, kind: str, *, shares_cache: bool) -> Layer:
    full = kind == FULL
    heads, size = _heads(text, full=full), required(text, "hidden_size")
    width = required(text, "intermediate_size") * (2 if shares_cache and text.get("use_double_wide_mlp") else 1)
    rope = rope_cache(heads.head_dim, required(text, "max_position_embeddings"), _rope(text, kind, heads.head_dim))
    modules = (
        *_attention(
            heads,
            bias=bool(text.get("attention_bias")),
            shares_cache=shares_cache,
            k_is_v=full and bool(text.get("attention_k_eq_v")),
        ),
        rope,
        *gated_mlp(size, width),
        *(module for name in NORMS for module in norm(name, size)),
        *_experts(text, size),
        *_per_layer_inputs(text, size),
        scalar("layer_scalar", (1,)),
    )
    window = None if full else required(text, "sliding_window")
    cache: tuple[Cache, ...] = (attention_cache(heads, "full" if full else "sliding_window", window),)
    return Layer(modules, () if shares_cache else cache)


def _rope(text: Config, kind: str, head_dim: int) -> dict[str, object]:
    """Proportional rope turns a part of each head but keeps rows for all of it (Gemma4RotaryEmbedding)."""
    rope = rope_parameters(text, kind)
    return {**rope, "rope_dim": head_dim} if rope["rope_type"] == "proportional" else rope


def _attention(heads: Heads, *, bias: bool, shares_cache: bool, k_is_v: bool) -> Modules:
    """Layers that share an earlier layer's cache have queries alone; ``k_is_v``: K's weights are loaded for V too."""
    if not shares_cache:
        modules = attention(heads, qkv_bias=bias, out_bias=bias, qk_norm=True)
        return tuple(_with_v_from_k(module) for module in modules) if k_is_v else modules
    width = heads.num_heads * heads.head_dim
    return (
        Linear("self_attn.q_proj", heads.hidden_size, (Output(width, heads.num_heads),), "column", bias=bias),
        Linear("self_attn.o_proj", width, (Output(heads.hidden_size),), "row", bias=bias, in_heads=heads.num_heads),
        *norm("self_attn.q_norm", heads.head_dim),
        *attention_scales(),
    )


def _with_v_from_k(module: Module) -> Module:
    """The checkpoint ships no v_proj (models/gemma4.py, k_eq_v_shards), the engine holds one."""
    if not isinstance(module, Linear) or module.split != "column":
        return module
    *parts, value = module.outputs
    return replace(module, outputs=(*parts, replace(value, copied=True)))


def _experts(text: Config, size: int) -> Modules:
    """Routed experts beside the MLP, with norms of their own."""
    count = optional(text, "num_experts", default=0)
    if not count:
        return ()
    width = required(text, "moe_intermediate_size", "expert_intermediate_size")
    return (
        *router(size, count, "router.proj"),
        Parameter("router.scale", (size,)),
        Parameter("router.per_expert_scale", (count,)),
        scalar("router.root_size"),
        *experts(size, width, count, required(text, "top_k_experts"), "experts"),
        *(module for name in MOE_NORMS for module in norm(name, size)),
    )


def _per_layer_inputs(text: Config, size: int) -> Modules:
    """The small models' gate and projection of each layer's own embedding."""
    width = optional(text, "hidden_size_per_layer_input", default=0)
    if not width:
        return ()
    return (
        replicated("per_layer_input_gate", size, width),
        replicated("per_layer_projection", width, size),
        *norm("post_per_layer_input_norm", size),
    )


def _per_layer_tables(text: Config) -> Modules:
    """Embeddings of every layer in one table, and what brings the token's embedding into them."""
    width = optional(text, "hidden_size_per_layer_input", default=0)
    if not width:
        return ()
    every = width * required(text, "num_hidden_layers")
    vocab_size = optional(text, "vocab_size_per_layer_input", default=required(text, "vocab_size"))
    return (
        Embedding("model.embed_tokens_per_layer", vocab_size, every),
        Linear("model.per_layer_model_projection", required(text, "hidden_size"), (Output(every),), "column"),
        *norm("model.per_layer_projection_norm", width),
        scalar("model.embed_scale_per_layer"),
        scalar("model.per_layer_input_scale"),
        scalar("model.per_layer_projection_scale"),
    )


def _tower(config: Config) -> Modules:
    vision = config["vision_config"]
    width, heads = required(vision, "hidden_size"), required(vision, "num_attention_heads")
    head_dim = optional(vision, "head_dim", default=width // heads)
    kv_width = optional(vision, "num_key_value_heads", default=heads) * head_dim
    inner, patch = required(vision, "intermediate_size"), required(vision, "patch_size")
    widths = {
        "self_attn.q_proj": (width, heads * head_dim),
        "self_attn.k_proj": (width, kv_width),
        "self_attn.v_proj": (width, kv_width),
        "self_attn.o_proj": (heads * head_dim, width),
        "mlp.gate_proj": (width, inner),
        "mlp.up_proj": (width, inner),
        "mlp.down_proj": (inner, width),
    }
    narrow = _quantizes_tower(config)
    block = (
        *(replicated(f"{name}.linear", *sizes, quantizable=narrow) for name, sizes in widths.items()),
        *norm("self_attn.q_norm", head_dim),
        *norm("self_attn.k_norm", head_dim),
        *(module for name in NORMS for module in norm(name, width)),
    )
    positions = required(vision, "position_embedding_size")
    standardized = ("std_bias", "std_scale") if vision.get("standardize") else ()
    return (
        Parameter("vision_tower.patch_embedder.position_embedding_table", (2, positions, width)),
        replicated("vision_tower.patch_embedder.input_proj", 3 * patch * patch, width, quantizable=narrow),
        *(under("vision_tower.encoder.layers.0", block) * required(vision, "num_hidden_layers")),
        *(scalar(f"vision_tower.{name}", (width,)) for name in standardized),
        *frequencies(head_dim // 2, "vision_tower"),
        replicated(
            "embed_vision.embedding_projection",
            width,
            required(config["text_config"], "hidden_size"),
            quantizable=narrow,
        ),
    )


def _quantizes_tower(config: Config) -> bool:
    """gemma4_mm.py _get_tower_quant_config: kernels of most formats want widths of whole 64s."""
    method = str((config.get("quantization_config") or {}).get("quant_method", ""))
    if method.replace("_", "-") in ANY_WIDTH:
        return True
    vision = config["vision_config"]
    return not any(required(vision, key) % TOWER_MULTIPLE for key in ("hidden_size", "intermediate_size"))
