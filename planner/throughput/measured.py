"""Measured beats modelled: which measurements speak for a configuration under a load, and how much."""

from __future__ import annotations

import re
from math import exp, log
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from planner.model.quantization import engine_quantization

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.measurements import Measurement
    from planner.model.facts import ModelFacts
    from planner.workload import Workload

SAME_LENGTH = 0.05  # lengths that differ by less are one load
MACHINES = 0.06  # log half-width of 90 %: what one configuration differs by between hosts
LEAST_NARROWED = 0.08
OTHER_VERSION = 0.75  # of the width, where only another engine version was measured
OTHER_KIND = 0.2  # a burst speaks a little less of a steady load
REACH = 1.5  # distance in loads (natural logarithms, see distance) at which a measurement says 1 / e as much


class Witness(Struct, frozen=True):
    """The measurement that says most about a load. ``weight``: 1 for the load itself, less the further away."""

    row: Measurement
    same_load: bool
    same_version: bool
    weight: float


def rows_of(measurements: Iterable[Measurement], repo: str) -> tuple[Measurement, ...]:
    """The speeds measured of one model, whole and with its own routing."""
    return tuple(
        row
        for row in measurements
        if row.output_tokens_per_second
        and row.model.lower() == repo.lower()
        and not row.overrides
        and row.representative
    )


def find_witness(
    rows: Sequence[Measurement], facts: ModelFacts, candidate: Candidate, engine: EngineConfig, workload: Workload
) -> Witness | None:
    """The nearest row of the same model, GPUs, split and formats; the engine's own version before others."""
    best: tuple[bool, float, int] | None = None
    version = ".".join(map(str, engine.version))
    chosen = None
    for index, row in enumerate(rows):
        if not _same_setup(row, facts, candidate, engine):
            continue
        apart = distance(row, engine, workload)
        rank = (row.engine_version != version, apart, -index)  # of equals the last, the most specific file's
        if best is None or rank < best:
            best, chosen = rank, row
    if chosen is None or best is None:
        return None
    return Witness(chosen, best[1] == 0, not best[0], exp(-best[1] / REACH))


def load_of(row: Measurement, workload: Workload) -> Workload:
    """The load that a row was measured under, in the shape of ``workload``."""
    return replace(
        workload,
        concurrency=row.concurrency or row.requests or workload.concurrency,
        input_tokens=row.input_tokens or workload.input_tokens,
        output_tokens=row.output_tokens or workload.output_tokens,
        requests=row.requests,
        output_tokens_max=None,
    )


def limits_of(row: Measurement, engine: EngineConfig) -> EngineConfig:
    """``engine`` with the limits of a step that a row was measured with."""
    return replace(engine, max_num_seqs=row.max_num_seqs, max_num_batched_tokens=row.max_num_batched_tokens)


def distance(row: Measurement, engine: EngineConfig, workload: Workload) -> float:
    """How far apart two loads are: sum of the logarithms of batch, budget and lengths; 0 for the same one.

    Budgets of tokens for a step differ however near they are: with another one the engine was another.
    """
    kind = OTHER_KIND if (row.requests is None) != (workload.requests is None) else 0.0
    asked = workload.requests or workload.concurrency
    measured = row.requests or row.concurrency or asked
    batches = _apart(min(asked, engine.max_num_seqs), min(measured, row.max_num_seqs))
    waves = _apart(asked, measured) if workload.requests else 0.0
    budgets = abs(log(engine.max_num_batched_tokens / row.max_num_batched_tokens))
    prompts = _apart(workload.input_tokens, row.input_tokens or workload.input_tokens)
    answers = _apart(workload.output_tokens, row.output_tokens or workload.output_tokens)
    return kind + batches + (waves + budgets) / 4 + (prompts + answers) / 2


def _apart(left: float, right: float) -> float:
    apart = abs(log(left / right))
    return 0.0 if apart <= SAME_LENGTH else apart


def _same_setup(row: Measurement, facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> bool:
    return (
        row.gpu == candidate.gpu.name
        and row.count == candidate.count
        and row.tensor_parallel_size == candidate.tensor_parallel_size
        and row.pipeline_parallel_size == candidate.pipeline_parallel_size
        and row.dtype.removeprefix("torch.") == engine.dtype
        and row.enforce_eager == engine.enforce_eager
        and row.enable_expert_parallel == engine.enable_expert_parallel
        and _narrow(row.kv_cache_dtype) == _narrow(engine.kv_cache_dtype)
        and _flags(row.flags) == _flags(engine.extra_args)
        and _same_quantization(row.quantization, facts, engine)
    )


# Flags that a measurement may differ in: they change what is said, not how fast.
WORDS_ONLY = r".*(-parser|-plugin|log-.*|-log|template.*|-name|-config-path|key|seed|tool-choice)"


def _flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags that may change speed, by their names with dashes."""
    named = {name.replace("_", "-"): value for name, value in flags.items()} if flags else {}
    return {name: value for name, value in named.items() if not re.fullmatch(WORDS_ONLY, name)}


def _narrow(kv_cache_dtype: str) -> bool:
    return kv_cache_dtype.startswith(("fp8", "int8", "nvfp4"))


def _same_quantization(measured: str | None, facts: ModelFacts, engine: EngineConfig) -> bool:
    """vLLM renames a checkpoint's method between versions (awq, awq_marlin, auto_awq); online ones keep their name."""
    if engine.quantization:
        return measured == engine.quantization
    return bool(measured) == bool(engine_quantization(facts, None).method)
