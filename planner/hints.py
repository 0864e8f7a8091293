"""Hints: what one changed key would save or make possible, found by planning again with that key changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from planner.cost import Hour
from planner.make_plan import find_cheapest
from planner.throughput.measured import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from planner.catalog import Catalog
    from planner.measurements import Measurement
    from planner.plan import Option, Plan
    from planner.spec import Spec


class Hint(Struct, frozen=True):
    """``key: value`` would choose ``count`` x ``gpu``; ``usd_per_hour_saved`` is None where nothing fits today."""

    key: str
    value: str
    gpu: str
    count: int
    usd_per_hour_saved: float | None
    sentence: str


class Change(Struct, frozen=True):
    """One key of the spec set to another value."""

    section: str
    key: str
    value: Any

    @property
    def path(self) -> str:
        return f"{self.section}.{self.key}"

    def applied_to(self, spec: Spec) -> Spec:
        section = replace(getattr(spec, self.section), **{self.key: self.value})
        return replace(spec, **{self.section: section})


def find_hints(plan: Plan, catalog: Catalog, *, measurements: Sequence[Measurement] = ()) -> tuple[Hint, ...]:
    """The changes that make the plan cheaper by at least one percent, or possible at all; most saved first."""
    hints = []
    dearest = plan.chosen.cost.usd_per_hour if plan.chosen else None
    seen = rows_of(measurements, plan.checkpoint.repo)
    hours = hours_of(plan.options)  # no change below changes a price
    for change in _changes(plan):
        spec = change.applied_to(plan.spec)
        other = find_cheapest(spec, plan.facts, catalog, seen=seen, below_usd_per_hour=dearest, hours=hours)
        if other and (hint := _hint(change, plan.chosen, other)):
            hints.append(hint)
    return tuple(sorted(hints, key=lambda hint: -(hint.usd_per_hour_saved or 0)))


def hours_of(options: Sequence[Option]) -> dict[tuple[str, int], Hour]:
    """What an hour costs by GPU as sold and count."""
    return {
        (option.candidate.sold_as, option.candidate.count): Hour(
            option.cost.lines, option.cost.gpu_usd_per_hour, option.cost.usd_per_hour
        )
        for option in options
    }


LEAST_SAVING = 0.01  # of the price per hour; below that a hint is noise


def _hint(change: Change, chosen: Option | None, other: Option) -> Hint | None:
    candidate = other.candidate
    value = _written(change.value)
    changed = f"{change.path}: {value}" if change.value is not None else f"without {change.path} it"
    would = f"{changed} would fit on {candidate.count}×{candidate.sold_as}"
    if chosen is None:
        sentence = f"{would} at ${other.cost.usd_per_hour:.2f}/h."
        return Hint(change.path, value, candidate.sold_as, candidate.count, None, sentence)
    saved: Decimal = chosen.cost.usd_per_hour - other.cost.usd_per_hour
    if float(saved) < LEAST_SAVING * float(chosen.cost.usd_per_hour):
        return None
    sentence = f"{would} and save ${saved:.2f}/h."
    return Hint(change.path, value, candidate.sold_as, candidate.count, float(saved), sentence)


def _changes(plan: Plan) -> Iterator[Change]:
    """The knobs worth trying: formats first, then context, then what the spec itself closed off."""
    spec = plan.spec
    if spec.model.quantization == "auto" and not plan.facts.quantization:
        yield Change("model", "quantization", "fp8")
    if spec.engine.kv_cache_dtype == "auto":
        yield Change("engine", "kv_cache_dtype", "fp8")
    if isinstance(tokens := spec.engine.max_model_len or plan.facts.max_model_len, int):
        limit = plan.facts.max_model_len
        shorter = limit if tokens > limit else max(tokens // 2, plan.workload.request_tokens)
        if shorter < tokens:
            yield Change("engine", "max_model_len", shorter)
    if spec.gpu.types is not None:
        yield Change("gpu", "types", None)
    if spec.gpu.counts is not None:
        yield Change("gpu", "counts", None)
    if spec.gpu.tensor_parallel_size is not None:
        yield Change("gpu", "tensor_parallel_size", None)
    if spec.gpu.pipeline_parallel_size is not None:
        yield Change("gpu", "pipeline_parallel_size", None)


def _written(value: Any) -> str:
    """The value as YAML; None means that the key is left out."""
    return "(left out)" if value is None else str(value)
