"""Kimi Linear and the language model of Kimi K3: delta attention (KDA), latent attention without positions, experts.

vllm/models/kimi_k3/nvidia (model.py, kda.py, mla.py) and model_executor/layers/mamba/gdn/kimi_gdn_linear_attn.py of
0.33.0; 0.25.0 keeps Kimi Linear's projections apart, which costs no bytes. Not counted: rows that round a rank's
in_proj_qkvgfab up to 16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention_scales, gated_mlp, norm, replicated, router
from planner.model.architectures.mla import mla_cache
from planner.model.architectures.reading import optional, required, text_config
from planner.model.facts import Cache, Experts, Layer, Linear, Output, Parameter, StateTensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

LEAST_EXPERT_ROWS = 256  # KimiMoE's min_moe_intermediate_per_partition
LANGUAGE_PREFIXES = (("language_model.layers.", "language_model.model.layers."),)


def kimi_linear(config: Config) -> ModelFacts:
    """Text alone."""
    text = text_config(config)
    return assemble(config, kimi_linear_layers(text), _body(text))


def kimi_k3(config: Config) -> ModelFacts:
    """The same layers behind a vision tower, with full-rank gates, residual attention and latent experts."""
    text = text_config(config)
    flags = {
        "layers_prefix": "language_model.model.layers",
        "name_prefixes": LANGUAGE_PREFIXES,
        "engine_added_in": "0.33.0",
    }
    facts = assemble(config, kimi_linear_layers(text), _body(text, flags))
    heads = required(config["vision_config"], "vt_num_attention_heads")
    return replace(facts, model_type="kimi_k3", tower=k3_tower(config), tower_heads=heads, is_multimodal=True)


def k3_tower(config: Config) -> Modules:
    """MoonViT without biases and with attention wider than the rest; then a projector (kimi_k25_vit.py)."""
    vision = config["vision_config"]
    width, inner = required(vision, "vt_hidden_size"), required(vision, "qkv_hidden_size")
    heads, mlp = required(vision, "vt_num_attention_heads"), required(vision, "vt_intermediate_size")
    patch, kernel = required(vision, "patch_size"), required(vision, "merge_kernel_size")
    grid = (required(vision, "init_pos_emb_height"), required(vision, "init_pos_emb_width"), width)
    merged, out = width * kernel[0] * kernel[1], required(vision, "text_hidden_size")
    block = (
        *norm("vision_tower.norm0", width),
        *norm("vision_tower.norm1", width),
        Linear("vision_tower.wqkv", width, (Output(inner, heads),) * 3, "column", quantizable=False),
        Linear("vision_tower.wo", inner, (Output(width),), "row", in_heads=heads, quantizable=False),
        Linear("vision_tower.fc0", width, (Output(mlp),), "column", quantizable=False),
        Linear("vision_tower.fc1", mlp, (Output(width),), "row", quantizable=False),
    )
    return (
        Parameter("vision_tower.patch_embed.proj.weight", (width, 3, patch, patch)),
        Parameter("vision_tower.patch_embed.pos_emb.weight", grid),
        Parameter(
            "vision_tower.patch_embed.pos_emb.time_weight",
            (required(vision, "init_pos_emb_time"), 1, width),
            dtype="float32",
            buffer=True,
            loaded=False,
        ),
        *(block * required(vision, "vt_num_hidden_layers")),
        *norm("vision_tower.final_layernorm", width),
        replicated("mm_projector.linear_1", merged, merged, quantizable=False),
        replicated("mm_projector.linear_2", merged, out, quantizable=False),
        *norm("mm_projector.post_norm", out),
    )


def _body(text: Config, flags: Mapping[str, object] | None = None) -> Body:
    hidden_size = required(text, "hidden_size")
    final = norm("model.norm", hidden_size)
    if text.get("attn_res_block_size"):
        final += _residual_attention("output_attn", hidden_size)
    return Body(
        final=final,
        kv_heads=1,
        head_dim=required(text, "kv_lora_rank") + required(text, "qk_rope_head_dim"),
        num_experts=optional(text, "num_experts", default=0),
        flags={"is_mla": True, **(flags or {})},
    )


def kimi_linear_layers(text: Config) -> tuple[Layer, ...]:
    """linear_attn_config counts layers from one; the first layers have a plain MLP."""
    linear = set((text.get("linear_attn_config") or {}).get("kda_layers") or ())
    first = optional(text, "first_k_dense_replace", default=0)
    step = optional(text, "moe_layer_freq", default=1)
    has_experts = bool(text.get("num_experts"))
    return tuple(
        _layer(text, linear=index + 1 in linear, sparse=has_experts and index >= first and index % step == 0)
        for index in range(required(text, "num_hidden_layers"))
    )


def _layer(text: Config, *, linear: bool, sparse: bool) -> Layer:
    hidden_size = required(text, "hidden_size")
    mixer, cache = (_delta(text), _delta_cache(text)) if linear else (_latent(text), mla_cache(text))
    mlp = _experts(text) if sparse else gated_mlp(hidden_size, required(text, "intermediate_size"))
    norms = norm("input_layernorm", hidden_size) + norm("post_attention_layernorm", hidden_size)
    if text.get("attn_res_block_size"):
        norms += _residual_attention("self_attention", hidden_size) + _residual_attention("mlp", hidden_size)
    return Layer((*mixer, *mlp, *norms), (cache,))


def _residual_attention(prefix: str, hidden_size: int) -> Modules:
    """Attention over earlier blocks' outputs: a norm and one score per token."""
    projection = replicated(f"{prefix}_res_proj", hidden_size, 1, quantizable=False)
    return (*norm(f"{prefix}_res_norm", hidden_size), projection)


def _delta(text: Config) -> Modules:
    """Kimi delta attention; the checkpoint's parts of the input projection have names of their own."""
    linear, hidden_size = text["linear_attn_config"], required(text, "hidden_size")
    heads, dim, kernel = linear["num_heads"], linear["head_dim"], linear["short_conv_kernel_size"]
    width = heads * dim
    full_rank = bool(linear.get("use_full_rank_gate"))
    names = ("q_proj", "k_proj", "v_proj", *(("g_proj",) if full_rank else ()))
    parts = tuple(Output(width, heads, name=name) for name in names)
    narrow = (Output(dim, 1, replicable=True, name="f_a_proj"), Output(heads, heads, name="b_proj"))
    return (
        Linear("self_attn.in_proj_qkvgfab", hidden_size, (*parts, *narrow), "column"),
        Linear("self_attn.f_b_proj", dim, (Output(width, heads),), "column"),
        Linear(
            "self_attn.conv1d",
            kernel,
            tuple(Output(width, heads, name=f"{part}_conv1d") for part in "qkv"),
            "column",
            quantizable=False,
            dtype="float32",
        ),
        Parameter("self_attn.dt_bias", (width,), 0, dtype="float32"),
        Parameter("self_attn.A_log", (heads,), 0, dtype="float32"),
        *norm("self_attn.o_norm", dim),
        Linear("self_attn.o_proj", width, (Output(hidden_size),), "row", in_heads=heads),
        *(_decode_copies(width, dim, kernel) if full_rank else _low_rank_gate(hidden_size, heads, dim)),
    )


def _low_rank_gate(hidden_size: int, heads: int, dim: int) -> Modules:
    return (
        replicated("self_attn.g_a_proj", hidden_size, dim),
        Linear("self_attn.g_b_proj", dim, (Output(heads * dim, heads),), "column"),
    )


def _decode_copies(width: int, dim: int, kernel: int) -> Modules:
    """What the fused decode kernel of Hopper and Blackwell reads (kda.py KimiK3DeltaAttention)."""
    convolution = Parameter(
        "self_attn.decode_conv1d_weight", (3, kernel, width), 2, dtype="float32", buffer=True, loaded=False
    )
    return (
        convolution,
        Parameter("self_attn.decode_norm_weight", (dim,), dtype="float32", buffer=True, loaded=False),
    )


def _delta_cache(text: Config) -> Cache:
    """kda_state_shape; a gate with a lower bound lets FlashKDA export states from the middle of a prefill."""
    linear = text["linear_attn_config"]
    heads, dim = linear["num_heads"], linear["head_dim"]
    tail = linear["short_conv_kernel_size"] - 1
    return Cache(
        "mamba",
        head_size=dim,
        mamba_type="kda",
        checkpoint_blocks=linear.get("gate_lower_bound") is not None,
        states=(StateTensor((tail, 3 * heads * dim), 1, role="conv"), StateTensor((heads, dim, dim), 0)),
    )


def _latent(text: Config) -> Modules:
    """Latent attention without rotary positions (MultiHeadLatentAttention), gated in Kimi K3."""
    hidden_size, heads = required(text, "hidden_size"), required(text, "num_attention_heads")
    nope, value = required(text, "qk_nope_head_dim"), required(text, "v_head_dim")
    kv_rank, q_rank = required(text, "kv_lora_rank"), text.get("q_lora_rank")
    query = (Output(heads * (nope + required(text, "qk_rope_head_dim")), heads),)
    down = kv_rank + required(text, "qk_rope_head_dim")
    gate = heads * value if text.get("mla_use_output_gate") else 0
    front = (
        _low_rank_query(hidden_size, q_rank, down, gate, heads)
        if q_rank
        else _full_query(hidden_size, query, down, gate, heads)
    )
    last: Modules = ()
    if q_rank:
        last = (*norm("self_attn.q_a_layernorm", q_rank), Linear("self_attn.q_b_proj", q_rank, query, "column"))
    return (
        *front,
        *last,
        *norm("self_attn.kv_a_layernorm", kv_rank),
        Linear("self_attn.kv_b_proj", kv_rank, (Output(heads * (nope + value), heads),), "column", absorbed=True),
        Linear("self_attn.o_proj", heads * value, (Output(hidden_size),), "row", in_heads=heads),
        *attention_scales("self_attn"),
    )


def _low_rank_query(hidden_size: int, q_rank: int, down: int, gate: int, heads: int) -> Modules:
    """The latents, whole on every rank, fused with the gate, which is cut (KimiK3MergedQKVGateLinear)."""
    latents = (
        Output(q_rank, 1, replicable=True, name="q_a_proj"),
        Output(down, 1, replicable=True, name="kv_a_proj_with_mqa"),
    )
    if not gate:
        return (Linear("self_attn.fused_qkv_a_proj", hidden_size, latents, "replicated"),)
    parts = (*latents, Output(gate, heads, name="g_proj"))
    return (Linear("self_attn.fused_qkv_a_g_proj", hidden_size, parts, "column"),)


def _full_query(hidden_size: int, query: tuple[Output, ...], down: int, gate: int, heads: int) -> Modules:
    projections: Modules = (
        Linear("self_attn.q_proj", hidden_size, query, "column"),
        replicated("self_attn.kv_a_proj_with_mqa", hidden_size, down),
    )
    return (
        (*projections, Linear("self_attn.g_proj", hidden_size, (Output(gate, heads),), "column"))
        if gate
        else (projections)
    )


def _experts(text: Config) -> Modules:
    """Router, shared expert, and routed experts, which in Kimi K3 work in a smaller latent space."""
    prefix = "block_sparse_moe"
    hidden_size, count = required(text, "hidden_size"), required(text, "num_experts")
    width, shared = required(text, "moe_intermediate_size"), optional(text, "num_shared_experts", default=0)
    latent = text.get("routed_expert_hidden_size")
    routed = Experts(
        f"{prefix}.experts",
        count,
        required(text, "num_experts_per_token"),
        latent or hidden_size,
        width,
        least_rows=LEAST_EXPERT_ROWS,
    )
    return (
        *router(hidden_size, count, f"{prefix}.gate", correction_bias=f"{prefix}.gate.e_score_correction_bias"),
        *(gated_mlp(hidden_size, width * shared, f"{prefix}.shared_experts") if shared else ()),
        *(_latent_space(hidden_size, latent, normed=bool(text.get("latent_moe_use_norm"))) if latent else ()),
        routed,
    )


def _latent_space(hidden_size: int, latent: int, *, normed: bool) -> Modules:
    prefix = "block_sparse_moe.routed_expert"
    return (
        replicated(f"{prefix}_down_proj", hidden_size, latent),
        replicated(f"{prefix}_up_proj", latent, hidden_size),
        *(norm(f"{prefix}_norm", latent) if normed else ()),
    )
