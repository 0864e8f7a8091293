"""A comparison as a table of 80 columns, as CSV, and as JSON rows."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from planner.explain.figures import count, gpus, milliseconds, speed, usd
from planner.explain.grid import grid
from planner.explain.json import option_document, rejection_document
from planner.explain.lines import Line
from planner.explain.text import rejection_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.comparison import Row
    from planner.plan import Plan

SCHEMA_VERSION = 1
NAME_COLUMNS = 15
WIDTH = 80
HEADER = ("GPUs", "TP×PP", "$/h", "$/M tok", "tok/s", "range", "TTFT", "TPOT", "conc.")
LEFT = frozenset({0, 1})
WIDE = {HEADER.index("range"), HEADER.index("conc.")}  # give way to the spec's name in a terminal of 80 columns
LEGEND = "* nothing else is both cheaper and faster.  $/M tok: output tokens."
LEGEND_OF_WIDE = "  conc.: requests of max_model_len that the KV cache holds at once."


def explain_comparison(
    plans: Sequence[Plan], rows: Sequence[Row], *, show_rejected: bool = False, width: int = WIDTH
) -> list[Line]:
    """One row per valid configuration; a heading per spec where there are several.

    In less than some 100 columns, several specs' rows do without the interval and the concurrency.
    """
    several = len(plans) > 1
    lines: list[Line] = []
    if rows:
        title, *texts = (
            _side_by_side(rows, width) if several else grid(("", *HEADER), [_cells(row) for row in rows], LEFT, "")
        )
        lines = [Line(title, "title"), *map(Line, texts), Line(""), Line(LEGEND, "dim")]
        if "conc." in title:
            lines.append(Line(LEGEND_OF_WIDE, "dim"))
    for plan in plans:
        if show_rejected and plan.rejections:
            lines += [Line(""), *([Line(plan.spec.name, "title")] if several else []), *rejection_lines(plan)]
        elif not plan.options:
            lines += [Line(f"{plan.spec.name}: no valid configuration; --all shows why.", "warn")]
    return lines


def _side_by_side(rows: Sequence[Row], width: int) -> list[str]:
    """Each row with its spec's name, which gives way where a table does not fit even so."""
    cells = [(f"{_mark(row)}{row.name[:NAME_COLUMNS]}", *_cells(row)[1:]) for row in rows]
    texts = grid(("spec", *HEADER), cells, LEFT, "")
    if max(map(len, texts)) <= width:
        return texts
    header = ("spec", *_narrowed(HEADER))
    cells = [(name, *_narrowed(tuple(rest))) for name, *rest in cells]
    texts = grid(header, cells, LEFT, "")
    if (over := max(map(len, texts)) - width) > 0:
        names = max(len(name) for name, *_ in cells) - over
        texts = grid(header, [(name[:names], *rest) for name, *rest in cells], LEFT, "")
    return texts


def _mark(row: Row) -> str:
    return "*" if row.on_front else " "


def _cells(row: Row) -> tuple[str, ...]:
    option = row.option
    candidate, speeds = option.candidate, option.throughput
    return (
        _mark(row),
        gpus(candidate.sold_as, candidate.count),
        f"{candidate.tensor_parallel_size}×{candidate.pipeline_parallel_size}",
        usd(option.cost.usd_per_hour),
        usd(option.cost.usd_per_million_output_tokens),
        speed(speeds.output_tokens_per_second),
        f"{speed(speeds.low)}-{speed(speeds.high)}",
        milliseconds(speeds.ttft_ms),
        milliseconds(speeds.tpot_ms),
        _requests(option.kv_cache.max_concurrency),
    )


def _narrowed(cells: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(cell for column, cell in enumerate(cells) if column not in WIDE)


def _requests(number: float) -> str:
    return count(number) if number >= 10 else f"{number:.1f}"


def comparison_document(plans: Sequence[Plan], rows: Sequence[Row], *, show_rejected: bool) -> dict[str, Any]:
    """The comparison as plain values."""
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "rows": [{"spec": row.name, "pareto": row.on_front, **option_document(row.option)} for row in rows],
        "prices_as_of": plans[0].prices_as_of.isoformat() if plans and plans[0].prices_as_of else None,
        "warnings": list(dict.fromkeys(warning for plan in plans for warning in plan.warnings)),
    }
    if show_rejected:
        document["rejected"] = [
            {"spec": plan.spec.name, **rejection_document(rejection)} for plan in plans for rejection in plan.rejections
        ]
    return document


def comparison_csv(rows: Sequence[Row]) -> str:
    """One line per valid configuration, full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        candidate, cost, speeds = row.option.candidate, row.option.cost, row.option.throughput
        writer.writerow(
            (
                row.name,
                candidate.sold_as,
                candidate.count,
                candidate.tensor_parallel_size,
                candidate.pipeline_parallel_size,
                cost.usd_per_hour,
                cost.gpu_usd_per_hour,
                cost.usd_per_million_output_tokens,
                speeds.output_tokens_per_second,
                speeds.low,
                speeds.high,
                speeds.ttft_ms,
                speeds.tpot_ms,
                row.option.kv_cache.max_concurrency,
                speeds.provenance,
                row.on_front,
            )
        )
    return out.getvalue()


CSV_COLUMNS = (
    "spec",
    "gpu",
    "count",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "usd_per_hour",
    "gpu_usd_per_hour",
    "usd_per_million_output_tokens",
    "output_tokens_per_second",
    "low",
    "high",
    "ttft_ms",
    "tpot_ms",
    "max_concurrency",
    "provenance",
    "pareto",
)
