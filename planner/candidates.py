"""Candidates: every GPU type x count x split that a spec leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from planner.catalog import Gpu, Offer


@dataclass(frozen=True, slots=True)
class Candidate:
    """One GPU configuration: ``count`` GPUs of one container, split tensor_parallel_size x pipeline_parallel_size."""

    gpu: Gpu
    offer: Offer | None  # None where judged through the library without a price
    count: int
    tensor_parallel_size: int
    pipeline_parallel_size: int


def enumerate_candidates(
    offers: Iterable[tuple[Gpu, Offer]],
    counts: Iterable[int],
    tensor_parallel_size: int | None = None,
    pipeline_parallel_size: int | None = None,
) -> Iterator[Candidate]:
    """Every split of every count; pins only filter. Counts that are not sold are left to the checks."""
    counts = tuple(counts)
    for gpu, offer in offers:
        for count in counts:
            for tp in range(1, count + 1):
                if count % tp or (tensor_parallel_size or tp) != tp:
                    continue
                pp = count // tp
                if (pipeline_parallel_size or pp) == pp:
                    yield Candidate(gpu, offer, count, tp, pp)
