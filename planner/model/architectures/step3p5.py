"""Step-3.5: windowed layers with more query heads than the full ones, a gate per head, experts beside a shared one.

vllm/model_executor/models/step3p5.py and step3p7.py; what a config leaves out is transformers' Step3p7TextConfig.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import Heads, attention, attention_cache, experts, gated_mlp, router
from planner.model.architectures.dense import Shape, norms_of
from planner.model.architectures.nested import beside
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import rope_cache
from planner.model.architectures.step_tower import step_tower
from planner.model.architectures.vision import with_tower
from planner.model.facts import Layer, Linear, Output

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts, Parameter

FIRST_SPARSE_LAYER = 3  # Step3p7TextConfig.__post_init__: experts from layer 3 on, where no list says otherwise
ROPE_THETA = 10_000.0  # Step3p7TextConfig.default_theta
PREFIXES = (
    ("model.vision_model.", "vision_model."),
    ("model.vit_large_projector", "vit_large_projector"),
    ("model.language_model.", "language_model.model."),
    ("model.", "language_model.model."),
)
STEP_VL_PREFIXES = (("model.", "language_model.model."), ("lm_head.", "language_model.lm_head."))


def step3p5(config: Config) -> ModelFacts:
    """Step-3.5-Flash; its MTP layers, which the lists of layers go on into, are not loaded."""
    text = text_config(config)
    count = required(text, "moe_num_experts", "n_routed_experts", "num_experts")
    sparse = _sparse_layers(text)
    full = _heads(text, required(text, "num_attention_heads"))
    layers = [_layer(text, index, index in sparse) for index in range(required(text, "num_hidden_layers"))]
    body = Body(
        num_experts=count,
        kv_heads=full.num_kv_heads,
        head_dim=full.head_dim,
        flags={"max_experts_tp": count},
    )
    return assemble(config, layers, body)


def step3p7(config: Config) -> ModelFacts:
    """Step-3.5's text beside a perception encoder; vLLM reads both configs with the repository's Python code alone."""
    return replace(with_tower(step3p5(config), step_tower(config), *PREFIXES), needs_trust_remote_code=True)


def step3_vl_10b(config: Config) -> ModelFacts:
    """Any language model beside the same encoder; Step3-VL 10B has Qwen3."""
    return replace(beside(config, step_tower(config), *STEP_VL_PREFIXES), needs_trust_remote_code=True)


def unserved(config: Config) -> ModelFacts:
    """The same under a class name that no documented version of vLLM has."""
    return replace(step3p5(config), engine_has_class=False)


def _sparse_layers(text: Config) -> frozenset[int]:
    """Layers with experts, in whichever form they are published (_is_moe_layer)."""
    if (kinds := text.get("mlp_layer_types")) is not None:
        return frozenset(index for index, kind in enumerate(kinds) if kind == "sparse")
    if (listed := text.get("moe_layers_enum")) is not None:
        items = listed.split(",") if isinstance(listed, str) else listed
        return frozenset(int(item) for item in items)
    first = optional(text, "first_k_dense_replace", default=FIRST_SPARSE_LAYER)
    return frozenset(range(first, required(text, "num_hidden_layers")))


def _heads(text: Config, num_heads: int) -> Heads:
    kv_heads = required(text, "num_attention_groups", "num_key_value_heads")
    return Heads(required(text, "hidden_size"), num_heads, kv_heads, required(text, "head_dim"))


def _query_heads(text: Config, windowed: bool) -> int:
    """Windowed layers may have heads of their own (_get_num_attention_heads)."""
    plain: int = required(text, "num_attention_heads")
    if not windowed:
        return plain
    other = text.get("attention_other_setting") or {}
    theirs = other.get("num_attention_heads") if other.get("attention_type") == "sliding_attention" else None
    return optional(text, "num_sliding_attention_heads", default=theirs) or plain


def _layer(text: Config, index: int, sparse: bool) -> Layer:
    size, kind = required(text, "hidden_size"), str(required(text, "layer_types")[index])
    windowed = kind == "sliding_attention" and text.get("sliding_window") is not None
    heads = _heads(text, _query_heads(text, kind == "sliding_attention"))
    gate = Linear("self_attn.g_proj", size, (Output(heads.num_heads, heads.num_heads),), "column")
    modules = (
        *attention(heads, qkv_bias=bool(text.get("attention_bias")), qk_norm=True),
        *((gate,) if text.get("use_head_wise_attn_gate") else ()),
        _rope(text, heads, index, kind),
        *(_experts(text) if sparse else gated_mlp(size, required(text, "intermediate_size"))),
        *norms_of(text, Shape()),
    )
    cache = attention_cache(heads, "sliding_window", text["sliding_window"]) if windowed else attention_cache(heads)
    return Layer(modules, (cache,))


def _rope(text: Config, heads: Heads, index: int, kind: str) -> Parameter:
    """Each layer's frequency and rotated part; only the types in ``yarn_only_types`` are scaled."""
    published = (text.get("rope_parameters") or {}).get(kind)
    if isinstance(published, dict):
        rope = dict(published)
    else:
        scaled = kind in (text.get("yarn_only_types") or (kind,))
        rope = dict((text.get("rope_scaling") or {}) if scaled else {})
        rope["rope_theta"] = _of_layer(text.get("rope_theta"), index, ROPE_THETA)
        rope["partial_rotary_factor"] = _of_layer(text.get("partial_rotary_factors"), index, 1.0)
    rope.setdefault("rope_type", "default")
    return rope_cache(heads.head_dim, required(text, "max_position_embeddings"), rope)


def _of_layer(published: list[float] | float | None, index: int, default: float) -> float:
    if isinstance(published, list):
        return published[index] if published else default
    return default if published is None else published


def _experts(text: Config) -> Modules:
    size, count = required(text, "hidden_size"), required(text, "moe_num_experts", "n_routed_experts", "num_experts")
    return (
        *router(size, count, "moe.gate", dtype="float32", correction_bias="moe.router_bias"),
        *experts(
            size,
            required(text, "moe_intermediate_size"),
            count,
            required(text, "moe_top_k", "num_experts_per_tok"),
            "moe.experts",
        ),
        *gated_mlp(size, required(text, "share_expert_dim", "share_expert_dims"), "moe.share_expert"),
    )
