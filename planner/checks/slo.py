"""slo and budget: what is promised and what may be spent, judged on the finished numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.checks.refusal import Refusal

if TYPE_CHECKING:
    from planner.cost import Cost
    from planner.spec.schema import BudgetSpec, SloSpec
    from planner.throughput import Throughput

NAMES = {"ttft_ms": "first token", "tpot_ms": "each further token"}


def check_slo(slo: SloSpec | None, throughput: Throughput) -> Refusal | None:
    """The mean latencies against the promised ones, every miss in words.

    ``needed`` is what the load takes and ``available`` the promise, of the one missed furthest.
    """
    if slo is None:
        return None
    pairs = [(key, getattr(slo, key), getattr(throughput, key)) for key in NAMES]
    missed = [
        (takes / promised, key, promised, takes) for key, promised, takes in pairs if promised and takes > promised
    ]
    if not missed:
        return None
    words = [
        f"{NAMES[key]} after {takes:,.1f} ms on average, slo.{key} allows {said:,g} ms"
        for _, key, said, takes in missed
    ]
    _, _, promised, takes = max(missed)
    return Refusal("slo", f"{'; '.join(words)}.", needed=takes, available=promised)


def check_budget(budget: BudgetSpec | None, cost: Cost) -> Refusal | None:
    """Dollars per hour of one container: all its lines against budget.max_usd_per_hour."""
    limit = budget.max_usd_per_hour if budget else None
    if limit is None or cost.usd_per_hour <= limit:
        return None
    reason = f"${cost.usd_per_hour:,.2f} an hour, budget.max_usd_per_hour allows ${limit:,.2f}."
    return Refusal("budget", reason, needed=float(cost.usd_per_hour), available=float(limit))
