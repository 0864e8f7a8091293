"""Run jobs with the vLLM of this machine, and what of it the machine has."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.deployment.engine_log import phase_of
from planner.deployment.running import Progress
from planner.errors import LaunchError
from planner.measure.job import job_values
from planner.measure.rows import Outcome
from planner.targets.local_process import end_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from planner.measure.job import Job
    from planner.targets import Say

HOST = Path(__file__).parent / "host"
RUNNER = HOST / "runner.py"
LOOK_S = 0.5
GRACE_S = 10.0
NVIDIA_SMI_S = 20.0
TO_INSTALL = "pip install 'gpuplan[local]' on a machine with a GPU"


def engine_python() -> str:
    """The Python that has vLLM: this one, or that of the `vllm` on PATH. Raises LaunchError where none has."""
    if find_spec("vllm") is not None:
        return sys.executable
    command = shutil.which("vllm")
    if command is None:
        raise LaunchError(f"local: no vLLM on this machine: neither here nor on PATH. {TO_INSTALL}.")
    python = script_python(Path(command).read_text(encoding="utf-8", errors="replace"))
    if python is None:
        raise LaunchError(f"local: {command}: its Python is unknown. Run gpuplan with the Python that has vLLM.")
    return python


def script_python(script: str) -> str | None:
    """The interpreter that a console script names: in its first line or, where the path is long, behind an exec."""
    lines = script.splitlines()[:3]
    words = lines[0].removeprefix("#!").split() if lines and lines[0].startswith("#!") else []
    if words and Path(words[-1]).name.startswith("python"):
        return words[-1]
    found = re.search(r"exec' \"?([^\" ]+)", "\n".join(lines))
    return found.group(1) if found else None


def gpu_names() -> tuple[str, ...]:
    """The NVIDIA GPUs of this machine as nvidia-smi names them; none where it is absent or fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    query = [command, "--query-gpu=name", "--format=csv,noheader"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_SMI_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def run_jobs(jobs: Sequence[Job], folder: Path, say: Say) -> list[Outcome]:
    """Start the engine for each job, one after another; the engine's model folder and caches stay in ``folder``.

    Raises LaunchError where the runner itself cannot run. An engine that fails is an outcome.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs_file = folder / "jobs.json"
    jobs_file.write_text(json.dumps([job_values(job) for job in jobs]))
    for job in jobs:
        for path in (folder / f"{job.name}.jsonl", folder / f"{job.name}.log"):
            path.unlink(missing_ok=True)
    process = subprocess.Popen(
        [engine_python(), str(RUNNER), str(jobs_file), str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    say(Progress("engine", "importing vLLM"))
    watch = threading.Event()
    watcher = threading.Thread(target=_watch, args=(jobs, folder, say, watch), daemon=True)
    watcher.start()
    ends: dict[str, str] = {}
    said: list[str] = []
    try:
        for line in process.stdout or ():
            said = [*said[-20:], line.strip()]
            words = line.split()
            if len(words) == 3 and words[0] in {job.name for job in jobs}:
                ends[words[0]] = words[1]
                say(Progress("engine", f"{words[0]}: {words[1]} after {words[2]} s"))
        code = process.wait()
    finally:
        watch.set()
        _end(process)
    if code and not ends:
        raise LaunchError(f"local: the runner ended with code {code}: {said[-1] if said else 'it said nothing'}.")
    return [read_outcome(job, folder, ends.get(job.name, "lost")) for job in jobs]


def read_outcome(job: Job, folder: Path, end: str) -> Outcome:
    """Events and log as the runner left them."""
    events, log = folder / f"{job.name}.jsonl", folder / f"{job.name}.log"
    return Outcome(
        job=job,
        events=parse_events(events.read_text(encoding="utf-8")) if events.is_file() else (),
        log=log.read_text(encoding="utf-8", errors="replace") if log.is_file() else "",
        end=end,
    )


def parse_events(text: str) -> tuple[dict[str, Any], ...]:
    """One event a line; a line that was cut off is left out."""
    return tuple(_events(text))


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def _watch(jobs: Sequence[Job], folder: Path, say: Say, ended: threading.Event) -> None:
    """Say the phase of whichever engine runs, as its log grows."""
    read: dict[str, int] = {}
    shown = ""
    while not ended.wait(LOOK_S):
        for job in jobs:
            path = folder / f"{job.name}.log"
            if not path.is_file() or path.stat().st_size == read.get(job.name, 0):
                continue
            with path.open(encoding="utf-8", errors="replace") as file:
                file.seek(read.get(job.name, 0))
                text = file.read()
                read[job.name] = file.tell()
            phases = [phase for line in text.splitlines() if (phase := phase_of(line))]
            if phases and (now := f"{job.name}: {phases[-1]}") != shown:
                shown = now
                say(Progress("engine", now, transient=True))


def _end(process: subprocess.Popen[str]) -> None:
    """The runner ends its engine before itself; what is left of either holds the GPU, and ends now."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    end_group(process.pid)
    process.wait()
