"""Plan and engine as two bars: memory of one GPU, stacked, and the speed of the planned load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.explain.figures import GIB_BYTES, gib, speed
from planner.report.charts import AXIS, LAYOUT, MEMORY_PARTS, memory_bytes

if TYPE_CHECKING:
    from planner.measurements import Measurement
    from planner.plan import Option

SIDES = ("planned", "measured")


def memory_parts(option: Option, start: Measurement) -> dict[str, tuple[int, int | None]]:
    """Part of the memory -> bytes of one GPU (planned, measured); None where the engine did not say."""
    planned = memory_bytes(option)
    total, requested = start.total_bytes, start.requested_bytes
    measured = {
        "weights": start.model_loading_bytes,
        "KV cache": start.available_kv_bytes,
        "activations": start.peak_activation_bytes,
        "CUDA graphs": start.cuda_graph_bytes,
        "other": start.non_torch_bytes,
        "headroom": None if total is None or requested is None else total - requested,
    }
    return {name: (planned[name], measured[name]) for name, _ in MEMORY_PARTS}


def beside_figure(option: Option, start: Measurement) -> dict[str, Any]:
    """Horizontal stacked bars, the plan's above the engine's, GiB of one GPU."""
    parts = memory_parts(option, start)
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": SIDES,
                "x": [(nbytes or 0) / GIB_BYTES for nbytes in parts[name]],
                "customdata": ["not said" if nbytes is None else gib(nbytes) for nbytes in parts[name]],
                "hovertemplate": f"%{{y}}<br>{name}: %{{customdata}}<extra></extra>",
                "marker": {"color": colour},
            }
            for name, colour in MEMORY_PARTS
        ],
        "layout": _layout("GiB of each GPU") | {"barmode": "stack"},
    }


def speed_figure(option: Option, load: Measurement) -> dict[str, Any]:
    """Output tokens per second: the plan's with its interval, the engine's with the spread of its runs."""
    planned, rate = option.throughput, load.output_tokens_per_second or 0.0
    spread = load.output_tokens_per_second_stdev or 0.0
    rates = (planned.output_tokens_per_second, rate)
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": SIDES,
                "x": rates,
                "text": [speed(one) for one in rates],
                "textposition": "inside",
                "insidetextanchor": "start",
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [planned.high - planned.output_tokens_per_second, spread],
                    "arrayminus": [planned.output_tokens_per_second - planned.low, spread],
                    "color": "#888888",
                },
                "hoverinfo": "skip",
                "marker": {"color": ["#0072B2", "#009E73"]},
                "width": 0.6,
            }
        ],
        "layout": _layout("output tokens per second") | {"showlegend": False},
    }


def _layout(axis: str) -> dict[str, Any]:
    return LAYOUT | {
        "height": 190,
        "xaxis": AXIS | {"title": {"text": axis}, "rangemode": "tozero"},
        "yaxis": AXIS | {"autorange": "reversed"},
    }
