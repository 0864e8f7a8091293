"""What was planned beside what was measured, figure by figure. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.measurements import Measurement
    from planner.plan import Option

Unit = Literal["bytes", "count", "ratio", "rate", "ms"]


class Figure(Struct, frozen=True):
    """``error`` is relative to ``against``: to what was measured, or to the requested memory."""

    what: str
    unit: Unit
    planned: float
    measured: float
    error: float | None


def compare_start(option: Option, start: Measurement) -> tuple[Figure, ...]:
    """Memory, blocks and tokens. KV memory is judged against what the engine requests, the rest against itself."""
    memory, kv_cache = option.memory, option.kv_cache
    pairs: tuple[tuple[str, Unit, float, float | None], ...] = (
        ("requested", "bytes", memory.requested_bytes, start.requested_bytes),
        ("model loading", "bytes", memory.model_loading_bytes, start.model_loading_bytes),
        ("activation peak", "bytes", memory.peak_activation_bytes, start.peak_activation_bytes),
        ("outside torch", "bytes", memory.non_torch_bytes, start.non_torch_bytes),
        ("CUDA graphs", "bytes", memory.cuda_graph_bytes, start.cuda_graph_bytes),
        ("left for KV", "bytes", memory.available_kv_bytes, start.available_kv_bytes),
        ("bytes per block", "bytes", kv_cache.bytes_per_block, start.bytes_per_block),
        ("blocks", "count", kv_cache.num_blocks, start.num_blocks),
        ("KV tokens", "count", kv_cache.tokens, start.kv_cache_tokens),
        ("concurrency", "ratio", kv_cache.max_concurrency, start.max_concurrency),
    )
    whole = {"left for KV": start.requested_bytes}
    return tuple(
        Figure(what, unit, planned, measured, _error(planned, measured, whole.get(what) or measured))
        for what, unit, planned, measured in pairs
        if measured is not None
    )


def compare_speed(option: Option, load: Measurement) -> tuple[Figure, ...]:
    """Throughput and latency of the planned load."""
    predicted = option.throughput
    pairs: tuple[tuple[str, Unit, float, float | None], ...] = (
        ("output tokens/s", "rate", predicted.output_tokens_per_second, load.output_tokens_per_second),
        ("TTFT", "ms", predicted.ttft_ms, load.ttft_ms),
        ("TPOT", "ms", predicted.tpot_ms, load.tpot_ms),
    )
    return tuple(
        Figure(what, unit, planned, measured, _error(planned, measured, measured))
        for what, unit, planned, measured in pairs
        if measured is not None
    )


def compare_rows(option: Option, rows: Sequence[Measurement]) -> tuple[Figure, ...]:
    """The start's figures, then those of the first load, which is the planned one."""
    start, *loads = rows
    figures = compare_start(option, start)
    return (*figures, *compare_speed(option, loads[0])) if loads else figures


def _error(planned: float, measured: float, whole: float) -> float | None:
    return (planned - measured) / whole if whole else None
