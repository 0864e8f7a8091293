"""Write a report: Jinja with autoescaping, the charting library inlined, every value data and never code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from planner import __version__
from planner.comparison import Row, compare
from planner.cost import HOURS_PER_MONTH
from planner.errors import SpecError
from planner.explain.figures import HOURS_PER_DAY, count, gib, milliseconds, speed, usd
from planner.explain.misses import group_misses
from planner.report.charts import memory_bytes, memory_figure, option_label, price_figure
from planner.templates import template_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template_folder() / "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "gib": gib,
        "usd": usd,
        "count": count,
        "speed": speed,
        "milliseconds": milliseconds,
        "label": option_label,
        "memory_bytes": memory_bytes,
        "misses": lambda plan: group_misses(plan.rejections),
    }
    page = environment.get_template("page.html.j2").render(
        title=title,
        plans=plans,
        rows=rows,
        hints=hints,
        version=__version__,
        hours_per_day=HOURS_PER_DAY,
        hours_per_month=HOURS_PER_MONTH,
        plotly_source=_plotly_source(),
        figures_json=_json_for_script({"memory": memory_figure(rows[:MEMORY_ROWS]), "price": price_figure(rows)}),
    )
    path.write_text(page, encoding="utf-8")


def _plotly_source() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        missing = "--html: the charts need plotly, which is not installed: pip install 'gpuplan[report]'"
        raise SpecError([missing]) from None
    source: str = get_plotlyjs()
    return source.replace("</script", "<\\/script")


def _json_for_script(value: Any) -> str:
    """JSON that cannot end the script element that holds it."""
    text = json.dumps(value, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
