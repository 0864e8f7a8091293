"""Point: what was measured under one load, and how it is written: table, CSV, plain values. Pure."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins

from planner.explain.figures import count, milliseconds, speed, usd
from planner.explain.grid import grid

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS_PER_HOUR = 3600
MILLION = 1_000_000


class Latency(Struct, frozen=True):
    """Of requests that were answered whole, in ms."""

    mean: float
    p50: float
    p90: float
    p99: float


class Point(Struct, frozen=True):
    """One load. None: not known, or not measured this way."""

    model: str
    gpu: str | None
    num_gpus: int | None
    load: str  # "59 prompts", "8 in flight", "4/s"
    requests: int  # answered whole, over all runs
    failed: int
    runs: int
    input_tokens: float | None  # mean per request
    output_tokens: float | None
    output_tokens_per_second: float
    output_tokens_per_second_stdev: float | None = None
    requests_per_second: float | None = None
    usd_per_hour: float | None = None
    ttft_ms: Latency | None = None
    tpot_ms: Latency | None = None
    e2e_ms: Latency | None = None
    goodput_per_second: float | None = None  # answers a second that keep the SLO
    slo_share: float | None = None
    errors: tuple[str, ...] = ()  # kinds of failure, most frequent first

    @property
    def usd_per_million_output_tokens(self) -> float | None:
        if self.usd_per_hour is None or not self.output_tokens_per_second:
            return None
        return self.usd_per_hour / SECONDS_PER_HOUR / self.output_tokens_per_second * MILLION


def offline_table(points: Sequence[Point]) -> list[str]:
    """The note's table, with dollars beside it."""
    header, *rows = offline_cells(points)
    return grid(header, rows, left=frozenset({0, 1}), indent="")


def offline_cells(points: Sequence[Point]) -> list[tuple[str, ...]]:
    """The header of the note's table, then a row for each point."""
    header = ("model", "GPU", "num_gpus", "avg tok/sec", "± stdev", "runs", "$/M tokens")
    return [header, *(_offline_cells(point) for point in points)]


def _offline_cells(point: Point) -> tuple[str, ...]:
    stdev = point.output_tokens_per_second_stdev
    return (
        point.model,
        point.gpu or "-",
        str(point.num_gpus or "-"),
        speed(point.output_tokens_per_second),
        speed(stdev) if stdev is not None else "-",
        str(point.runs),
        _dollars(point),
    )


def online_table(points: Sequence[Point]) -> list[str]:
    """One row per load: speed, errors, percentiles, goodput."""
    header, *rows = online_cells(points)
    return grid(header, rows, indent="")


def online_cells(points: Sequence[Point]) -> list[tuple[str, ...]]:
    """The header of that table, then a row for each load."""
    header = ("load", "tok/s", "req/s", "ok", "failed", "TTFT p50", "p99", "TPOT p50", "p99", "E2E p50", "p99")
    extra = tuple(name for name, shown in (("goodput/s", _has_slo(points)), ("$/M", _has_price(points))) if shown)
    return [header + extra, *(_online_cells(point) + _extra_cells(point, extra) for point in points)]


def _online_cells(point: Point) -> tuple[str, ...]:
    latencies = (point.ttft_ms, point.tpot_ms, point.e2e_ms)
    shown = [cell for one in latencies for cell in ((milliseconds(one.p50), milliseconds(one.p99)) if one else "--")]
    rate = point.requests_per_second
    return (
        point.load,
        speed(point.output_tokens_per_second),
        f"{rate:.2f}" if rate is not None else "-",
        count(point.requests),
        count(point.failed),
        *shown,
    )


def _extra_cells(point: Point, names: tuple[str, ...]) -> tuple[str, ...]:
    goodput = point.goodput_per_second
    cells = {"goodput/s": f"{goodput:.2f}" if goodput is not None else "-", "$/M": _dollars(point)}
    return tuple(cells[name] for name in names)


def _has_slo(points: Sequence[Point]) -> bool:
    return any(point.goodput_per_second is not None for point in points)


def _has_price(points: Sequence[Point]) -> bool:
    return any(point.usd_per_million_output_tokens is not None for point in points)


def _dollars(point: Point) -> str:
    dollars = point.usd_per_million_output_tokens
    return usd(dollars) if dollars is not None else "-"


def point_document(point: Point) -> dict[str, Any]:
    """A point as plain values for JSON."""
    return {**to_builtins(point), "usd_per_million_output_tokens": point.usd_per_million_output_tokens}


def points_csv(points: Sequence[Point]) -> str:
    """One line a point; a latency takes four columns."""
    rows = [_flat(point) for point in points]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


LATENCIES = ("ttft_ms", "tpot_ms", "e2e_ms")
PARTS = Latency.__struct_fields__
COLUMNS = (
    *(name for name in Point.__struct_fields__ if name not in (*LATENCIES, "errors")),
    "usd_per_million_output_tokens",
    *(f"{name}_{part}" for name in LATENCIES for part in PARTS),
)


def _flat(point: Point) -> dict[str, Any]:
    values = point_document(point)
    values.pop("errors")
    for name in LATENCIES:
        latency = values.pop(name) or dict.fromkeys(PARTS)
        values |= {f"{name}_{part}": latency[part] for part in PARTS}
    return values
