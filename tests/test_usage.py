"""What is typed wrong: options that would be passed over, arguments that are missing, sentences within a terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from planner.cli import COMMANDS
from planner.cli import gpuplan as group
from planner.cli.paint import within_terminal
from tests.command import gpuplan

ROOT = Path(__file__).resolve().parent.parent
SPEC = str(ROOT / "specs" / "70b.yaml")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cost", "compare", SPEC, "--csv", "--json"), "--csv, --json: standard output is the one or the other."),
        (("cost", "compare", SPEC, "--json", "--plot"), "--plot: not with --json"),
        (("cost", "compare", SPEC, "--csv", "--plot"), "--plot: not with --csv"),
        (("cost", "compare", SPEC, "--csv", "--all"), "--all: not with --csv"),
        (("cost", "compare", SPEC, "--base", "HEAD", "--json"), "--json: not with --base, which prints Markdown"),
        (
            ("cost", "compare", SPEC, "--base", "HEAD", "--html", "x", "--sort", "usd_per_hour"),
            "--sort, --html: not with",
        ),
        (
            ("doctor", "--set", "name=a", "--target", "local", "--offline"),
            "--set, --target, --offline: only with a SPEC",
        ),
        (("plan", SPEC, "--assume-kv-bytes", "1", "--out", "x.json"), "--out: not with --assume-kv-bytes"),
        (
            ("bench", "http://127.0.0.1:9", "--prompts", SPEC, "--input-tokens", "9"),
            "--input-tokens: not with --prompts",
        ),
        (("bench", SPEC, "--prompts", SPEC, "--requests", "9"), "--requests: not with --prompts for a spec"),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = gpuplan(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(said)
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_at_its_default_is_not_refused() -> None:
    assert gpuplan("cost", "compare", SPEC, "--offline", "--csv", "--no-plot").code == 0


def with_a_required_argument() -> list[tuple[str, ...]]:
    context = click.Context(group)
    found = []
    for name in COMMANDS:
        command = group.get_command(context, name)
        members = command.commands if isinstance(command, click.Group) else {"": command}
        for member, one in members.items():
            if one and any(isinstance(option, click.Argument) and option.required for option in one.params):
                found.append((name, member) if member else (name,))
    return found


@pytest.mark.parametrize("words", with_a_required_argument())
def test_a_missing_argument_is_told_with_an_example(words: tuple[str, ...]) -> None:
    done = gpuplan(*words)
    assert done.code == 2
    assert "Missing argument" in done.err
    assert f"Type for example: gpuplan {' '.join(words)} " in done.err


def test_most_commands_have_one() -> None:
    assert {("plan",), ("cost", "compare"), ("fits",), ("completion",)} < set(with_a_required_argument())


LONG = (
    "specs/chat.yaml:4:3: model.dtpe: unknown key, and a sentence about it that goes on and on. "
    "Save it first: gpuplan plan specs/chat.yaml --out plan.json --set engine.max_model_len=8192, then go on."
)


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_sentences_are_wrapped_between_words_and_what_is_typed_stays_whole(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = within_terminal(LONG).split("\n")
    command = "gpuplan plan specs/chat.yaml --out plan.json --set engine.max_model_len=8192"
    assert " ".join(line.strip() for line in lines) == LONG
    assert [line for line in lines if command in line]
    assert lines[0].startswith("specs/chat.yaml:4:3: ")
    assert [line for line in lines if len(line) > columns and command not in line] == []


def test_a_log_and_what_fits_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "llama: died.\n  | " + "x " * 60 + "\nNothing is left running."
    assert within_terminal(text) == text


@pytest.mark.network
def test_only_a_terminal_gets_them_wrapped(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    spec = tmp_path / "a.yaml"
    spec.write_text("name: a\nmodel: {repo: org/name}\nengine: {max_modl_len: 1, kv_cache_dtype: nonsense}\n")
    command = [sys.executable, "-m", "planner", "validate", str(spec)]
    piped = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert piped.returncode == 2
    assert all(line.startswith(f"{spec}:3:") for line in piped.stderr.splitlines())
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(command, check=False, stderr=theirs, cwd=ROOT, env={**os.environ, "COLUMNS": "50"})
        shown = os.read(ours, 100_000).decode()
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 2
    assert len(shown.splitlines()) > len(piped.stderr.splitlines())
    assert " ".join(shown.split()) == " ".join(piped.stderr.split())


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.email=a@example.org", "-c", "user.name=a")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


@pytest.mark.network
@pytest.mark.skipif(shutil.which("git") is None, reason="git holds the earlier version")
def test_a_base_without_an_earlier_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = Path(SPEC).read_text()
    Path("a.yaml").write_text(text)
    compare = ("--offline", "--base", "HEAD")
    alone = gpuplan("cost", "compare", "a.yaml", *compare)
    assert (alone.code, alone.err.startswith(f"--base: {tmp_path} is in no git repository")) == (2, True)
    git(tmp_path, "init", "-q")
    assert "HEAD is no revision that git knows here" in gpuplan("cost", "compare", "a.yaml", *compare).err
    Path("b.yaml").write_text("name: [")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    Path("b.yaml").write_text(text)
    said = {
        "gone.yaml": "gone.yaml: no such file, neither now nor at HEAD.",
        "nowhere/x.yaml": "nowhere/x.yaml: no such file, neither now nor at HEAD.",
        "b.yaml": "at HEAD: b.yaml:2:1: file: a value is missing here, or a [ or { above is not closed",
        "-": "-: is no file, so it has no earlier version.",
        "meta-llama/Llama-2-7b-chat-hf": "meta-llama/Llama-2-7b-chat-hf: is no file",
    }
    for source, sentence in said.items():
        done = gpuplan("cost", "compare", source, *compare)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(sentence)
    Path("new.yaml").write_text(text)
    assert "| `new.yaml` | " in gpuplan("cost", "compare", "new.yaml", *compare).out
