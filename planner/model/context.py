"""The longest context a checkpoint allows, derived as vLLM derives it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from planner.model.architectures.rope import LAYER_TYPES, rope_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

# vllm/transformers_utils/model_arch_config_convertor.py derive_max_model_len_and_key: the smallest wins
LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
# vllm/config/model.py _get_and_verify_max_len: their max_position_embeddings is already scaled
SCALED_ALREADY = frozenset({"longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})
LENGTH_WITHOUT_KEY = 2048  # the same function, where config.json names no length


def derived_max_model_len(text: Mapping[str, Any]) -> int:
    """Tokens: the config's smallest length, times a rope factor that is not yet in it.

    The tokenizer's own model_max_length counts for pooling models alone (ModelConfig.get_and_verify_max_len).
    """
    derived = _named_length(text)
    if derived == inf:
        derived = LENGTH_WITHOUT_KEY
    if "gemma3" not in str(text.get("model_type")):
        derived *= _scaling_factor(text)
    return int(derived)


def names_no_length(text: Mapping[str, Any]) -> bool:
    """Whether any max_model_len that is asked for stands, as for Mamba (_get_and_verify_max_len)."""
    return _named_length(text) == inf


def _named_length(text: Mapping[str, Any]) -> float:
    lengths = [text[key] for key in LENGTH_KEYS if isinstance(text.get(key), int)]
    return text.get("model_max_length") or min(lengths, default=inf)


def yarn_max_model_len(text: Mapping[str, Any]) -> int | None:
    """What versions before 0.33.0 derive for YaRN: its factor times the original length; None for other ropes."""
    for rope in _ropes(text):
        original = rope.get("original_max_position_embeddings") or text.get("max_position_embeddings")
        if rope["rope_type"] == "yarn" and original:
            return int(original * float(rope.get("factor") or 1.0))
    return None


def default_max_model_len(text: Mapping[str, Any], derived: int) -> int:
    """What an unset max_model_len becomes: LongRoPE models start at their original length."""
    if any(rope["rope_type"] == "longrope" for rope in _ropes(text)):
        return int(text.get("original_max_position_embeddings") or derived)
    return derived


def _scaling_factor(text: Mapping[str, Any]) -> float:
    factor = 1.0
    for rope in _ropes(text):
        if rope["rope_type"] not in SCALED_ALREADY:
            factor = float(rope.get("factor") or factor)
    return factor


def _ropes(text: Mapping[str, Any]) -> list[dict[str, Any]]:
    published = text.get("rope_parameters") or text.get("rope_scaling") or {}
    kinds = [kind for kind in LAYER_TYPES if isinstance(published.get(kind), dict)]
    return [rope_parameters(text, kind) for kind in kinds] or [rope_parameters(text)]
