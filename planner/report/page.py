"""The report of a plan, and of a comparison of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.comparison import Row, compare
from planner.cost import HOURS_PER_MONTH
from planner.explain.figures import HOURS_PER_DAY
from planner.explain.misses import group_misses
from planner.report.charts import memory_bytes, memory_figure, option_label, price_figure
from planner.report.fill import write_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from planner.hints import Hint
    from planner.plan import Plan

MEMORY_ROWS = 8  # options whose memory is drawn; the table has all


def write_plan_report(plan: Plan, hints: Sequence[Hint], path: Path) -> None:
    """One plan as a page at ``path``. SpecError where the charting library is missing."""
    _write(path, title=plan.spec.model.repo, plans=[plan], rows=compare([plan]), hints=hints)


def write_comparison_report(plans: Sequence[Plan], rows: Sequence[Row], path: Path) -> None:
    """A comparison of several plans as a page at ``path``."""
    title = " · ".join(plan.spec.name for plan in plans)
    _write(path, title=title, plans=plans, rows=rows, hints=())


def _write(path: Path, *, title: str, plans: Sequence[Plan], rows: Sequence[Row], hints: Sequence[Hint]) -> None:
    figures = {"memory": memory_figure(rows[:MEMORY_ROWS]), "price": price_figure(rows)} if rows else {}
    filters: dict[str, Callable[..., Any]] = {
        "label": option_label,
        "memory_bytes": memory_bytes,
        "misses": lambda plan: group_misses(plan.rejections),
    }
    values = {
        "title": title,
        "plans": plans,
        "rows": rows,
        "hints": hints,
        "drawn": MEMORY_ROWS,
        "hours_per_day": HOURS_PER_DAY,
        "hours_per_month": HOURS_PER_MONTH,
    }
    write_page(path, "page.html.j2", figures, values, filters)
