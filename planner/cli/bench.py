"""gpuplan bench."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.launching import ProgressLine, end_on_terminate
from planner.cli.options import JSON, Finite, planning, refuse, typed
from planner.cli.paint import tell
from planner.errors import EXIT_LAUNCH, SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.bench.point import Point

WHOLE = click.IntRange(1, 1_000_000)
MS = Finite(min=0, min_open=True)
# What the help says is for the one or the other; the rest is for both.
OF_SPEC = ("num_gpus", "runs", "weights")
OF_URL = ("concurrency", "request_rate", "input_tokens", "output_tokens", "ttft_ms", "tpot_ms", "model", "usd_per_hour")
FILE = click.Path(dir_okay=False, path_type=Path)
MOST_LOADS = 32
ELSEWHERE = "Give the URL of what runs elsewhere instead, or `gpuplan measure` rents a GPU on Modal."


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers above 0, separated by commas; ``whole`` ones where they count something."""

    name = "list"

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if not numbers or len(numbers) > MOST_LOADS or any(not 0 < number < 1e6 for number in numbers):
            self.fail(f"{value!r}: type numbers above 0 with commas, such as 1,8,32", param, ctx)
        if self.whole and any(number != int(number) for number in numbers):
            self.fail(f"{value!r}: type whole numbers with commas, such as 1,8,32", param, ctx)
        return numbers


COUNTS = Numbers(whole=True)


@click.command()
@click.argument("spec_or_url")
@planning
@JSON
@click.option("--num-gpus", type=COUNTS, default="1", show_default=True, help="SPEC: numbers of GPUs, e.g. 1,2,4.")
@click.option("--runs", type=click.IntRange(1, 100), default=5, show_default=True, help="SPEC: runs of the prompts.")
@click.option("--weights", is_flag=True, help="SPEC: the checkpoint itself instead of random weights.")
@click.option("--requests", type=WHOLE, help="Prompts (SPEC: 59), or requests of each load (URL: 100).")
@click.option("--prompts", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your own, one a line.")
@click.option("--concurrency", type=COUNTS, help="URL: requests in flight, one load each (default 1,8,32).")
@click.option("--request-rate", type=Numbers(), help="URL: requests a second instead, arriving at random.")
@click.option("--input-tokens", type=WHOLE, default=512, show_default=True, help="URL: tokens of a prompt, about.")
@click.option("--output-tokens", type=WHOLE, default=128, show_default=True, help="URL: tokens of each answer.")
@click.option("--ttft-ms", type=MS, help="URL: count as good what starts within this.")
@click.option("--tpot-ms", type=MS, help="URL: and has a token at least every so often.")
@click.option("--model", help="URL: the served name (default: the first).")
@click.option("--usd-per-hour", type=MS, help="URL: what it costs, for dollars per million tokens.")
@click.option("--timeout", "timeout_s", type=MS, metavar="SECONDS", help="For each start, or each load.")
@click.option("--csv", "csv_file", type=FILE, help="Write the rows as CSV.")
@click.option("--plot", type=FILE, help="Draw them: .png, .svg or .pdf.")
@click.option("--html", type=FILE, help="Write table and charts as one page.")
@click.option("--wandb", metavar="PROJECT", help="Log the run to Weights & Biases.")
def bench(
    spec_or_url: str,
    *,
    as_json: bool,
    csv_file: Path | None,
    plot: Path | None,
    html: Path | None,
    wandb: str | None,
    **asked: Any,
) -> None:
    """Measure throughput and latency of a running endpoint or of a local engine.

    SPEC: N prompts through LLM.generate on this machine's GPUs, R runs, mean and spread, for each number of GPUs.
    URL: loads made by guidellm; percentiles, failures by kind, and goodput under the limits you give.

    \b
    gpuplan bench specs/7b.yaml --num-gpus 1,2 --plot 7b.png
    gpuplan bench http://127.0.0.1:8000 --concurrency 1,8,32 --ttft-ms 500
    """
    from planner.bench.point import offline_table, online_table, point_document, points_csv

    end_on_terminate()
    online = spec_or_url.startswith(("http://", "https://"))
    what = "a URL" if online else "a spec"
    refuse(typed(*(OF_SPEC if online else OF_URL)), f"not for {what}. See which are in gpuplan bench --help.")
    if asked["prompts"]:
        refuse(typed("input_tokens"), "not with --prompts, which have their own lengths. Leave one of them out.")
    if asked["prompts"] and not online:
        refuse(typed("requests"), "not with --prompts for a spec: each of them is one. Leave one of them out.")
    _check_plot(plot)
    if wandb:
        from planner.bench.wandb_log import check_wandb

        check_wandb()
    _check_folders(csv_file, plot)
    if html:
        from planner.report.fill import check_page

        check_page(html)
    points = _online(spec_or_url, **asked) if online else _offline(spec_or_url, **asked)
    if not points:
        tell("Nothing ran to its end.")
        sys.exit(EXIT_LAUNCH)
    if as_json:
        document = {"schema_version": 1, "points": [point_document(point) for point in points]}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo("\n".join((online_table if online else offline_table)(points)))
        _say_errors(points)
    if csv_file:
        csv_file.write_text(points_csv(points), encoding="utf-8")
    if plot:
        from planner.bench.plot import write_plot

        write_plot(points, plot)
    if html:
        from planner.report.benched import write_bench_report

        write_bench_report(points, spec_or_url, html)
    if wandb:
        _log(points, spec_or_url, wandb, asked)
    sys.exit(0 if any(point.requests for point in points) else EXIT_LAUNCH)


def _check_plot(plot: Path | None) -> None:
    """A picture that cannot be written is better known before the load than after."""
    if plot is None:
        return
    from importlib.util import find_spec

    from planner.bench.plot import KINDS

    if plot.suffix not in KINDS:
        raise SpecError([f"--plot: {plot}: not a picture. Type a name that ends in {', '.join(KINDS)}."])
    if find_spec("matplotlib") is None:
        raise SpecError(["--plot: matplotlib is not installed. Type pip install 'gpuplan[plots]'."])


def _check_folders(*files: Path | None) -> None:
    for file in files:
        if file and not file.parent.is_dir():
            raise SpecError([f"{file}: no such folder {file.parent}. Make it, or name another file."])


def _online(
    url: str,
    *,
    requests: int | None,
    prompts: Path | None,
    concurrency: tuple[float, ...] | None,
    request_rate: tuple[float, ...] | None,
    input_tokens: int,
    output_tokens: int,
    ttft_ms: float | None,
    tpot_ms: float | None,
    model: str | None,
    usd_per_hour: float | None,
    timeout_s: float | None,
    **_: Any,
) -> list[Point]:
    from planner.bench.load_generator import Asked
    from planner.bench.offline import read_prompts
    from planner.bench.online import look, run_online
    from planner.deployment.access import auth_headers

    if concurrency and request_rate:
        raise SpecError(["--concurrency, --request-rate: type one of them."])
    headers = auth_headers()
    endpoint = look(url, model, headers)
    asked = Asked(
        url=endpoint.url,
        model=endpoint.model,
        requests=requests or 100,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        concurrency=() if request_rate else tuple(map(int, concurrency or (1, 8, 32))),
        rates=request_rate or (),
        load_timeout_s=timeout_s or 900.0,
        request_timeout_s=min(120.0, timeout_s or 120.0),
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms,
        prompts=read_prompts(prompts) if prompts else (),
    )
    tell(f"{endpoint.url}: {endpoint.model}: {', '.join(asked.loads)}, {asked.requests} requests each.")
    return run_online(asked, headers, ProgressLine(), usd_per_hour)


def _offline(
    spec: str,
    *,
    num_gpus: tuple[float, ...],
    runs: int,
    weights: bool,
    requests: int | None,
    prompts: Path | None,
    timeout_s: float | None,
    overrides: Sequence[str],
    **asked: Any,
) -> list[Point]:
    from planner.bench.offline import NOTE_PROMPTS, bench_job, bench_load, bench_rows, read_prompts
    from planner.cli.measure import machine_gpus
    from planner.cli.planning import base_dir, plan_from
    from planner.measure.choose import choose
    from planner.measure.engine import run_jobs

    texts = read_prompts(prompts) if prompts else ()
    planning = {key: asked[key] for key in ("catalog_file", "offline", "measurements_file")}
    counts = [int(count) for count in num_gpus]
    plans = [plan_from(spec, overrides=(*overrides, f"gpu.counts=[{count}]"), **planning) for count in counts]
    machine, subjects, jobs, prices = machine_gpus(ELSEWHERE), [], [], []
    for planned in plans:
        [subject] = choose(planned.plan, planned.catalog, machine)
        folder = planned.spec.model.path
        real = str((base_dir(spec) / folder).resolve()) if folder else planned.spec.model.repo
        if texts and not weights:
            raise SpecError(["--prompts: text needs the checkpoint's tokenizer. Pass --weights as well."])
        load = bench_load(planned.plan, texts, requests or NOTE_PROMPTS, runs)
        subjects.append(subject)
        prices.append(float(subject.usd_per_hour(planned.catalog, planned.spec)) or None)
        jobs.append(bench_job(planned.plan, subject, load, real if weights else None, timeout_s))
    if not weights:
        tell("Random weights: speed as with the checkpoint's own; --weights loads those.")
    from planner.catalog.folders import cache_folder

    outcomes = run_jobs(jobs, cache_folder() / "bench" / planned.spec.name, ProgressLine())
    rows = [bench_rows(outcome, planned.today.isoformat()) for outcome in outcomes]
    return _offline_points(rows, subjects, prices)


def _offline_points(rows: Sequence[Any], subjects: Sequence[Any], prices: Sequence[float | None]) -> list[Point]:
    """What ran, kept as measurements; what did not is said."""
    from planner.bench.offline import bench_point, refused
    from planner.measurements import append_rows

    points = []
    for measured, subject, price in zip(rows, subjects, prices, strict=True):
        if words := refused(measured):
            tell(f"{subject.candidate.count}×{subject.candidate.sold_as}: the engine refused: {words}")
        points += [bench_point(row, subject, price) for row in measured[1:]]
    append_rows(row for measured in rows for row in measured)
    return points


def _say_errors(points: Sequence[Point]) -> None:
    for point in points:
        for words in point.errors:
            tell(f"{point.load}: {words}")


def _log(points: Sequence[Point], source: str, project: str, asked: dict[str, Any]) -> None:
    from planner.bench.wandb_log import log_points
    from planner.catalog.folders import data_folder

    config = {"source": source, **{key: str(value) for key, value in asked.items() if value is not None}}
    name = log_points(points, config, project, data_folder())
    tell(f"Logged to Weights & Biases as {project}/{name}.")
