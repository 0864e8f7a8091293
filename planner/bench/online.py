"""Bench a running endpoint: look first, then let guidellm load it, within a time that is known beforehand."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from planner.bench.load_generator import prompt_rows, read_report, scenario
from planner.deployment.running import Progress
from planner.errors import LaunchError, SpecError, plain_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from planner.bench.load_generator import Asked
    from planner.bench.point import Point
    from planner.targets import Say

LOOK_S = 20.0
OVERHEAD_S = 120.0  # guidellm's imports, and its sums at the end of each load
COUNTS = re.compile(r"successful=(\d+) errored=(\d+)")
TO_INSTALL = "pip install 'gpuplan[bench]', or `uv tool install guidellm`"


class Endpoint(Struct, frozen=True):
    """What answers at a URL."""

    url: str
    model: str


def look(url: str, model: str | None, headers: Mapping[str, str], timeout_s: float = LOOK_S) -> Endpoint:
    """The endpoint's model. Raises LaunchError where nothing answers, or not to this key, or not this model."""
    base = url.rstrip("/").removesuffix("/v1")
    try:
        request = urllib.request.Request(f"{base}/v1/models", headers=dict(headers))  # noqa: S310 - the scheme was checked
    except ValueError as error:
        raise SpecError(
            [f"{url}: no address of an endpoint ({error}). Type for example http://127.0.0.1:8000."]
        ) from None
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            names = [str(card["id"]) for card in json.loads(answer.read())["data"]]
    except urllib.error.HTTPError as error:
        raise LaunchError(f"{base}: {_refusal(error.code)}") from None
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        reason = plain_words(getattr(error, "reason", error))
        raise LaunchError(
            f"{base}: no model list at /v1/models ({reason}). Is it running? See `gpuplan status`."
        ) from None
    if not names or (model is not None and model not in names):
        raise LaunchError(f"{base}: it serves {', '.join(names) or 'nothing'}, not {model}. Set --model.")
    return Endpoint(base, model or names[0])


def _refusal(code: int) -> str:
    if code in {401, 403}:
        return (
            f"the key was refused (HTTP {code}). Set VLLM_API_KEY; behind Modal's proxy also "
            "MODAL_PROXY_TOKEN_ID and MODAL_PROXY_TOKEN_SECRET."
        )
    return f"/v1/models answers HTTP {code}. See `gpuplan logs`."


def run_online(asked: Asked, headers: Mapping[str, str], say: Say, usd_per_hour: float | None = None) -> list[Point]:
    """A point for each load. Raises LaunchError where guidellm is absent, fails, or does not end in its time."""
    with tempfile.TemporaryDirectory(prefix="gpuplan-bench-") as made:
        folder = Path(made)  # private: the scenario holds the key
        data, report, told = folder / "prompts.jsonl", folder / "report.json", folder / "scenario.json"
        data.write_text("".join(json.dumps(row) + "\n" for row in prompt_rows(asked)))
        told.write_text(json.dumps(scenario(asked, headers, str(data), str(report))))
        deadline_s = OVERHEAD_S + len(asked.loads) * (asked.load_timeout_s + asked.request_timeout_s)
        _run([*guidellm_command(), "run", "-c", str(told), "--disable-console"], folder, deadline_s, say)
        found: dict[str, Any] = json.loads(report.read_text())
    return read_report(found, asked, usd_per_hour)


def guidellm_command() -> list[str]:
    """guidellm of this Python, or of a tool environment on PATH."""
    if find_spec("guidellm") is not None:
        return [sys.executable, "-m", "guidellm"]
    if command := shutil.which("guidellm"):
        return [command]
    raise LaunchError(f"bench: guidellm, which makes the load, is not installed. Type {TO_INSTALL}.")


def _run(command: Sequence[str], folder: Path, deadline_s: float, say: Say) -> None:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    started = time.monotonic()
    late = threading.Timer(deadline_s, _kill, (process,))
    late.start()
    said = [""]
    try:
        for line in process.stdout or ():
            said = [*said[-20:], line.strip()]
            if counts := COUNTS.search(line):
                say(Progress("bench", f"{counts.group(1)} answered, {counts.group(2)} failed", transient=True))
        code = process.wait()
    finally:
        late.cancel()
        _kill(process)
    if code:
        late_words = f"not done after {deadline_s:.0f} s" if time.monotonic() - started >= deadline_s else ""
        told = late_words or next((text for text in reversed(said) if "Error" in text or text), "it said nothing")
        raise LaunchError(f"bench: guidellm: {told}")


def _kill(process: subprocess.Popen[str]) -> None:
    """It, and the workers that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
