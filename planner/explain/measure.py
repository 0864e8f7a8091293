"""A measurement in words: plan and engine side by side, start-up by phase, loads. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.explain.figures import count, gib, gpus, milliseconds, speed
from planner.explain.grid import grid
from planner.explain.lines import Line
from planner.measure.compare import compare_rows
from planner.measurements import row_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.measure.compare import Figure
    from planner.measurements import Measurement
    from planner.plan import Option
    from planner.rejection import Rejection

HEADER = ("", "planned", "measured", "off by")
SMALL_BYTES = 64 * 2**20  # below this, bytes are shown as MiB
MIB = 2**20


def explain_measured(option: Option, rows: Sequence[Measurement]) -> list[Line]:
    """One configuration that the plan calls valid."""
    start, *loads = rows
    lines = [Line(f"{title(start)}: vLLM {start.engine_version} on {start.device or start.gpu}", "title")]
    if not start.started:
        lines.append(Line(f"  The engine refused to start: {start.refusal}", "warn"))
        lines.append(Line("  The plan called it valid: please report this with the plan.", "warn"))
        return lines
    lines += [Line(text) for text in grid(HEADER, [figure_cells(figure) for figure in compare_rows(option, rows)])]
    lines.append(Line("  left for KV: off by, as a share of the requested memory", "dim"))
    lines += [Line(f"  {phases(start)}", "dim"), *(Line(f"  {load_words(load)}") for load in loads)]
    if option.engine.version != _version(start.engine_version):
        planned = ".".join(map(str, option.engine.version))
        lines.append(Line(f"  Planned for vLLM {planned}: set engine.version to compare like with like.", "warn"))
    return lines


def explain_refused(rejection: Rejection, rows: Sequence[Measurement]) -> list[Line]:
    """One configuration that the plan rejects, started all the same."""
    start = rows[0]
    lines = [
        Line(f"{title(start)}: vLLM {start.engine_version} on {start.device or start.gpu}", "title"),
        Line(f"  plan    {rejection.code}: {rejection.reason}"),
    ]
    if start.started:
        lines.append(Line("  engine  it started: the plan is wrong here; please report it.", "warn"))
    else:
        lines.append(Line(f"  engine  {start.refusal}"))
    return lines


def title(row: Measurement) -> str:
    """1×H200, tensor parallel 1."""
    split = f"tensor parallel {row.tensor_parallel_size}"
    if row.pipeline_parallel_size > 1:
        split += f", pipeline parallel {row.pipeline_parallel_size}"
    return f"{gpus(row.gpu, row.count)}, {split}"


def phases(start: Measurement) -> str:
    """Start-up by phase."""
    parts = (
        ("filling weights", start.load_s),
        ("torch.compile", start.compile_s),
        ("graph capture", start.capture_s),
    )
    named = [f"{what} {seconds:.1f} s" for what, seconds in parts if seconds is not None]
    total = f"{start.start_s:.1f} s" if start.start_s is not None else "unknown"
    return f"start-up {total}" + (f", of which {', '.join(named)}" if named else "")


def load_words(load: Measurement) -> str:
    """One load's speed and spread."""
    shape = f"{load.requests} requests at once" if load.requests else f"{load.concurrency} in flight"
    spread = (
        f" ± {speed(load.output_tokens_per_second_stdev)}" if load.output_tokens_per_second_stdev is not None else ""
    )
    words = f"{shape}, {load.input_tokens} in, {load.output_tokens} out: "
    words += f"{speed(load.output_tokens_per_second or 0)}{spread} output tokens/s"
    return words if load.representative else words + " (experts were not spread: not representative)"


def measured_document(
    rows: Sequence[Measurement], option: Option | None, rejection: Rejection | None
) -> dict[str, Any]:
    """One configuration as plain values for JSON."""
    start = rows[0]
    figures = compare_rows(option, rows) if option and start.started else ()
    return {
        "gpu": start.gpu,
        "count": start.count,
        "tensor_parallel_size": start.tensor_parallel_size,
        "pipeline_parallel_size": start.pipeline_parallel_size,
        "verdict": rejection.code if rejection else "valid",
        "started": start.started,
        "refusal": start.refusal,
        "figures": [
            {"what": one.what, "unit": one.unit, "planned": one.planned, "measured": one.measured, "error": one.error}
            for one in figures
        ],
        "rows": [row_values(row) for row in rows],
    }


def figure_cells(figure: Figure) -> tuple[str, ...]:
    """One figure as cells under HEADER."""
    error = "" if figure.error is None else f"{figure.error:+.1%}"
    return figure.what, _shown(figure.unit, figure.planned), _shown(figure.unit, figure.measured), error


def _shown(unit: str, value: float) -> str:
    if unit == "bytes":
        return gib(value) if abs(value) >= SMALL_BYTES else f"{value / MIB:,.2f} MiB"
    if unit == "ms":
        return milliseconds(value)
    return {"count": count, "ratio": lambda ratio: f"{ratio:.2f}x", "rate": speed}[unit](value)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
