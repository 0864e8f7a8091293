"""Our own time on top of `modal deploy`: plan, preflight, difference, look-ups, records. Waiting is left aside.

    python benchmarks/deploy_overhead.py [--runs 7] [--spec specs/70b.yaml] [--limit 1.0]

Against the stand-in of Modal's server, whole processes: `gpuplan deploy SPEC --offline --yes --no-wait` (each time with
another max_num_seqs, so that there is something to launch; the weights are in the Volume), and in turn with it
`modal deploy` of a file rendered from the same spec, it too with another max_num_seqs. The difference of the medians
is ours. Ends with 1 where it is over the limit.
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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from planner.cli.launching import decide  # noqa: E402 - the checkout's own
from tests.modal_server import ModalServer, World  # noqa: E402
from tests.releases import put_snapshot  # noqa: E402

GPUPLAN = [sys.executable, "-m", "planner"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--spec", default=str(ROOT / "specs" / "70b.yaml"))
    parser.add_argument("--limit", type=float, default=1.0, metavar="SECONDS")
    asked = parser.parse_args()
    whole, theirs = measure(asked.spec, asked.runs)
    ours = statistics.median(whole) - statistics.median(theirs)
    for name, seconds in (("gpuplan deploy", whole), ("modal deploy", theirs)):
        low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{name:<16} {middle:.2f} s  ({low:.2f} to {high:.2f}, {len(seconds)} runs)")
    print(f"{'ours':<16} {ours:.2f} s  (limit {asked.limit:.2f})")
    return int(ours > asked.limit)


def measure(spec: str, runs: int) -> tuple[list[float], list[float]]:
    """Seconds of each whole deploy, and of each `modal deploy` alone."""
    pinned = ["--set", f"model.revision={COMMIT}"]
    release = decide(spec, overrides=(f"model.revision={COMMIT}",), offline=True).release
    names = {release.secret_huggingface: "HF_TOKEN", release.secret_api_key: "VLLM_API_KEY"}
    world = World(secrets={name: {key: "x"} for name, key in names.items() if name})
    whole, theirs = [], []
    with ModalServer(world) as server, tempfile.TemporaryDirectory() as folder:
        put_snapshot(world.volume_path("gpuplan-weights"), release)
        environ = {**os.environ, **server.client_env(), "XDG_CACHE_HOME": folder, "PYTHONPATH": str(ROOT)}
        for number in range(runs + 1):
            changed, other = (
                [spec, "--offline", *pinned, "--set", f"engine.max_num_seqs={base + number}"] for base in (100, 200)
            )
            run([*GPUPLAN, "render", *other, "--out", folder], environ)
            first = run([*GPUPLAN, "deploy", *changed, "--yes", "--no-wait"], environ)
            second = run([sys.executable, "-m", "modal", "deploy", "app.py"], environ, folder)
            if number:  # the first of each fills caches
                whole.append(first)
                theirs.append(second)
    return whole, theirs


def run(command: list[str], environ: dict[str, str], folder: str = ".") -> float:
    """Seconds of one process that must go well."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
