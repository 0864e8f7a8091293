"""predict: what one configuration does under one load, how sure that is, and whether it was measured."""

from __future__ import annotations

from math import exp, log, sqrt
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from planner.throughput.constants import CONSTANTS
from planner.throughput.interval import around, half_width
from planner.throughput.load import run_load
from planner.throughput.make_terms import make_terms
from planner.throughput.measured import LEAST_NARROWED, MACHINES, OTHER_VERSION, find_witness, limits_of, load_of
from planner.throughput.work import count_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.measurements import Measurement
    from planner.memory.kv_cache import KvCache
    from planner.model.facts import ModelFacts
    from planner.throughput.constants import Constants
    from planner.throughput.load import Speed
    from planner.throughput.measured import Witness
    from planner.throughput.terms import Terms
    from planner.workload import Workload

SIGMAS = 1.645  # standard deviations on each side of 90 %


class Throughput(Struct, frozen=True):
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
    terms: Terms | None = None,
) -> Throughput:
    """The speed of ``candidate`` with its low and high; its ``terms`` where they are at hand.

    ``measurements`` are rows of this model (measured.rows_of). One of the same configuration, load and engine
    version is the answer, marked measured. A near one (another load, another max_num_batched_tokens) corrects the
    model within its interval and narrows it; one of another version only narrows it.
    """
    terms = terms or make_terms(facts, candidate, engine, constants)
    speed = run_load(terms, engine, kv_cache, workload, constants)
    work = count_work(facts, engine.dtype, engine.quantization)
    width = half_width(candidate, work, terms, speed)
    witness = find_witness(measurements, facts, candidate, engine, workload) if measurements else None
    if witness is None:
        return _throughput(speed, speed.output_tokens_per_second, width, "modelled", "")
    if witness.same_load and witness.same_version:
        return _measured(speed, witness)
    row = witness.row
    then = limits_of(row, engine)
    seen = run_load(make_terms(facts, candidate, then, constants), then, kv_cache, load_of(row, workload), constants)
    return _narrowed(speed, width, witness, seen, engine.max_num_batched_tokens)


def _throughput(
    speed: Speed, rate: float, width: float, provenance: Literal["measured", "modelled"], note: str
) -> Throughput:
    """``rate`` in place of the model's; latencies follow it."""
    slower = speed.output_tokens_per_second / rate
    low, high = around(rate, width)
    return Throughput(
        output_tokens_per_second=rate,
        low=low,
        high=high,
        ttft_ms=speed.ttft_s * slower * 1000,
        tpot_ms=speed.tpot_s * slower * 1000,
        batch_size=speed.batch,
        provenance=provenance,
        note=note,
    )


def _measured(speed: Speed, witness: Witness) -> Throughput:
    row = witness.row
    rate = row.output_tokens_per_second or 0.0
    spread = (row.output_tokens_per_second_stdev or 0.0) / rate
    found = _throughput(speed, rate, max(MACHINES, SIGMAS * spread), "measured", f"measured {row.date}: {row.source}")
    return replace(
        found,
        ttft_ms=found.ttft_ms if row.ttft_ms is None else row.ttft_ms,
        tpot_ms=found.tpot_ms if row.tpot_ms is None else row.tpot_ms,
    )


def _narrowed(speed: Speed, width: float, witness: Witness, seen: Speed, budget: int) -> Throughput:
    """``seen``: the model's answer for the load that was measured; what it misses there it misses here, less far."""
    row = witness.row
    missed = log((row.output_tokens_per_second or 0.0) / seen.output_tokens_per_second)
    rate = speed.output_tokens_per_second
    if not witness.same_version:
        narrower = max(LEAST_NARROWED, width * OTHER_VERSION) if abs(missed) < width else width
        note = f"narrowed by a measurement with vLLM {row.engine_version}, another version ({row.date})"
        return _throughput(speed, rate, narrower, "modelled", note if narrower < width else "")
    corrected = rate * exp(max(-width, min(width, missed * witness.weight)))
    left = max(LEAST_NARROWED, width * sqrt(1 - witness.weight**2))
    load = f"{row.requests or row.concurrency} requests of {row.input_tokens} + {row.output_tokens} tokens"
    if row.max_num_batched_tokens != budget:
        load += f" with max_num_batched_tokens {row.max_num_batched_tokens}"
    return _throughput(
        speed, corrected, min(width, left), "modelled", f"corrected by a measurement of {load} ({row.date})"
    )
