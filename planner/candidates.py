"""Candidates: every GPU type x count x split that a spec leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from planner.rejection import Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.catalog import Catalog, Gpu, Offer
    from planner.spec.schema import GpuSpec

DEFAULT_COUNTS = tuple(range(1, 9))  # GPUs per container; the largest that one host holds


class Candidate(Struct, frozen=True):
    """One GPU configuration: ``count`` GPUs of one container, split tensor_parallel_size x pipeline_parallel_size."""

    gpu: Gpu
    offer: Offer | None  # None where judged through the library without a price
    count: int
    tensor_parallel_size: int
    pipeline_parallel_size: int

    @property
    def sold_as(self) -> str:
        """The GPU's name as the spec and the provider write it."""
        return self.offer.gpu if self.offer else self.gpu.name


def enumerate_candidates(gpu_spec: GpuSpec, catalog: Catalog) -> Iterator[Candidate]:
    """Every split of every count that is sold; pins and lists only filter."""
    splits = {count: _tensor_parallel_sizes(gpu_spec, count) for count in _counts(gpu_spec)}
    for offer in _offers(gpu_spec, catalog):
        for count, sizes in splits.items():
            if count in offer.counts_sold:
                for tp in sizes:
                    yield Candidate(catalog.gpus[offer.planned_as], offer, count, tp, count // tp)


def unsold_counts(gpu_spec: GpuSpec, catalog: Catalog) -> Iterator[Rejection]:
    """One rejection for each GPU and count that the provider does not sell in one container."""
    counts = _counts(gpu_spec)
    for offer in _offers(gpu_spec, catalog):
        for count in counts:
            if count not in offer.counts_sold:
                most = max(offer.counts_sold)
                yield Rejection(
                    offer.gpu,
                    count,
                    None,
                    None,
                    "count_not_sold",
                    f"{count}×{offer.gpu} is not sold: one container has at most {most}.",
                    count,
                    most,
                )


def _offers(gpu_spec: GpuSpec, catalog: Catalog) -> list[Offer]:
    if gpu_spec.types is not None:
        return [catalog.offers[name] for name in dict.fromkeys(gpu_spec.types)]
    return [offer for offer in catalog.offers.values() if offer.listed]


def _counts(gpu_spec: GpuSpec) -> list[int]:
    counts = DEFAULT_COUNTS if gpu_spec.counts is None else sorted(set(gpu_spec.counts))
    return [count for count in counts if _tensor_parallel_sizes(gpu_spec, count)]


def _tensor_parallel_sizes(gpu_spec: GpuSpec, count: int) -> list[int]:
    """Every tp with tp x pp = count that the pins allow, smallest first."""
    return [
        tp
        for tp in range(1, count + 1)
        if count % tp == 0
        and gpu_spec.tensor_parallel_size in {None, tp}
        and gpu_spec.pipeline_parallel_size in {None, count // tp}
    ]
