"""A bench as plotly figures: bars for numbers of GPUs, curves for the loads on an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.explain.figures import speed
from planner.report.charts import AXIS, LAYOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.bench.point import Point

PERCENTILES = (("p50", "solid"), ("p99", "dot"))
LATENCIES = (("ttft_ms", "first token", "#0072B2"), ("tpot_ms", "each further token", "#E69F00"))


def gpus_figure(points: Sequence[Point]) -> dict[str, Any]:
    """Tokens per second for each number of GPUs, with the spread of the runs."""
    rates = [point.output_tokens_per_second for point in points]
    bars = {
        "type": "bar",
        "x": [f"{point.num_gpus}×{point.gpu}" for point in points],
        "y": rates,
        "text": [speed(rate) for rate in rates],
        "textposition": "inside",
        "insidetextanchor": "start",
        "error_y": {
            "type": "data",
            "array": [point.output_tokens_per_second_stdev or 0.0 for point in points],
            "color": "#888888",
        },
        "marker": {"color": "#0072B2"},
        "hoverinfo": "skip",
        "width": 0.5,
    }
    return {"data": [bars], "layout": _layout("output tokens per second", "") | {"showlegend": False}}


def load_figure(points: Sequence[Point]) -> dict[str, Any]:
    """Tokens per second over the loads, and, where limits were given, the answers a second that keep them."""
    loads = [point.load for point in points]
    rates = [point.output_tokens_per_second for point in points]
    curve = _curve("output tokens per second", loads, rates, "#0072B2", "solid")
    return {"data": [curve], "layout": _layout("output tokens per second", "load") | {"showlegend": False}}


def latency_figure(points: Sequence[Point]) -> dict[str, Any]:
    """Percentiles of the times to the first and to each further token."""
    curves = []
    for name, label, colour in LATENCIES:
        found = [(point.load, getattr(point, name)) for point in points if getattr(point, name)]
        curves += [
            _curve(
                f"{label}, {part}", [load for load, _ in found], [getattr(one, part) for _, one in found], colour, dash
            )
            for part, dash in PERCENTILES
        ]
    layout = _layout("milliseconds", "load")
    axis = layout["yaxis"] | {"type": "log", "dtick": "D2", "rangemode": "normal"}
    return {"data": curves, "layout": layout | {"yaxis": axis}}


def _curve(name: str, loads: list[str], values: list[float], colour: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": loads,
        "y": values,
        "line": {"color": colour, "dash": dash},
    }


def _layout(vertical: str, horizontal: str) -> dict[str, Any]:
    return LAYOUT | {
        "height": 380,
        "xaxis": AXIS | {"title": {"text": horizontal}, "type": "category"},
        "yaxis": AXIS | {"title": {"text": vertical}, "rangemode": "tozero"},
    }
