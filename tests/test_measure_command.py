"""gpuplan measure from the command line, on a stand-in of vLLM and of nvidia-smi."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from planner.measurements import load_measurements, own_file, shipped_measurements
from tests.command import gpuplan

STAND_IN = Path(__file__).parent / "vllm_stand_in"
SPEC = """\
name: l7
model: {repo: meta-llama/Llama-2-7b-hf}
engine: {max_model_len: 4096}
gpu: {types: [H200], counts: [1]}
workload: {requests: 4, input_tokens: 20, output_tokens: 12}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "l7.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One H200 with a vLLM that answers at once."""
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN))
    monkeypatch.setattr("planner.measure.engine.engine_python", lambda: sys.executable)
    monkeypatch.setattr("planner.measure.engine.gpu_names", lambda: ("NVIDIA H200",))


@pytest.mark.network
def test_measured_here_beside_the_plan(machine: None, spec: Path) -> None:
    done = gpuplan("measure", spec, "--target", "local", "--offline", "--runs", "2")
    assert done.code == 0, done.err
    assert "left for KV" in done.out
    assert "4 requests at once, 20 in, 12 out" in done.out
    assert "Kept in" in done.err
    rows = load_measurements()[len(shipped_measurements()) :]
    assert [row.runs for row in rows] == [None, 2]
    assert rows[0].source == "gpuplan measure on this machine"


@pytest.mark.network
def test_plan_and_engine_as_a_page(machine: None, spec: Path, tmp_path: Path) -> None:
    page = tmp_path / "measured.html"
    done = gpuplan("measure", spec, "--target", "local", "--offline", "--no-keep", "--html", page)
    assert done.code == 0, done.err
    assert "4 requests at once, 20 in, 12 out" in page.read_text()
    assert "1×H200, tensor parallel 1" in page.read_text()


@pytest.mark.network
def test_json_and_nothing_else(machine: None, spec: Path) -> None:
    done = gpuplan("measure", spec, "--target", "local", "--offline", "--json", "--no-keep")
    assert done.code == 0, done.err
    [measured] = json.loads(done.out)["measured"]
    assert measured["started"]
    assert measured["rows"][0]["model"] == "meta-llama/Llama-2-7b-hf"
    assert not own_file().exists()


@pytest.mark.network
def test_a_refusal_where_the_plan_said_valid_ends_with_7(
    machine: None, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "ValueError: No available memory for the cache blocks."
    monkeypatch.setattr("planner.measure.job.served_config", lambda _: {"die": words})
    done = gpuplan("measure", spec, "--target", "local", "--offline", "--no-keep")
    assert done.code == 7
    assert words in done.out


def test_without_a_gpu_it_says_where_to_measure(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.measure.engine.gpu_names", lambda: ())
    done = gpuplan("measure", spec, "--target", "local", "--offline")
    assert done.code == 7
    assert "no NVIDIA GPU" in done.err


def test_renting_is_asked_for_with_its_price(spec: Path) -> None:
    done = gpuplan("measure", spec, "--offline")
    assert done.code == 2
    assert "Rent 1×H200 on Modal for a few minutes: at most $" in done.err
    assert "pass --yes" in done.err


def test_without_a_token_modal_is_not_waited_for(spec: Path) -> None:
    done = gpuplan("measure", spec, "--offline", "--yes")
    assert done.code == 7
    assert "modal: no token" in done.err
