"""Pipeline stages: which layers each of them holds."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from planner.model.facts import LayerRun

if TYPE_CHECKING:
    from planner.model.facts import ModelFacts


@lru_cache(maxsize=256)
def stage_ranges(num_layers: int, pp: int) -> tuple[range, ...]:
    """Layer indices of each stage (vllm/distributed/utils.py get_pp_indices).

    Layers that do not divide go one each to the stages before the last, from the back; the last never gets one.
    """
    sizes = [num_layers // pp] * pp
    for extra in range(2, num_layers % pp + 2):
        sizes[-extra] += 1
    starts = [sum(sizes[:stage]) for stage in range(pp)]
    return tuple(range(start, start + size) for start, size in zip(starts, sizes, strict=True))


@lru_cache(maxsize=256)
def stage_runs(facts: ModelFacts, pp: int) -> tuple[tuple[LayerRun, ...], ...]:
    """The runs of layers that each stage holds, in order, cut where a stage ends."""
    return tuple(_cut(facts.layers, layers) for layers in stage_ranges(facts.num_hidden_layers, pp))


def _cut(runs: tuple[LayerRun, ...], layers: range) -> tuple[LayerRun, ...]:
    kept = []
    start = 0
    for run in runs:
        shared = min(start + run.count, layers.stop) - max(start, layers.start)
        if shared > 0:
            kept.append(LayerRun(run.layer, shared))
        start += run.count
    return tuple(kept)


@lru_cache(maxsize=256)
def first_alike(facts: ModelFacts, pp: int) -> tuple[int, ...]:
    """For each stage the first one that holds the same kinds of layers; the two ends are like themselves alone."""
    first: dict[tuple[object, ...], int] = {}
    return tuple(
        first.setdefault((stage == 0, stage == pp - 1, *dict.fromkeys(run.layer for run in runs)), stage)
        for stage, runs in enumerate(stage_runs(facts, pp))
    )
