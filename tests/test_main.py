"""The console script: exit codes, pipes that close early, disks that are full; sentences, no tracebacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.network  # child processes

ROOT = Path(__file__).resolve().parent.parent
SPEC = str(ROOT / "specs" / "70b.yaml")
FULL = Path("/dev/full")


def run(*words: str, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "planner", *words], check=False, stdout=stdout, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("plan", SPEC, "--offline"), 0, "2×A100-80GB"),
        (("plan", SPEC, "--offline", "--set", "gpu.types=[L4]", "--set", "gpu.counts=[1]"), 4, "memory"),
        (("plan", SPEC, "--offline", "--set", "budget.max_usd_per_hour=1"), 5, "budget"),
        (("models", "llama-2-70b"), 0, "meta-llama/Llama-2-70b"),
        (("--help",), 0, "plan"),
        (("doctor",), None, "vllm"),
    ],
)
def test_what_is_printed_and_the_exit_code_arrive(words: tuple[str, ...], code: int | None, said: str) -> None:
    done = run(*words)
    assert code is None or done.returncode == code, done.stderr
    assert said in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("plan", "absent.yaml"), ("plan", "--nonsense"), ("bogus",)])
def test_what_cannot_be_run_is_a_sentence_and_exit_2(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_a_mistyped_command_is_asked_back() -> None:
    assert "No such command 'plam'. Did you mean plan?" in run("plam").stderr


def test_a_name_that_no_file_can_have_is_a_sentence() -> None:
    done = run("plan", "a" * 5000)
    assert done.returncode == 2
    assert "cannot be read (File name too long)" in done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("plan SPEC --offline >&-", 0, ""),
        ("plan SPEC --offline 2>&-", 0, "2×A100-80GB"),
        ("plan - --offline <&-", 2, "stdin:1:1: file: empty"),
        ("models | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("plan SPEC --offline --json | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("deploy SPEC --offline --dry-run | true; exit ${PIPESTATUS[0]}", 7, "What runs tells `gpuplan status`."),
    ],
)
def test_closed_streams_are_no_bug(line: str, code: int, said: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m planner {line.replace('SPEC', SPEC)}"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert said in done.stdout + done.stderr


def test_characters_that_the_terminal_has_not_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    done = subprocess.run(
        [sys.executable, "-m", "planner", "plan", SPEC, "--offline"], check=False, capture_output=True
    )
    assert done.returncode == 0
    assert "2×A100-80GB" in done.stdout.decode("latin-1")


def test_a_folder_that_is_gone_is_not_needed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    line = f"mkdir {gone}; cd {gone}; rmdir {gone}; {sys.executable} -c \"import sys; sys.path.insert(0, '{ROOT}'); "
    line += "from planner.cli import main; main(['plan', 'meta-llama/Llama-2-7b-chat-hf', '--offline'])\""
    done = subprocess.run(["bash", "-c", line], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout[:10]) == (0, "meta-llama"), done.stderr


@pytest.mark.parametrize("words", [("models",), ("plan", SPEC, "--offline")])
def test_a_reader_that_goes_away_early_is_no_bug(words: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "planner", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.close()
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said


@pytest.mark.skipif(not FULL.exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("plan", SPEC, "--offline"), 1, "Nothing more was written.\n"),
        (
            ("deploy", SPEC, "--offline", "--dry-run"),
            7,
            "Nothing more was written. What runs tells `gpuplan status`.\n",
        ),
    ],
)
def test_a_full_disk_is_a_sentence(words: tuple[str, ...], code: int, said: str) -> None:
    with FULL.open("w") as full:
        done = run(*words, stdout=full)
    assert done.returncode == code
    assert done.stderr.endswith(f"No space left on device. {said}")
