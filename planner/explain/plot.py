"""Price against speed in the terminal, drawn by plotille: every valid option a dot, the Pareto front a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.comparison import Row

CANVAS_COLUMNS = 56  # plotille adds its axis labels; together they stay within 80
CANVAS_ROWS = 14


def plot_comparison(rows: Sequence[Row]) -> str:
    """Dollars per hour to the right, tokens per second upwards."""
    import plotille

    figure = plotille.Figure()
    figure.width, figure.height = CANVAS_COLUMNS, CANVAS_ROWS
    figure.x_label, figure.y_label = "$/h", "tok/s"
    figure.color_mode = "names"
    figure.with_colors = False
    highest_usd, highest_speed = (max(column) for column in zip(*map(_point, rows), strict=True))
    figure.set_x_limits(min_=0, max_=(highest_usd or 1) * 1.05)  # one's own GPUs cost nothing per hour
    figure.set_y_limits(min_=0, max_=highest_speed * 1.05)
    figure.x_ticks_fkt = lambda value, _: f"{value:.2f}"
    figure.y_ticks_fkt = lambda value, _: f"{value:,.0f}"
    figure.scatter(*zip(*map(_point, rows), strict=True), marker="·")
    front = sorted(_point(row) for row in rows if row.on_front)
    if front:
        figure.scatter(*zip(*front, strict=True), marker="●")
    return "\n".join(line.rstrip() for line in figure.show().splitlines()) + "\n● nothing is both cheaper and faster"


def _point(row: Row) -> tuple[float, float]:
    return float(row.option.cost.usd_per_hour), row.option.throughput.output_tokens_per_second
