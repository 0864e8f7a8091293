"""Ranking: which valid option is best for an objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from planner.plan import Option
    from planner.workload import Workload


def rank_key(objective: str, workload: Workload) -> Callable[[Option], tuple[Any, ...]]:
    """Sort key, smallest first: the objective's figure, then fewer GPUs, then more speed, more KV room, and the name.

    Splits of the same GPUs cost the same an hour: among them the cheapest token decides.
    """
    figure = OBJECTIVES[objective]

    def key(option: Option) -> tuple[Any, ...]:
        candidate = option.candidate
        return (
            figure(option, workload),
            candidate.count,
            -option.throughput.output_tokens_per_second,
            -option.kv_cache.tokens,
            candidate.sold_as,
            candidate.pipeline_parallel_size,
        )

    return key


def latency_ms(option: Option, workload: Workload) -> float:
    """Mean end-to-end time of one request: first token, then one TPOT for each further token."""
    throughput = option.throughput
    return throughput.ttft_ms + throughput.tpot_ms * (workload.output_tokens - 1)


OBJECTIVES: dict[str, Callable[[Option, Workload], Any]] = {
    "usd_per_hour": lambda option, _: option.cost.usd_per_hour,
    "usd_per_million_tokens": lambda option, _: option.cost.usd_per_million_output_tokens,
    "latency": latency_ms,
}
