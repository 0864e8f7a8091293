"""The report of `gpuplan measure`: plan and engine side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from planner.explain.measure import figure_cells, load_words, phases, title
from planner.measure.compare import compare_rows
from planner.report.fill import write_page
from planner.report.measured_charts import beside_figure, memory_parts, speed_figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from planner.measurements import Measurement
    from planner.plan import Option
    from planner.rejection import Rejection


class Beside(Struct, frozen=True):
    """One configuration that was started, and the plan's verdict: exactly one of ``option`` and ``rejection``."""

    option: Option | None
    rejection: Rejection | None
    rows: tuple[Measurement, ...]  # the start, then its loads

    @property
    def start(self) -> Measurement:
        return self.rows[0]

    @property
    def load(self) -> Measurement | None:
        """The planned load, where it was run."""
        return next((row for row in self.rows[1:] if row.is_speed), None)

    @property
    def option_measured(self) -> Option | None:
        """The option where the engine started, so that there are two sides to compare."""
        return self.option if self.start.started else None


def write_measure_report(model: str, measured: Sequence[Beside], path: Path) -> None:
    """Everything that `gpuplan measure` started, as a page at ``path``. SpecError without the charting library."""
    write_page(
        path,
        "measured.html.j2",
        _figures(measured),
        {"title": model, "measured": list(enumerate(measured))},
        {
            "configuration": title,
            "phases": phases,
            "load": load_words,
            "cells": lambda one: [figure_cells(figure) for figure in compare_rows(one.option, one.rows)],
            "parts": lambda one: memory_parts(one.option, one.start),
        },
    )


def _figures(measured: Sequence[Beside]) -> dict[str, object]:
    found: dict[str, object] = {}
    for index, one in enumerate(measured):
        if option := one.option_measured:
            found[f"memory-{index}"] = beside_figure(option, one.start)
            if load := one.load:
                found[f"speed-{index}"] = speed_figure(option, load)
    return found
