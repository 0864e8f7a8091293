"""Rotary embeddings: the published settings in one shape, and the cos/sin cache that the engine keeps on the GPU."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from planner.errors import ModelError
from planner.model.facts import Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

# Positions an M-RoPE cache holds per position of the config: vllm rotary_embedding get_rope mrope_positions_factor.
MROPE_POSITIONS_FACTOR = 4
LAYER_TYPES = ("full_attention", "sliding_attention", "chunked_attention", "linear_attention")


def rope_parameters(config: Mapping[str, Any], layer_type: str | None = None) -> dict[str, Any]:
    """rope_parameters as vLLM's patch_rope_parameters leaves them, from old (rope_scaling) or new style configs.

    ``layer_type``: the entry of configs that keep one set per layer type.
    """
    published = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if layer_type is not None and isinstance(published.get(layer_type), dict):
        published = published[layer_type]
    rope = {key: value for key, value in published.items() if key not in LAYER_TYPES}
    for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if rope.get(key) is None and config.get(key) is not None:
            rope[key] = config[key]
    if rope.get("partial_rotary_factor") is None and config.get("rotary_pct") is not None:
        rope["partial_rotary_factor"] = config["rotary_pct"]
    rope["rope_type"] = _rope_type(rope)
    return rope


def _rope_type(rope: Mapping[str, Any]) -> str:
    """The modern name of a published rope type (vllm transformers_utils/config.py patch_rope_parameters_dict)."""
    published = str(rope.get("rope_type") or rope.get("type") or "default")
    return {"su": "longrope", "mrope": "default"}.get(published, published)


def rope_rows(rope: Mapping[str, Any], max_position: int) -> int:
    """Rows of the cos/sin cache: positions times what the scaling type adds (vllm layers/rotary_embedding)."""
    kind = rope["rope_type"]
    factor = float(rope.get("factor") or 1.0)
    original = int(rope.get("original_max_position_embeddings") or max_position)
    per_position = MROPE_POSITIONS_FACTOR if rope.get("mrope_section") else 1
    if kind in ("yarn", "deepseek_yarn", "deepseek_llama_scaling"):
        return math.ceil(original * per_position * factor)
    if kind == "linear":
        return math.ceil(max_position * factor)
    if kind == "longrope":
        return original + max_position  # one cache for short and one for long contexts
    return max_position * per_position


def rope_cache(
    head_size: int,
    max_position: int,
    rope: Mapping[str, Any],
    *,
    rotary_dim: int | None = None,
    dtype: str | None = None,
    name: str = "self_attn.rotary_emb.cos_sin_cache",
) -> Parameter:
    """The cache [rows, rotary_dim]; layers with equal settings share one (get_rope's _ROPE_DICT)."""
    width = rotary_dim or rope.get("rope_dim") or int(head_size * float(rope.get("partial_rotary_factor") or 1.0))
    _check_lengths(rope, int(width) // 2)
    rows = rope_rows(rope, max_position)
    key = f"rope:{head_size}:{width}:{rows}:{sorted((k, str(v)) for k, v in rope.items())}"
    return Parameter(name, (rows, int(width)), dtype=dtype, buffer=True, shared_key=key, loaded=False)


def _check_lengths(rope: Mapping[str, Any], frequencies: int) -> None:
    """layers/rotary_embedding/mrope.py asserts the first; phi3_long_rope_scaled_rope.py multiplies the second.

    Raises ModelError.
    """
    section, factors = rope.get("mrope_section"), rope.get("long_factor")
    if section and sum(section) != frequencies:
        what = f"rope_scaling.mrope_section {section} adds up to {sum(section)}"
    elif rope["rope_type"] == "longrope" and factors and len(factors) not in {1, frequencies}:
        what = f"rope_scaling.long_factor has {len(factors)} numbers"
    else:
        return
    raise ModelError(
        f"config.json: {what}, and heads of this width have {frequencies} frequencies. "
        "Use the file of the published checkpoint."
    )


def frequencies(head_size: int, key: str) -> tuple[Parameter, ...]:
    """What transformers' own rotary embedding keeps where vLLM runs a class through it: inv_freq and its original."""
    return tuple(
        Parameter(
            f"rotary_emb.{name}",
            (head_size // 2,),
            dtype="float32",
            buffer=True,
            shared_key=f"{name}:{key}",
            loaded=False,
        )
        for name in ("inv_freq", "original_inv_freq")
    )
