"""The note's benchmark: N prompts through LLM.generate, R runs, for each number of GPUs. Pure but for the prompts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.bench.point import Point
from planner.errors import SpecError
from planner.measure.job import Load, make_job
from planner.measure.rows import make_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from planner.measure.choose import Subject
    from planner.measure.job import Job
    from planner.measure.rows import Outcome
    from planner.measurements import Measurement
    from planner.plan import Plan

NOTE_PROMPTS, NOTE_RUNS = 59, 5
NOTE_INPUT_TOKENS, NOTE_OUTPUT_TOKENS = 45, 350


def read_prompts(path: Path) -> tuple[str, ...]:
    """Prompts of a file: one a line, or JSON lines with "prompt"."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"{path}: cannot be read ({error}). Type a text file of prompts."]) from error
    if not lines:
        raise SpecError([f"{path}: no prompts in it. Type one a line."])
    if path.suffix != ".jsonl":
        return tuple(lines)
    prompts = []
    for number, line in enumerate(lines, 1):
        try:
            prompts.append(str(json.loads(line)["prompt"]))
        except (ValueError, KeyError, TypeError) as error:
            raise SpecError([f'{path}:{number}: no prompt ({error!r}). Type {{"prompt": "..."}}.']) from error
    return tuple(prompts)


def bench_load(plan: Plan, prompts: tuple[str, ...], requests: int, runs: int) -> Load:
    """One's own prompts, or made-up ones as long as the spec's workload says (the note's where it says nothing)."""
    asked = plan.spec.workload is not None
    output_tokens = plan.workload.output_tokens if asked else NOTE_OUTPUT_TOKENS
    input_tokens = plan.workload.input_tokens if asked else NOTE_INPUT_TOKENS
    if prompts:
        return Load(len(prompts), input_tokens, output_tokens, runs, prompts=prompts)
    return Load(requests, input_tokens, output_tokens, runs)


def bench_job(plan: Plan, subject: Subject, load: Load, model: str | None, timeout_s: float | None) -> Job:
    """One number of GPUs. ``model``: a folder or repository with weights; None: random weights."""
    job = make_job(
        plan.spec,
        plan.checkpoint,
        plan.facts,
        subject.candidate,
        subject.engine,
        [load],
        name=f"bench-{subject.candidate.count}",
        model=model,
        api="generate",
    )
    return job if timeout_s is None else replace(job, timeout_s=timeout_s)


def bench_rows(outcome: Outcome, date: str) -> tuple[Measurement, ...]:
    """The start's row and, where it ran, the load's."""
    return make_rows(outcome, date=date, source="gpuplan bench on this machine")


def bench_point(row: Measurement, subject: Subject, usd_per_hour: float | None) -> Point:
    """A load's row as a point of the table."""
    requests = row.requests or row.concurrency or 0
    return Point(
        model=row.model,
        gpu=subject.candidate.sold_as,
        num_gpus=row.count,
        load=f"{requests} prompts",
        requests=requests * (row.runs or 1),
        failed=0,
        runs=row.runs or 1,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        output_tokens_per_second=row.output_tokens_per_second or 0.0,
        output_tokens_per_second_stdev=row.output_tokens_per_second_stdev,
        usd_per_hour=usd_per_hour,
    )


def refused(rows: Sequence[Measurement]) -> str | None:
    """The engine's words where it did not start, None where it did."""
    return None if rows[0].started else rows[0].refusal
