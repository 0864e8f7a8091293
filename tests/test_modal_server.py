"""The stand-in itself: its faults, and that it can be used by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.modal_server.faults import Fault, parse_fault

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("AppPublish=UNAVAILABLE", Fault("AppPublish", error="UNAVAILABLE")),
        ("AppPublish=delay:2.5", Fault("AppPublish", delay_s=2.5)),
        ("AppPublish=hang", Fault("AppPublish", hang=True)),
        ("AppPublish=drop@3", Fault("AppPublish", drop=True, after=3)),
        ("AppPublish=lost", Fault("AppPublish", lost=True)),
        ("FunctionCreate=INTERNAL@1", Fault("FunctionCreate", error="INTERNAL", after=1)),
    ],
)
def test_faults_as_they_are_written(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


def test_a_fault_lets_some_calls_pass_and_then_strikes_so_often() -> None:
    fault = Fault("x", error="INTERNAL", after=2, times=3)
    assert [fault.strikes() for _ in range(7)] == [False, False, True, True, True, False, False]


@pytest.mark.network
def test_by_hand(tmp_path: Path) -> None:
    """Started as a program, it prints what to export; with that a deploy of a shipped spec goes through."""
    server = subprocess.Popen([sys.executable, "-m", "tests.modal_server"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        for line in server.stdout or ():
            if not line.startswith("export "):
                break
            name, _, value = line.removeprefix("export ").strip().partition("=")
            environ[name] = value
        done = subprocess.run(
            [sys.executable, "-m", "planner", "deploy", "specs/70b.yaml", "--offline", "--yes"],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "GPUs: 2×A100-80GB" in done.stdout
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(120)
