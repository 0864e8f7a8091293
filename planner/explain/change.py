"""What a changed spec costs, as the Markdown of a review comment."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.cost import HOURS_PER_MONTH
from planner.explain.figures import gpus, speed, usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.plan import Option, Plan


class SpecChange(Struct, frozen=True):
    """One spec file before and after; None where it does not exist (or plans nothing) on that side."""

    path: str
    before: Plan | None
    after: Plan | None


def explain_changes(changes: Sequence[SpecChange], base: str) -> str:
    """A table of what each spec chose and costs, before and after, and the sum of the differences."""
    lines = [
        f"### gpuplan: cost against `{base}`",
        "",
        "| spec | before | after | $/h | change | always on, a month | tok/s |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
        *(_row(change) for change in changes),
        "",
    ]
    total = sum((_usd_per_hour(change.after) - _usd_per_hour(change.before) for change in changes), Decimal(0))
    lines.append(f"In all: **{_signed(total)}/h** while everything runs, {_signed(total * HOURS_PER_MONTH)} a month.")
    failing = [change.path for change in changes if change.after and not change.after.chosen]
    lines += [f"**{path}: no valid configuration**; run `gpuplan plan {path}` to see why." for path in failing]
    return "\n".join(lines) + "\n"


def _row(change: SpecChange) -> str:
    before, after = _option(change.before), _option(change.after)
    difference = _usd_per_hour(change.after) - _usd_per_hour(change.before)
    cells = (
        f"`{change.path}`",
        _named(change.before),
        _named(change.after),
        usd(after.cost.usd_per_hour) if after else "–",
        _signed(difference),
        _signed(difference * HOURS_PER_MONTH),
        f"{_speed(before)} → {_speed(after)}",
    )
    return "| " + " | ".join(cells) + " |"


def _option(plan: Plan | None) -> Option | None:
    return plan.chosen if plan else None


def _usd_per_hour(plan: Plan | None) -> Decimal:
    option = _option(plan)
    return option.cost.usd_per_hour if option else Decimal(0)


def _named(plan: Plan | None) -> str:
    if plan is None:
        return "–"
    if plan.chosen is None:
        return "nothing fits"
    candidate = plan.chosen.candidate
    return f"{gpus(candidate.sold_as, candidate.count)} TP {candidate.tensor_parallel_size}"


def _speed(option: Option | None) -> str:
    return speed(option.throughput.output_tokens_per_second) if option else "–"


def _signed(amount: Decimal) -> str:
    sign = "+" if amount > 0 else "−" if amount < 0 else "±"
    return sign + usd(abs(amount))
