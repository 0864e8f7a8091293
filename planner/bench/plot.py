"""The points as a picture: bars for numbers of GPUs, a curve for a sweep. matplotlib is in the extra `plots`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from planner.bench.point import Point

KINDS = (".png", ".svg", ".pdf")


def write_plot(points: Sequence[Point], path: Path) -> None:
    """Write a picture in the format that the name says. Raises SpecError for another format or without matplotlib."""
    if path.suffix not in KINDS:
        raise SpecError([f"--plot: {path}: not a picture. Type a name that ends in {', '.join(KINDS)}."])
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SpecError(["--plot: matplotlib is not installed. Type pip install 'gpuplan[plots]'."]) from error
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    if any(point.num_gpus for point in points):
        _bars(figure, points)
    else:
        _curve(figure, points)
    figure.savefig(path)


def _bars(figure: Any, points: Sequence[Point]) -> None:
    """Tokens per second for each number of GPUs, with the spread of the runs."""
    axes = figure.subplots()
    names = [f"{point.num_gpus}×{point.gpu}" for point in points]
    spread = [point.output_tokens_per_second_stdev or 0.0 for point in points]
    bars = axes.bar(names, [point.output_tokens_per_second for point in points], yerr=spread, capsize=4, width=0.6)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set_ylabel("output tokens per second")
    axes.set_title(f"{points[0].model}, {points[0].load}")
    axes.spines[["top", "right"]].set_visible(False)


def _curve(figure: Any, points: Sequence[Point]) -> None:
    """Tokens per second and time to the first token over the loads."""
    speed_axes, latency_axes = figure.subplots(1, 2)
    loads = [point.load for point in points]
    speed_axes.plot(loads, [point.output_tokens_per_second for point in points], marker="o")
    speed_axes.set_ylabel("output tokens per second")
    for name, label in (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT")):
        found = [(point.load, getattr(point, name).p99) for point in points if getattr(point, name)]
        if found:
            latency_axes.plot(*zip(*found, strict=True), marker="o", label=f"{label} p99")
    latency_axes.set_ylabel("ms")
    latency_axes.legend()
    figure.suptitle(points[0].model)
