"""Modal through its command line: `python -m modal`, as a person would type it, with a time limit and its lines."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GRACE_S = 5.0  # after an interrupt, for the client to tell the server
KEPT_LINES = 200
# Lines as they are said, whatever terminal we have: the client wraps (and, at no columns, leaves out) what it prints.
PLAIN = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
CHILD = Path(__file__).with_name("modal_child.py")


def modal_lines(arguments: Sequence[str], folder: Path | None, timeout_s: float) -> Iterator[str]:
    """Run one command and give its lines as they come. Raises LaunchError on an error, and when time is over.

    The command has a process group of its own: an interrupt meant for us is passed on in order, so that the client
    can say goodbye to the server. It ends with us too where we get no chance to pass anything on (modal_child).
    """
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-P", str(CHILD), str(reading), *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **PLAIN},
        start_new_session=True,
        pass_fds=(reading,),
    )
    os.close(reading)
    said: list[str] = []
    with _closed(writing), _ended(process):
        for line in _lines(process, time.monotonic() + timeout_s):
            if line is None:
                raise LaunchError(f"modal {arguments[0]}: not done after {timeout_s:.0f} s.{_advice(arguments[0])}")
            said = [*said[-KEPT_LINES:], line]
            yield line
        if process.wait() != 0:
            raise LaunchError(f"modal {arguments[0]}: {reason(said)}")


def modal_json(arguments: Sequence[str], timeout_s: float) -> Any:
    """Run one command that prints JSON."""
    text = "\n".join(modal_lines([*arguments, "--json"], None, timeout_s))
    try:
        return json.loads(text)
    except ValueError:
        raise LaunchError(f"modal {' '.join(arguments[:2])}: printed no JSON: {text[:200]}") from None


FRAMES = (
    "Traceback (most recent call last)",
    '  File "',
    "    ",
    "The above exception was",
    "During handling of the above",
)


def is_worth_showing(line: str) -> bool:
    """Not blank, and not of a traceback that the client prints (its last line, the error, is shown)."""
    return bool(line.strip()) and not line.startswith(FRAMES)


def reason(lines: Sequence[str]) -> str:
    """Why the command failed: its last error, without the frame that rich draws around it."""
    plain = [line.strip("│╭╮╰╯─ \n") for line in lines]
    told = [line for line in plain if line]
    marked = [line for line in told if "Error" in line or line.startswith("gpuplan:")]
    text = (marked or told or ["it failed and said nothing"])[-1]
    following = told[told.index(text) + 1 : told.index(text) + 3] if marked and len(text) < 20 else []
    return " ".join([text, *following]).strip()


def _advice(command: str) -> str:
    return " Give more with --timeout." if command in {"run", "deploy"} else ""


def _lines(process: subprocess.Popen[str], deadline: float) -> Iterator[str | None]:
    """Lines of the process; None once when the time is over."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            yield None
            return
        if line is None:
            return
        yield line


@contextmanager
def _closed(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """However the block is left, the process is over afterwards: asked first, then made to."""
    try:
        yield
    finally:
        if process.poll() is None:
            _signal(process, signal.SIGINT)
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()


def _signal(process: subprocess.Popen[str], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
