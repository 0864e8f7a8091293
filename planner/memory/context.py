"""The longest context and the most requests that a KV cache takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.memory.kv_cache import pool_blocks, request_blocks, reserved_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.engine import EngineConfig
    from planner.memory.kv_cache import KvLayout


def longest_context(layouts: Sequence[KvLayout], available_bytes: Sequence[int], engine: EngineConfig, pp: int) -> int:
    """The longest max_model_len with which the engine would start, up to the model's own limit; 0 if none.

    _estimate_max_model_len_from_groups, which vLLM searches by halving: the need never falls with the length.
    """
    del pp
    return min(_longest(layout, available, engine) for layout, available in zip(layouts, available_bytes, strict=True))


def _longest(layout: KvLayout, available_bytes: int, engine: EngineConfig) -> int:
    limit = layout.longest_model_len
    if layout.attention_free:
        return limit
    blocks = pool_blocks(layout, available_bytes) - reserved_blocks(engine)
    if request_blocks(layout, engine, limit) <= blocks:
        return limit
    shortest, longest = 0, limit  # the first fits, the second does not
    guess = _when_windows_are_full(layout, engine, blocks)
    while longest - shortest > 1:
        middle = guess if guess and shortest < guess < longest else (shortest + longest) // 2
        guess = guess + 1 if guess == middle else None
        if request_blocks(layout, engine, middle) <= blocks:
            shortest = middle
        else:
            longest = middle
    return shortest


def _when_windows_are_full(layout: KvLayout, engine: EngineConfig, blocks: int) -> int | None:
    """The answer where windows hold all they ever hold; nearly always the answer, so the search starts there."""
    most = engine.max_in_flight_tokens + layout.longest_model_len
    growing = [(spec, number) for spec, number in layout.counts if spec.window_tokens is None and spec.blocks is None]
    if len(growing) != 1:
        return None
    (spec, number), fixed = growing[0], request_blocks(layout, engine, most)
    fixed -= number * -(-most // spec.block_size)
    return max(0, blocks - fixed) // number * spec.block_size


def highest_concurrency(
    layouts: Sequence[KvLayout], available_bytes: Sequence[int], engine: EngineConfig, tokens: int
) -> int:
    """Requests of ``tokens`` (prompt and answer) that the KV cache holds at once, up to max_num_seqs."""
    layout = layouts[0]
    if layout.attention_free:
        return engine.max_num_seqs
    blocks = min(pool_blocks(layout, available) for layout, available in zip(layouts, available_bytes, strict=True))
    usable = max(0, blocks - 1)  # the null block never holds a token
    return min(engine.max_num_seqs, usable // max(1, request_blocks(layout, engine, tokens)))
