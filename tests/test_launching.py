"""What the deployment commands make of their arguments: specs, saved plans, questions, interrupts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import pytest
from msgspec.structs import replace

from planner.cli.launching import ProgressLine, confirm, read_spec
from planner.cli.rollback import version_problem
from planner.deployment.running import Progress, Recorded, Running, weights_progress
from tests.command import gpuplan
from tests.hand_plans import SPEC_7B
from tests.releases import LLAMA_7B

if TYPE_CHECKING:
    from pathlib import Path

PRICES = "offers:\n  - {{gpu: L40S, usd_per_second: {}, counts_sold: [1], as_of: 2026-11-20, source: our contract}}\n"
PINNED = ("--set", f"model.revision={LLAMA_7B.revision}", "--offline")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "llama.yaml"
    path.write_text(SPEC_7B)
    return path


def test_what_runs_is_found_by_the_name_that_it_was_deployed_by(tmp_path: Path) -> None:
    assert read_spec("meta-llama/Llama-2-7b-chat-hf").name == "llama-2-7b-chat-hf"
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nmodel: {repo: org/model}\ngpu: {types: [X1]}\n")  # X1 stands in a --catalog of one's own
    assert read_spec(str(own)).name == "own"
    assert read_spec(str(own), target="local").target == "local"


def test_a_plan_saved_with_set_is_still_true(spec: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    more = ("--set", "engine.max_num_seqs=64", "--target", "local")
    assert gpuplan("plan", spec, *PINNED, *more, "--out", saved).code == 0
    done = gpuplan("deploy", saved, "--offline", "--dry-run")
    assert (done.code, "stale" in done.err) == (0, False)
    spec.write_text(SPEC_7B.replace("4096", "2048"))
    assert "was edited since" in gpuplan("deploy", saved, "--offline", "--dry-run").err


@pytest.mark.parametrize(("usd_per_second", "code", "said"), [(0.001, 0, "It costs $4.04/h now"), (0.01, 5, "budget")])
def test_a_saved_plan_meets_a_new_price(usd_per_second: float, code: int, said: str, spec: Path) -> None:
    spec.write_text(SPEC_7B.replace("[L40S]", "[L40S, A100-40GB]") + "budget: {max_usd_per_hour: 5}\n")
    saved, prices = spec.with_name("plan.json"), spec.with_name("prices.yaml")
    assert gpuplan("plan", spec, *PINNED, "--out", saved).code == 0
    prices.write_text(PRICES.format(usd_per_second))
    done = gpuplan("deploy", saved, "--offline", "--dry-run", "--catalog", prices)
    assert done.code == code, done.err
    assert said in done.err


RUNNING = Running("llama", None, 3, "deployed", None, ())
OVER = replace(LLAMA_7B, expires_at="2020-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("wanted", "past", "problem"),
    [
        (2, Recorded(2, LLAMA_7B, proven=True), None),
        (2, None, None),
        (3, None, "there is no version 3 to go back to, version 3 runs."),
        (99, None, "there is no version 99 to go back to, version 3 runs."),
        (
            2,
            Recorded(2, OVER, proven=True),
            "version 2 ended at 2020-01-01T00:00:00+00:00 (--ttl); deploy its spec again.",
        ),
    ],
)
def test_where_a_rollback_can_go(wanted: int, past: Recorded | None, problem: str | None) -> None:
    assert version_problem(RUNNING, wanted, past) == problem


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (0, 137_953_325_056, "0.0 of 138.0 GB"),
        (13_500_000_000, 137_953_325_056, "13.5 of 138.0 GB"),
        (2_400_000, 25e7, "2.4 of 250.0 MB"),
    ],
)
def test_progress_is_in_bytes(done: int, total: int, text: str) -> None:
    assert weights_progress(done, total).text == text


class Terminal:
    def isatty(self) -> bool:
        return True


def test_progress_that_nobody_reads_breaks_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `gpuplan deploy SPEC 2>&1 | grep -m1 weights`: a launch that was begun goes on."""

    def gone(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    line = ProgressLine()
    monkeypatch.setattr("planner.cli.launching.click.echo", gone)
    line(Progress("weights", "1.0 of 2.0 GB"))


@pytest.mark.parametrize("command", ["status", "stop", "deploy", "doctor"])
def test_what_is_no_spec_is_told_where_it_stands(command: str, tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[1]")
    assert gpuplan(command, path).err.startswith(f"{path}:1:1: file: a list is not a mapping")
    assert gpuplan(command, "").err.startswith("SPEC: is empty")


def test_ctrl_c_at_a_question_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> bool:
        raise click.Abort

    monkeypatch.setattr("planner.cli.launching.sys.stdin", Terminal())
    monkeypatch.setattr("planner.cli.launching.sys.stderr", Terminal())
    monkeypatch.setattr("planner.cli.launching.click.confirm", interrupted)
    monkeypatch.setattr("planner.cli.launching.click.echo", lambda **_: None)
    assert not confirm("Launch?", yes=False)


def test_ctrl_c_is_not_a_bug(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("planner.cli.planning._plan", interrupted)
    done = gpuplan("plan", spec)
    assert (done.code, done.err) == (130, "Interrupted.\n")
