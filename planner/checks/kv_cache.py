"""kv_cache: whether the KV cache holds one request of max_model_len, as vLLM asks at start-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.checks.refusal import Refusal
from planner.engine import V0_33
from planner.memory.kv_cache import needed_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.engine import EngineConfig
    from planner.memory.kv_cache import KvLayout

CODE = "kv_cache"
GIB = 2**30


def check_kv_cache(
    layouts: Sequence[KvLayout], available_bytes: Sequence[int], engine: EngineConfig, longest: int
) -> Refusal | None:
    """_check_enough_kv_cache_memory on every stage; ``longest`` is the longest context that would fit (0: none).

    The engine stops at the first stage that is short. The numbers here are of the one that lacks most: with them
    every stage starts.
    """
    whole = layouts[0]  # stages differ in a block's bytes alone
    if whole.ungroupable:
        return Refusal("engine_support", f"vLLM cannot lay out this model's KV cache: {whole.ungroupable}.")
    if whole.attention_free:
        return None
    blocks = needed_blocks(whole, engine)
    stages = ((blocks * layout.bytes_per_block, left) for layout, left in zip(layouts, available_bytes, strict=True))
    short = [(needed, available) for needed, available in stages if available <= 0 or needed > available]
    if not short:
        return None
    needed, available = max(short, key=lambda stage: stage[0] - stage[1])
    return Refusal(CODE, _reason(needed, available, engine, longest), needed, available)


def _reason(needed: int, available: int, engine: EngineConfig, longest: int) -> str:
    if available <= 0:
        return "No available memory for the cache blocks: nothing is left after weights and activations."
    held_back = " (one block is held back)" if engine.rules >= V0_33 else ""
    fits = f" The longest context that fits is {longest:,} tokens." if longest else " No context fits."
    return (
        f"To serve at least one request with max_model_len {engine.max_model_len:,}, {needed / GIB:.2f} GiB KV cache "
        f"is needed{held_back}, which is larger than the available {available / GIB:.2f} GiB.{fits}"
    )
