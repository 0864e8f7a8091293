"""The report of `gpuplan bench`: the table of its loads and what they look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.bench.point import offline_cells, online_cells
from planner.report.benched_charts import gpus_figure, latency_figure, load_figure
from planner.report.fill import write_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from planner.bench.point import Point


def write_bench_report(points: Sequence[Point], source: str, path: Path) -> None:
    """``points`` as a page at ``path``; ``source`` is the spec or URL. SpecError without the charting library."""
    local = any(point.num_gpus for point in points)
    figures = {"speed": gpus_figure(points) if local else load_figure(points)}
    if not local and any(point.ttft_ms for point in points):
        figures["latency"] = latency_figure(points)
    header, *rows = offline_cells(points) if local else online_cells(points)
    errors = [(point.load, words) for point in points for words in point.errors]
    values = {"title": points[0].model, "source": source, "points": points, "header": header, "rows": rows}
    write_page(path, "benched.html.j2", figures, {**values, "errors": errors, "figures": list(figures), "local": local})
