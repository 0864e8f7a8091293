"""The two charts of a report as plotly figures: memory of each GPU, and price against speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.explain.figures import GIB_BYTES, gib, gpus, milliseconds, speed, usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.comparison import Row
    from planner.plan import Option

# Okabe-Ito, told apart by colour-blind readers, readable on white and on black.
MEMORY_PARTS = (
    ("weights", "#0072B2"),
    ("KV cache", "#009E73"),
    ("activations", "#E69F00"),
    ("CUDA graphs", "#CC79A7"),
    ("other", "#999999"),
    ("headroom", "rgba(128,128,128,0.25)"),
)
LAYOUT: dict[str, Any] = {
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
    "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "traceorder": "normal", "font": {"size": 11}},
    "font": {"family": "system-ui, sans-serif"},
}
AXIS = {"automargin": True, "gridcolor": "rgba(128,128,128,0.3)", "zerolinecolor": "rgba(128,128,128,0.5)"}


def memory_bytes(option: Option) -> dict[str, int]:
    """Bytes of one GPU by what they hold; headroom is what vLLM does not take."""
    memory = option.memory
    return {
        "weights": memory.model_loading_bytes,
        "KV cache": memory.available_kv_bytes,
        "activations": memory.peak_activation_bytes,
        "CUDA graphs": memory.cuda_graph_bytes,
        "other": memory.non_torch_bytes,
        "headroom": memory.total_bytes - memory.requested_bytes,
    }


def memory_figure(rows: Sequence[Row]) -> dict[str, Any]:
    """Horizontal stacked bars, one per option, GiB of each GPU."""
    labels = row_labels(rows)
    parts = [memory_bytes(row.option) for row in rows]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": labels,
                "x": [part[name] / GIB_BYTES for part in parts],
                "customdata": [gib(part[name]) for part in parts],
                "hovertemplate": f"%{{y}}<br>{name}: %{{customdata}}<extra></extra>",
                "marker": {"color": colour},
            }
            for name, colour in MEMORY_PARTS
        ],
        "layout": LAYOUT
        | {
            "barmode": "stack",
            "height": 90 + 34 * len(rows),
            "xaxis": AXIS | {"title": {"text": "GiB of each GPU"}},
            "yaxis": AXIS | {"autorange": "reversed"},
        },
    }


def price_figure(rows: Sequence[Row]) -> dict[str, Any]:
    """A dot per option, coloured by GPU; the Pareto front as a line."""
    names = list(dict.fromkeys(row.option.candidate.sold_as for row in rows))
    several = len({row.name for row in rows}) > 1
    traces = [
        _gpu_trace(name, [row for row in rows if row.option.candidate.sold_as == name], several) for name in names
    ]
    front = _fronts(rows)
    traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "front",
            "x": [price for price, _ in front],
            "y": [tokens for _, tokens in front],
            "connectgaps": False,
            "showlegend": False,
            "line": {"dash": "dot", "width": 1, "color": "#888888"},
            "hoverinfo": "skip",
        }
    )
    return {
        "data": traces,
        "layout": LAYOUT
        | {
            "height": 440,
            "hovermode": "closest",
            "xaxis": AXIS | {"title": {"text": "dollars per hour"}, "rangemode": "tozero", "tickprefix": "$"},
            "yaxis": AXIS | {"title": {"text": "output tokens per second"}, "rangemode": "tozero"},
        },
    }


def _fronts(rows: Sequence[Row]) -> list[tuple[float | None, float | None]]:
    """The Pareto front of each spec, cheapest first, with a gap between two."""
    points: list[tuple[float | None, float | None]] = []
    for name in dict.fromkeys(row.name for row in rows):
        points += sorted(_point(row) for row in rows if row.on_front and row.name == name)
        points.append((None, None))
    return points[:-1]


def _gpu_trace(name: str, rows: Sequence[Row], several: bool) -> dict[str, Any]:
    points = [_point(row) for row in rows]
    speeds = [row.option.throughput for row in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [price for price, _ in points],
        "y": [tokens for _, tokens in points],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [one.high - one.output_tokens_per_second for one in speeds],
            "arrayminus": [one.output_tokens_per_second - one.low for one in speeds],
            "thickness": 0.6,
            "width": 2,
        },
        "marker": {"size": [6 + 2 * row.option.candidate.count for row in rows]},
        "text": [_hover(label, row.option) for label, row in zip(row_labels(rows, several), rows, strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _hover(label: str, option: Option) -> str:
    speeds = option.throughput
    return "<br>".join(
        (
            f"<b>{label}</b>",
            f"{usd(option.cost.usd_per_hour)}/h, {usd(option.cost.usd_per_million_output_tokens)}/M output tokens",
            f"{speed(speeds.output_tokens_per_second)} tok/s"
            f" ({speed(speeds.low)} to {speed(speeds.high)}, {speeds.provenance})",
            f"first token {milliseconds(speeds.ttft_ms)}, then {milliseconds(speeds.tpot_ms)} each",
            f"KV cache {option.kv_cache.tokens:,} tokens",
        )
    )


def row_labels(rows: Sequence[Row], several: bool | None = None) -> list[str]:
    """One for each row, with its spec's name where there are several specs: equal labels would share one bar."""
    named = len({row.name for row in rows}) > 1 if several is None else several
    return [f"{row.name}: {option_label(row.option)}" if named else option_label(row.option) for row in rows]


def option_label(option: Option) -> str:
    """2×A100-80GB TP 2."""
    candidate = option.candidate
    stages = f" PP {candidate.pipeline_parallel_size}" if candidate.pipeline_parallel_size > 1 else ""
    return f"{gpus(candidate.sold_as, candidate.count)} TP {candidate.tensor_parallel_size}{stages}"


def _point(row: Row) -> tuple[float, float]:
    return float(row.option.cost.usd_per_hour), row.option.throughput.output_tokens_per_second
