"""How long gpuplan takes, beside what it cannot avoid and beside peers: medians of whole processes, one run.

    python benchmarks/speed.py [--runs N] [--limits] [--peers DIR]

Every command runs once uncounted, then all of them in turn N times, so that a slow minute of the machine
strikes all alike. --peers times other planners with one question, the memory of a mixture of experts that lies in a
folder, once of 995 and once of 90,427 tensors; they are installed from the package index, each in an environment
below DIR, where they are not yet there.
--limits ends with 1 where a ratio that the README promises is exceeded.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import peer_commands, reading, write_models

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
LIMITS = (  # (command, against, times)
    ("gpuplan plan", "import click, yaml, pydantic", 1.3),
    ("gpuplan --help", "import click", 1.2),
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


CATALOGUE = """
import sys
from pathlib import Path
from planner.catalog import load_catalog
from planner.spec.starter import bare_spec
for number, name in enumerate(load_catalog().model_names()):
    Path(sys.argv[1], f"{number}.yaml").write_text(bare_spec(name))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--peers", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folders, specs = write_models(Path(made, "models")), Path(made, "specs")
        moe = {
            reading("gpuplan plan", model): [GPUPLAN, "plan", str(folder / "spec.yaml"), "--offline"]
            for model, folder in folders.items()
        }
        peers = peer_commands(arguments.peers, folders) if arguments.peers else {}
        medians = time_in_turn(COMMANDS | moe | peers, arguments.runs)
        for name, seconds in medians.items():
            print(f"{name:<46}{seconds * 1000:8.0f} ms{'   peer' * (name in peers)}")
        seconds, number = whole_catalogue(specs)
    for name, base, limit in LIMITS:
        print(f"{name} / {base}: {medians[name] / medians[base]:.2f} (at most {limit})")
    for name, model in zip(moe, folders, strict=True):
        for peer in (peer for peer in peers if peer.endswith(reading("", model))):
            print(f"{name} / {peer.partition(',')[0]}: {medians[name] / medians[peer]:.2f}")
    milliseconds, candidates = in_library()
    print(f"make_plan, warm, {candidates} candidates: {milliseconds:.1f} ms")
    print(f"gpuplan cost compare, {number} specs, one for each catalogue model: {seconds:.1f} s")
    exceeded = any(medians[name] / medians[base] > limit for name, base, limit in LIMITS)
    return int(arguments.limits and exceeded)


def whole_catalogue(folder: Path) -> tuple[float, int]:
    """Seconds of one comparison of every catalogue model on every GPU, and how many models those are."""
    folder.mkdir()
    subprocess.run([PYTHON, "-c", CATALOGUE, str(folder)], cwd=ROOT, check=True)
    specs = sorted(map(str, folder.glob("*.yaml")))
    return time_once([GPUPLAN, "cost", "compare", *specs, "--offline"]), len(specs)


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
