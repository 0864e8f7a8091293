"""gpuplan measure."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.launching import ProgressLine, confirm, end_on_terminate
from planner.cli.options import JSON, SPEC, TARGET, Finite, planning, with_target
from planner.cli.paint import paint, tell
from planner.errors import EXIT_LAUNCH, LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from planner.cli.planning import Planned
    from planner.measure.choose import Subject
    from planner.measure.rows import Outcome
    from planner.measurements import Measurement
    from planner.targets import Say


@click.command()
@SPEC
@planning
@JSON
@TARGET
@click.option("--top", type=click.IntRange(1, 20), default=1, show_default=True, help="The best N configurations.")
@click.option("--runs", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs of the planned load.")
@click.option("--anyway", is_flag=True, help="Start the first configuration that the plan rejects, too.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before renting a GPU.")
@click.option("--keep/--no-keep", default=True, help="Keep the rows: later plans use them (default).")
@click.option("--timeout", "timeout_s", type=Finite(min=1), metavar="SECONDS", help="For each start.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write plan and engine as one page.")
def measure(
    spec: str,
    *,
    as_json: bool,
    target: str | None,
    top: int,
    runs: int,
    anyway: bool,
    yes: bool,
    keep: bool,
    timeout_s: float | None,
    html: Path | None,
    overrides: Sequence[str],
    **asked: Any,
) -> None:
    """Start the real engine without weights and compare memory and speed with the plan.

    Random weights, config.json only, the plan's own flags. On this machine's GPUs (--target local), or in one short
    function on Modal whose price is shown and asked first. The rows are kept, and later plans say `measured`.

    \b
    gpuplan measure specs/7b.yaml --target local
    gpuplan measure specs/7b.yaml --top 3 --yes
    """
    from planner.cli.planning import plan_from
    from planner.measure.choose import choose

    end_on_terminate()
    if html:
        from planner.report.fill import check_page

        check_page(html)
    planned = plan_from(spec, overrides=with_target(overrides, target), **asked)
    local = planned.spec.target == "local"
    subjects = choose(planned.plan, planned.catalog, machine_gpus() if local else None, top=top, anyway=anyway)
    jobs = [subject.job(planned.plan, model_of(planned, spec, subject), runs, timeout_s) for subject in subjects]
    if not local and not confirm(question(planned, subjects, jobs), yes=yes):
        tell("Nothing was started.")
        sys.exit(EXIT_LAUNCH)
    measured, cut_off = run_all(planned, subjects, jobs, ProgressLine(), keep=keep)
    if cut_off and not measured:
        raise cut_off
    subjects = subjects[: len(measured)]
    report(planned, subjects, measured, as_json=as_json)
    if html:
        from planner.report.measured import Beside, write_measure_report

        pairs = zip(subjects, measured, strict=True)
        beside = [Beside(subject.option, subject.rejection, rows) for subject, rows in pairs]
        write_measure_report(planned.spec.model.repo, beside, html)
    if cut_off:
        raise cut_off
    sys.exit(
        0
        if all(rows[0].started or subject.rejection for subject, rows in zip(subjects, measured, strict=True))
        else EXIT_LAUNCH
    )


def machine_gpus(instead: str = "Measure on Modal instead: --target modal.") -> tuple[str, ...]:
    """This machine's GPUs; LaunchError where it has none, with what can be done ``instead``."""
    from planner.measure.engine import gpu_names

    names = gpu_names()
    if not names:
        raise LaunchError(
            f"local: no NVIDIA GPU on this machine (nvidia-smi names none), so nothing can be measured here. {instead}"
        )
    return names


def model_of(planned: Planned, spec: str, subject: Subject) -> str | None:
    """What the engine reads where config.json alone will not do: a processor, or Python code of the repository."""
    from planner.cli.planning import base_dir

    model = planned.spec.model
    if model.path and planned.spec.target == "local":
        return str((base_dir(spec) / model.path).resolve())
    facts = planned.plan.facts
    needs_files = (facts.is_multimodal and not subject.engine.language_model_only) or model.trust_remote_code
    return model.repo if needs_files else None


def question(planned: Planned, subjects: Sequence[Subject], jobs: Sequence[Any]) -> str:
    """What is rented, for how long at most, for how much."""
    from planner.explain.figures import gpus, usd
    from planner.measure.on_modal import timeout_s

    most = [
        float(subject.usd_per_hour(planned.catalog, planned.spec)) * timeout_s(job) / 3600
        for subject, job in zip(subjects, jobs, strict=True)
    ]
    names = ", ".join(gpus(subject.candidate.sold_as, subject.candidate.count) for subject in subjects)
    minutes = sum(timeout_s(job) for job in jobs) / 60
    return f"Rent {names} on Modal for a few minutes: at most {usd(sum(most))} ({minutes:.0f} min, then it is ended)?"


def run_all(
    planned: Planned, subjects: Sequence[Subject], jobs: Sequence[Any], say: Say, *, keep: bool
) -> tuple[list[tuple[Measurement, ...]], BaseException | None]:
    """Every configuration's rows, in order, and what cut that off; what was paid for is kept as it comes."""
    from planner.measure.rows import make_rows
    from planner.measurements import append_rows

    where = "this machine" if planned.spec.target == "local" else "Modal"
    measured, path, cut_off = [], None, None
    try:
        for outcome in outcomes(planned, subjects, jobs, say):
            rows = make_rows(outcome, date=planned.today.isoformat(), source=f"gpuplan measure on {where}")
            measured.append(rows)
            path = append_rows(rows) if keep else None
    except (LaunchError, KeyboardInterrupt) as error:
        cut_off = error
    if path:
        tell(f"Kept in {path}.")
    return measured, cut_off


def outcomes(planned: Planned, subjects: Sequence[Subject], jobs: Sequence[Any], say: Say) -> Iterator[Outcome]:
    """Of each configuration, as it has ended."""
    from planner.measure.engine import run_jobs
    from planner.measure.on_modal import run_on_modal

    folder = work_folder(planned)
    if planned.spec.target == "local":
        yield from run_jobs(jobs, folder, say)
        return
    for subject, job in zip(subjects, jobs, strict=True):
        gpu = f"{subject.candidate.sold_as}:{subject.candidate.count}"
        yield run_on_modal(job, planned.spec, gpu, folder / job.name, say)


def work_folder(planned: Planned) -> Path:
    """Where the model's config, the engine's logs and the rendered app are kept; the same for the same app."""
    from planner.catalog.folders import cache_folder

    return cache_folder() / "measure" / planned.spec.name


def report(
    planned: Planned, subjects: Sequence[Subject], measured: Sequence[tuple[Measurement, ...]], *, as_json: bool
) -> None:
    """Plan and engine side by side."""
    from planner.explain.lines import Line
    from planner.explain.measure import explain_measured, explain_refused, measured_document

    if as_json:
        documents = [
            measured_document(rows, subject.option, subject.rejection)
            for subject, rows in zip(subjects, measured, strict=True)
        ]
        click.echo(json.dumps({"schema_version": 1, "model": planned.spec.model.repo, "measured": documents}, indent=2))
        return
    lines = []
    for subject, rows in zip(subjects, measured, strict=True):
        if subject.option:
            lines += explain_measured(subject.option, rows)
        elif subject.rejection:
            lines += explain_refused(subject.rejection, rows)
        lines.append(Line(""))
    paint(lines)
