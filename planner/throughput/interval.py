"""How sure a prediction is: half the width of its 90 % interval, as a logarithm.

Widths are the 90th percentiles of |log(predicted / measured)| over series and GPUs left out of the fit
(benchmarks/throughput_accuracy.py); independent doubts add as squares.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.candidates import Candidate
    from planner.throughput.load import Speed
    from planner.throughput.terms import Terms
    from planner.throughput.work import Work

# GPUs of which some row was fitted on.
MEASURED_GPUS = frozenset(
    {
        "A10",
        "A100-40GB",
        "A100-80GB",
        "A40",
        "A6000",
        "A800-80GB",
        "B200",
        "B300",
        "H100",
        "H100-PCIe",
        "H20-141GB",
        "H200",
        "L4",
        "MI300X",
        "RTX-3090",
        "RTX-4090",
        "RTX-4090D",
        "RTX-5090",
        "RTX-6000-Ada",
        "V100S-32GB",
    }
)
MEASURED = 0.14  # the rest of what differs between two machines and two ways to measure
UNMEASURED_GPU = 0.18
CARD = 0.25  # PCIe cards: power limits, clocks and hosts differ more than among NVLink boards
CARDS_TOGETHER = 0.12  # tensor parallelism over PCIe
STARVED = 0.30  # the KV cache bounds the batch: evictions are not modelled
PACKED = 0.25  # integers of 4 or 8 bits unpacked on the way: kernels differ by version and shape
EXPERTS = 0.08
OTHER_MIXERS = 0.20  # states and latent attention: no row shows them
HOST_BOUND = 0.12  # more than half of a step is the host's, and hosts differ
AMD = 0.35
HALF = 0.5


def half_width(candidate: Candidate, work: Work, terms: Terms, speed: Speed) -> float:
    """Natural logarithm of high / predicted, and of predicted / low."""
    return sqrt(sum(doubt * doubt for doubt in _doubts(candidate, work, terms, speed)))


def around(rate: float, width: float) -> tuple[float, float]:
    """Low and high."""
    return rate / exp(width), rate * exp(width)


def _doubts(candidate: Candidate, work: Work, terms: Terms, speed: Speed) -> Iterator[float]:
    gpu = candidate.gpu
    yield MEASURED
    if gpu.name not in MEASURED_GPUS:
        yield UNMEASURED_GPU
    if gpu.link == "pcie":
        yield CARD
        if candidate.tensor_parallel_size > 1:
            yield CARDS_TOGETHER
    if speed.starved:
        yield STARVED
    if any(part.format in {"int4_weight", "int8_weight"} for part in work.matrices):
        yield PACKED
    if work.experts:
        yield EXPERTS
    if any(cache.state_elements or not cache.kv_heads for cache in work.caches):
        yield OTHER_MIXERS
    if terms.step_s + terms.sequence_s * speed.batch > HALF * speed.tpot_s:
        yield HOST_BOUND
    if gpu.vendor == "amd":
        yield AMD
