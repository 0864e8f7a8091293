"""Run one job in one short function on Modal, on the planned GPU: rendered as text, started by `modal run`."""

from __future__ import annotations

import json
from secrets import token_hex
from typing import TYPE_CHECKING

from planner import __version__
from planner.deployment.running import Progress
from planner.errors import LaunchError
from planner.literal import assigned, literal
from planner.measure.engine import HOST, parse_events
from planner.measure.job import job_values
from planner.measure.rows import Outcome
from planner.targets import modal_sdk
from planner.targets.modal_command import modal_lines
from planner.targets.modal_unfinished import stopped_on_failure
from planner.templates import template_folder

if TYPE_CHECKING:
    from pathlib import Path

    from planner.measure.job import Job
    from planner.spec import Spec
    from planner.targets import Say

IMAGE_S = 900.0  # pulling and building the engine's image, once
RESULT = "result.json"


def run_on_modal(job: Job, spec: Spec, gpu: str, folder: Path, say: Say) -> Outcome:
    """Raises LaunchError where Modal refuses or the function does not end; an engine that fails is an outcome.

    However it ends, its app does too: a function whose caller is gone would be paid for until its own limit.
    """
    if problem := modal_sdk.connect_problem():
        raise LaunchError(problem)
    folder.mkdir(parents=True, exist_ok=True)
    app_name = f"gpuplan-measure-{token_hex(4)}"  # no other measurement's: ours alone is ended
    (folder / "app.py").write_text(render_measure(job, spec, gpu, app_name))
    result = folder / RESULT
    result.unlink(missing_ok=True)
    environment = ["--env", spec.environment] if spec.environment else []
    arguments = ["run", *environment, "--write-result", RESULT, "app.py::measure"]
    with stopped_on_failure(app_name, spec.environment):
        for line in modal_lines(arguments, folder, IMAGE_S + timeout_s(job)):
            if line.strip():
                say(Progress("modal", line.strip(), transient=True))
    if not result.is_file():
        raise LaunchError(f"{spec.name}: measure: the function on Modal ended without a result.")
    found = json.loads(result.read_text())
    return Outcome(job, parse_events(found["events"]), found["log"], found["end"])


def timeout_s(job: Job) -> float:
    """The most that the function may take, and cost."""
    return job.timeout_s + 120


def render_measure(job: Job, spec: Spec, gpu: str, app_name: str) -> str:
    """The app: one function, the runner's two files and the job in it as literals."""
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - Python source, not HTML: values pass the literal filter
        loader=jinja2.FileSystemLoader(template_folder() / "measure"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters["literal"] = literal
    environment.filters["assigned"] = assigned
    return environment.get_template("app.py.j2").render(
        generator=__version__,
        job=job_values(job),
        files={path.name: path.read_text(encoding="utf-8") for path in sorted(HOST.glob("*.py"))},
        app_name=app_name,
        engine_version=spec.engine.version,
        gpu=gpu,
        timeout_s=round(timeout_s(job)),
        cpu_cores=float(spec.resources.cpu_cores),
        memory_mib=round(float(spec.resources.memory_gib) * 1024),
        tags={"generator": f"gpuplan-{__version__}", "model": job.repo.replace("/", "--")[:63]},
    )
