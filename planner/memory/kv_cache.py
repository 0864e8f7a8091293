"""The KV cache as vLLM lays it out and reports it: bytes per block, blocks, tokens, concurrency."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from planner.engine import V0_33, model_limit
from planner.memory.block_sizes import block_sizes
from planner.memory.cache_layers import cache_layers
from planner.memory.kv_groups import UngroupableError, group_counts, group_layers, stage_block_bytes
from planner.memory.kv_settings import kv_settings
from planner.memory.kv_specs import blocks_per_request
from planner.memory.make_specs import make_spec
from planner.memory.stages import stage_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.memory.kv_groups import KvGroup
    from planner.memory.kv_settings import KvSettings
    from planner.memory.kv_specs import KvSpec
    from planner.model.facts import ModelFacts


class KvCache(Struct, frozen=True):
    """What vLLM logs. bytes_per_block is the largest and num_blocks the smallest over pipeline stages."""

    bytes_per_block: int
    block_size: int  # tokens
    num_blocks: int
    tokens: int  # "GPU KV cache size"
    max_concurrency: float  # "Maximum concurrency for max_model_len tokens per request"
    blocks_per_request: int  # at max_model_len


class KvLayout(Struct, frozen=True):
    """One pipeline stage's share of the layout; the groups are the whole model's."""

    bytes_per_block: int  # of this stage, one GPU
    block_size: int  # tokens, of full attention
    groups: tuple[KvGroup, ...]
    counts: tuple[tuple[KvSpec, int], ...]  # groups of each kind
    longest_model_len: int  # the model's own limit
    ungroupable: str | None = None  # vLLM's reason where it cannot group these caches
    attention_free: bool = False


def stage_layouts(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int) -> tuple[KvLayout, ...]:
    """How the KV cache is laid out, one layout per pipeline stage."""
    return _layouts(facts, kv_settings(gpu, engine, tp), pp)


@lru_cache(maxsize=2048)
def _layouts(facts: ModelFacts, settings: KvSettings, pp: int) -> tuple[KvLayout, ...]:
    whole = _whole_layout(facts, settings)
    stages = stage_ranges(facts.num_hidden_layers, pp)
    return tuple(
        replace(whole, bytes_per_block=bytes_per_block)
        for bytes_per_block in stage_block_bytes(whole.groups, stages, packed=facts.packed_kv_cache)
    )


@lru_cache(maxsize=512)
def _whole_layout(facts: ModelFacts, settings: KvSettings) -> KvLayout:
    """The layout of the whole model; what a block of it costs is each stage's own."""
    sizes = block_sizes(facts, settings)
    buckets = [
        (make_spec(cache, facts, sizes, settings), layers)
        for cache, layers in cache_layers(facts)
        if cache.kind != "none"
    ]
    ungroupable = None
    try:
        if facts.packed_kv_cache and settings.rules >= V0_33:
            from planner.memory.kv_packed import packed_groups

            groups = packed_groups(buckets)
        else:
            groups = group_layers(buckets, settings.rules, hybrid_manager=settings.hybrid_manager)
    except UngroupableError as error:
        groups, ungroupable = (), str(error)
    return KvLayout(
        bytes_per_block=0,
        block_size=sizes.attention,
        groups=groups,
        counts=tuple(group_counts(groups).items()),
        longest_model_len=model_limit(facts, settings.rules),
        ungroupable=ungroupable,
        attention_free=not buckets,
    )


def request_blocks(layout: KvLayout, engine: EngineConfig, tokens: int) -> int:
    """Blocks that one request of ``tokens`` takes from the pool, over all groups.

    Under decode context parallelism each rank holds a part of the tokens.
    """
    in_flight, heard = engine.max_in_flight_tokens, engine.max_num_batched_tokens
    tokens = -(-tokens // engine.decode_context_parallel_size)
    return sum([number * blocks_per_request(spec, tokens, in_flight, heard) for spec, number in layout.counts])


def needed_bytes(layout: KvLayout, engine: EngineConfig) -> int:
    """The least KV memory of this stage with which vLLM starts: one request of max_model_len."""
    return needed_blocks(layout, engine) * layout.bytes_per_block


def needed_blocks(layout: KvLayout, engine: EngineConfig) -> int:
    """As many of every stage.

    _check_enough_kv_cache_memory: 0.33.0 holds one block back (the null block), 0.25.0 does not.
    """
    return request_blocks(layout, engine, engine.max_model_len) + reserved_blocks(engine)


def reserved_blocks(engine: EngineConfig) -> int:
    """Blocks that the start-up check leaves out of the pool."""
    return 1 if engine.rules >= V0_33 else 0


def plan_kv_cache(layouts: Sequence[KvLayout], available_bytes: Sequence[int], engine: EngineConfig) -> KvCache:
    """Blocks of the whole engine: all ranks take the smallest count (get_kv_cache_configs, get_kv_cache_capacity)."""
    first = layouts[0]
    if first.attention_free:
        return KvCache(0, first.block_size, 1, 0, 0.0, 0)
    num_blocks = fewest_blocks(layouts, available_bytes)
    blocks = request_blocks(first, engine, engine.max_model_len)
    max_concurrency = num_blocks / blocks
    return KvCache(
        bytes_per_block=max(layout.bytes_per_block for layout in layouts),
        block_size=first.block_size,
        num_blocks=num_blocks,
        tokens=int(max_concurrency * engine.max_model_len),
        max_concurrency=max_concurrency,
        blocks_per_request=blocks,
    )


def pool_blocks(layout: KvLayout, available_bytes: int) -> int:
    """Blocks that one stage has room for."""
    return max(0, available_bytes) // layout.bytes_per_block if layout.bytes_per_block else 0


def fewest_blocks(layouts: Sequence[KvLayout], available_bytes: Sequence[int]) -> int:
    """Blocks that every stage has room for."""
    return min(map(pool_blocks, layouts, available_bytes))


def longest_context(layouts: Sequence[KvLayout], available_bytes: Sequence[int], engine: EngineConfig) -> int:
    """The longest max_model_len with which the engine would start, up to the model's own limit; 0 if none.

    _estimate_max_model_len_from_groups, which vLLM searches by halving: the need never falls with the length.
    """
    layout = layouts[0]  # a request takes as many blocks of every stage: the fewest decide
    limit = max(layout.longest_model_len, engine.max_model_len)  # beyond it only where config.json names no length
    if layout.attention_free:
        return limit
    blocks = fewest_blocks(layouts, available_bytes) - reserved_blocks(engine)
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
    most = engine.max_in_flight_tokens + max(layout.longest_model_len, engine.max_model_len)
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
    usable = max(0, fewest_blocks(layouts, available_bytes) - 1)  # the null block never holds a token
    return min(engine.max_num_seqs, usable // max(1, request_blocks(layout, engine, tokens)))
