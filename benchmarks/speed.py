"""How long gpuplan takes, beside what it cannot avoid and beside peers: medians of whole processes, one run.

    python benchmarks/speed.py [--runs N] [--limits]

Every command runs once uncounted, then all of them in turn N times, so that a slow minute of the machine
strikes all alike. Peers are timed where their program is on the PATH. --limits ends with 1 where a ratio that
the README promises is exceeded.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
GPUPLAN = str(Path(PYTHON).parent / "gpuplan")
SPEC = "specs/70b.yaml"

COMMANDS: dict[str, list[str]] = {
    "python": [PYTHON, "-c", "pass"],
    "import click": [PYTHON, "-c", "import click"],
    "import click, yaml, pydantic": [PYTHON, "-c", "import click, yaml, pydantic"],
    "gpuplan --help": [GPUPLAN, "--help"],
    "gpuplan plan": [GPUPLAN, "plan", SPEC, "--offline"],
    "gpuplan plan --json": [GPUPLAN, "plan", SPEC, "--offline", "--json"],
    "gpuplan cost compare": [GPUPLAN, "cost", "compare", SPEC, "--offline"],
}
PEERS: dict[str, list[str]] = {  # each with the work nearest to a plan, on a local config where it takes one
    "modelinfo --help": ["modelinfo", "--help"],
    "hf-mem --help": ["hf-mem", "--help"],
    "ridgepoint --help": ["ridgepoint", "--help"],
    "servcalc --help": ["servcalc", "--help"],
}
LIMITS = (  # (command, against, times)
    ("gpuplan plan", "import click, yaml, pydantic", 2.0),
    ("gpuplan --help", "import click", 1.5),
)
LIBRARY = """
import time, datetime, statistics
from pathlib import Path
from planner.catalog import load_catalog
from planner.make_plan import make_plan
from planner.model.find import find_checkpoint
from planner.spec import load_spec
spec, catalog = load_spec({spec!r}), load_catalog()
checkpoint = find_checkpoint(spec.model, catalog, offline=True, base_dir=Path("."))
times = []
for _ in range(25):
    start = time.perf_counter()
    plan = make_plan(spec, checkpoint, catalog, today=datetime.date(2026, 11, 1))
    times.append(time.perf_counter() - start)
print(statistics.median(times[5:]) * 1000, len(plan.options) + len(plan.rejections))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--limits", action="store_true")
    arguments = parser.parse_args()
    commands = COMMANDS | {name: line for name, line in PEERS.items() if shutil.which(line[0])}
    medians = time_in_turn(commands, arguments.runs)
    for name, seconds in medians.items():
        print(f"{name:<32}{seconds * 1000:8.0f} ms")
    ratios = [(name, base, medians[name] / medians[base], limit) for name, base, limit in LIMITS]
    for name, base, ratio, limit in ratios:
        print(f"{name} / {base}: {ratio:.2f} (at most {limit})")
    milliseconds, candidates = in_library()
    print(f"make_plan, warm, {candidates} candidates: {milliseconds:.1f} ms")
    return int(arguments.limits and any(ratio > limit for _, _, ratio, limit in ratios))


def time_in_turn(commands: dict[str, list[str]], runs: int) -> dict[str, float]:
    """Median seconds of each command; one uncounted run first."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, line in commands.items():
            taken = time_once(line)
            if run:
                seconds[name].append(taken)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def time_once(line: list[str]) -> float:
    """Wall seconds of one process; a failing command is an error, not a fast time."""
    start = time.perf_counter()
    done = subprocess.run(line, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(line)} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return taken


def in_library() -> tuple[float, int]:
    """Median milliseconds of make_plan in a warm process, and how many candidates it judged."""
    code = LIBRARY.format(spec=SPEC)
    done = subprocess.run([PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    milliseconds, candidates = done.stdout.split()
    return float(milliseconds), int(candidates)


if __name__ == "__main__":
    sys.exit(main())
