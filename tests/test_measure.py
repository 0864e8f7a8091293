"""measure: jobs from plans, the runner on a stand-in of vLLM, rows from what it leaves, plan beside engine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from planner.catalog import load_catalog
from planner.cli.planning import plan_text
from planner.errors import LaunchError
from planner.explain.measure import explain_measured, explain_refused, measured_document
from planner.measure.choose import choose, fits
from planner.measure.compare import compare_rows
from planner.measure.engine import engine_python, read_outcome, run_jobs, script_python
from planner.measure.host import runner
from planner.measure.job import SPREAD_EXPERTS, Job, Load, engine_split, job_values, make_job, workload_load
from planner.measure.on_modal import render_measure
from planner.measure.rows import Outcome, make_rows, refusal
from planner.measurements import append_rows, load_measurements, own_file, read_rows
from planner.workload import Workload
from tests.command import gpuplan
from tests.modal_server.containers import INSIDE
from tests.modal_server.faults import Fault

if TYPE_CHECKING:
    from planner.cli.planning import Planned
    from planner.deployment.running import Progress
    from tests.modal_server import World

STAND_IN = Path(__file__).parent / "vllm_stand_in"
SPEC = """\
name: l7
model: {repo: meta-llama/Llama-2-7b-hf}
engine: {max_model_len: 4096}
gpu: {types: [H200], counts: [1, 2]}
workload: {requests: 4, input_tokens: 20, output_tokens: 12}
"""
MOE = SPEC.replace("meta-llama/Llama-2-7b-hf", "Qwen/Qwen3-30B-A3B")
TOO_LARGE = SPEC.replace("meta-llama/Llama-2-7b-hf", "meta-llama/Meta-Llama-3-70B-Instruct").replace("[1, 2]", "[1]")
CONFIG = {"vocab_size": 512}
MACHINE = ("NVIDIA H200", "NVIDIA H200")


def planned(text: str = SPEC) -> Planned:
    return plan_text(text, "a test", offline=True)


def job(name: str = "toy", loads: tuple[Load, ...] = (), **values: Any) -> Job:
    settings = {
        "engine_version": "0.33.0",
        "tensor_parallel_size": 1,
        "dtype": "float16",
        "max_model_len": 4096,
        "max_num_seqs": 256,
        "max_num_batched_tokens": 8192,
    }
    config = {**CONFIG, **values.pop("config", {})}
    words = ("--max-model-len", "4096")
    return Job(name, "a/b", "H200", 1, words, settings, loads, config=config, **values)


def ignore(_: Progress) -> None:
    """Progress nobody watches."""


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN))
    monkeypatch.setattr("planner.measure.engine.engine_python", lambda: sys.executable)


def test_a_job_has_the_plans_own_flags() -> None:
    plan = planned().plan
    option = plan.options[0]
    made = make_job(plan.spec, plan.checkpoint, plan.facts, option.candidate, option.engine, [Load(1, 2, 3)])
    assert made.words[made.words.index("--max-num-seqs") + 1] == str(option.engine.max_num_seqs)
    assert made.config == plan.checkpoint.config
    assert job_values(made)["loads"][0]["requests"] == 1
    assert not SPREAD_EXPERTS.items() <= made.env.items()


def test_a_mixtures_tokens_are_spread_over_its_experts() -> None:
    plan = planned(MOE).plan
    option = plan.options[0]
    made = make_job(plan.spec, plan.checkpoint, plan.facts, option.candidate, option.engine, ())
    assert SPREAD_EXPERTS.items() <= made.env.items()


def test_a_steady_load_is_a_closed_loop() -> None:
    assert workload_load(Workload(concurrency=8)).in_flight == 8
    assert workload_load(Workload(concurrency=8)).requests == 40
    assert workload_load(Workload(requests=59)) == Load(59, 512, 256)


@pytest.mark.network
def test_the_runner_starts_times_and_reports(vllm: None, tmp_path: Path) -> None:
    loads = (Load(4, 20, 12, runs=2), Load(6, 20, 12, in_flight=2))
    [outcome] = run_jobs([job(loads=loads)], tmp_path, ignore)
    assert outcome.end == "done"
    start, burst, steady = make_rows(outcome, date="2026-11-23", source="a test")
    assert start.started
    assert (start.engine_version, start.torch, start.num_blocks) == ("0.33.0", "2.11.0+cu130", 14727)
    assert (start.kv_cache_tokens, start.max_concurrency, start.bytes_per_block) == (235632, 57.53, 8388608)
    assert (start.load_s, start.compile_s, start.capture_s) == (1.5, 18.2, 3)
    assert (burst.requests, burst.concurrency, burst.runs, burst.output_tokens) == (4, None, 2, 12)
    assert (steady.requests, steady.concurrency) == (None, 2)
    assert burst.output_tokens_per_second
    assert burst.ttft_ms is not None
    assert burst.available_kv_bytes is None


@pytest.mark.network
def test_generate_is_the_notes_own_call(vllm: None, tmp_path: Path) -> None:
    loads = (Load(2, 20, 12, prompts=("one two three", "four five")),)
    [outcome] = run_jobs([job(loads=loads, api="generate")], tmp_path, ignore)
    _, load = make_rows(outcome, date="2026-11-23", source="a test")
    assert (load.requests, load.output_tokens, load.input_tokens) == (2, 12, 2)


@pytest.mark.network
def test_an_engine_that_refuses_or_hangs_is_a_result(vllm: None, tmp_path: Path) -> None:
    words = "ValueError: No available memory for the cache blocks."
    jobs = [job("dies", config={"die": words}), job("hangs", config={"hang": 1}, timeout_s=1.0), job("lives")]
    dies, hangs, lives = run_jobs(jobs, tmp_path, ignore)
    [row] = make_rows(dies, date="2026-11-23", source="a test")
    assert (row.started, row.refusal) == (False, words)
    assert (hangs.end, lives.end) == ("timeout", "done")
    assert "not ready after 1 s" in refusal(hangs)


@pytest.mark.network
def test_a_runner_that_cannot_run_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("planner.measure.engine.engine_python", lambda: sys.executable)
    monkeypatch.setattr("planner.measure.engine.RUNNER", tmp_path / "absent.py")
    with pytest.raises(LaunchError, match="the runner ended with code"):
        run_jobs([job()], tmp_path, ignore)


def test_an_engine_that_left_nothing_is_a_refusal(tmp_path: Path) -> None:
    [row] = make_rows(read_outcome(job(), tmp_path, "lost"), date="2026-11-23", source="a test")
    assert row.refusal == "the engine ended (lost) and said nothing"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("x RuntimeError: Engine core initialization failed. See root cause\ny ValueError: heads", "ValueError: heads"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", "torch.OutOfMemoryError: CUDA out of memory. Tried"),
    ],
)
def test_the_first_cause_is_the_refusal(log: str, words: str) -> None:
    assert refusal(Outcome(job(), (), log, "failed")) == words


@pytest.mark.parametrize(
    ("script", "python"),
    [
        ("#!/usr/bin/python3\nimport x", "/usr/bin/python3"),
        ("#!/usr/bin/env python3\nimport x", "python3"),
        ("#!/bin/sh\n'''exec' \"/opt/a b\"", "/opt/a"),
        ("\x7fELF", None),
        ("", None),
    ],
)
def test_the_python_of_a_script(script: str, python: str | None) -> None:
    assert script_python(script) == python


def test_without_vllm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("planner.measure.engine.find_spec", lambda _: None)
    with pytest.raises(LaunchError, match="pip install 'gpuplan\\[local\\]'"):
        engine_python()


def test_only_what_this_machine_has_is_started() -> None:
    plan, catalog = planned().plan, load_catalog()
    assert [subject.candidate.count for subject in choose(plan, catalog, MACHINE[:1], top=9)] == [1]
    assert len(choose(plan, catalog, MACHINE, top=9)) == len(plan.options)
    assert not fits(plan.options[0].candidate, ("NVIDIA L4",))
    with pytest.raises(LaunchError, match="1×NVIDIA L4"):
        choose(plan, catalog, ("NVIDIA L4",))


def test_a_rejected_configuration_is_started_only_when_asked() -> None:
    plan, catalog = planned(TOO_LARGE).plan, load_catalog()
    with pytest.raises(LaunchError, match="no valid configuration"):
        choose(plan, catalog, None)
    [subject] = choose(plan, catalog, None, anyway=True)
    assert subject.rejection
    assert subject.rejection.code == "memory"
    row = replace(_start(), started=False, refusal="ValueError: No available memory")
    lines = [line.text for line in explain_refused(subject.rejection, [row])]
    assert any("plan    memory" in line for line in lines)
    assert any("engine  ValueError" in line for line in lines)
    assert measured_document([row], None, subject.rejection)["verdict"] == "memory"


def _start() -> Any:
    events = [
        {"event": "host", "engine_version": "0.33.0", "torch": "2.11.0", "device": "NVIDIA H200", "driver": "580"},
        {"event": "memory", "rank": 1, "available_kv_bytes": 1},
        {"event": "memory", "rank": 0, "requested_bytes": 138101089895, "available_kv_bytes": 123543106663},
        {"event": "started", "seconds": 61.2},
        {"event": "settings", "dtype": "float16", "max_model_len": 4096},
        {"event": "load", "load": {}, "seconds": 2.0, "output_tokens": 48, "ttft_s": 0.06, "tpot_s": 0.007},
    ]
    return make_rows(Outcome(job(loads=(Load(4, 20, 12),)), events, "", "done"), date="2026-11-23", source="a test")[0]


def test_plan_and_engine_stand_side_by_side() -> None:
    option = planned().plan.options[0]
    load = replace(_start(), requests=4, input_tokens=20, output_tokens=12, output_tokens_per_second=24.0)
    figures = {figure.what: figure for figure in compare_rows(option, [_start(), load])}
    kv = figures["left for KV"]
    assert kv.error == pytest.approx((option.memory.available_kv_bytes - 123543106663) / 138101089895)
    assert figures["output tokens/s"].measured == 24
    lines = [line.text for line in explain_measured(option, [_start(), load])]
    assert any("left for KV" in line for line in lines)
    assert any("4 requests at once" in line for line in lines)
    document = measured_document([_start(), load], option, None)
    assert json.loads(json.dumps(document))["verdict"] == "valid"


def test_a_plan_after_a_measurement_says_measured_and_changes_nothing_else() -> None:
    before = planned().plan.options
    target = before[0]
    engine = target.engine
    row = replace(
        _start(),
        model="meta-llama/Llama-2-7b-hf",
        count=1,
        engine_version="0.33.0",
        dtype=engine.dtype,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        requests=4,
        input_tokens=20,
        output_tokens=12,
        runs=3,
        output_tokens_per_second=1234.0,
        ttft_ms=9.0,
        tpot_ms=3.0,
    )
    append_rows([row])
    assert row in load_measurements()
    after = {engine_split(option.candidate): option for option in planned().plan.options}
    changed = after[engine_split(target.candidate)]
    assert changed.throughput.provenance == "measured"
    assert changed.throughput.output_tokens_per_second == 1234
    assert (changed.memory, changed.kv_cache, changed.stages) == (target.memory, target.kv_cache, target.stages)
    assert changed.cost.usd_per_hour == target.cost.usd_per_hour
    for option in before[1:]:
        assert after[engine_split(option.candidate)] == option


def test_modals_function_is_valid_python_with_the_runner_in_it() -> None:
    plan = planned().plan
    option = plan.options[0]
    made = make_job(plan.spec, plan.checkpoint, plan.facts, option.candidate, option.engine, [Load(1, 2, 3)])
    source = render_measure(replace(made, repo='a/"\n'), plan.spec, "H200:1", "gpuplan-measure-1")
    compile(source, "app.py", "exec")
    assert "class RecordingWorker" in source
    assert 'GPU = "H200:1"' in source


class Steps:
    """An engine that makes one token of every request in each step."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.left: dict[str, list[int]] = {}

    def add_request(self, name: str, prompt: object, tokens: int) -> None:
        del prompt
        self.asked.append(tokens)
        self.left[name] = [0, tokens]

    def has_unfinished_requests(self) -> bool:
        return bool(self.left)

    def step(self) -> list[SimpleNamespace]:
        outputs = []
        for name, row in list(self.left.items()):
            row[0] += 1
            ids = SimpleNamespace(token_ids=[0] * row[0])
            outputs.append(SimpleNamespace(request_id=name, outputs=[ids], finished=row[0] == row[1]))
            if row[0] == row[1]:
                del self.left[name]
        return outputs


def test_a_closed_loop_is_timed_where_it_is_steady() -> None:
    engine, whole = Steps(), 8
    made = runner.step_through(engine, [{}] * 12, lambda share: round(whole * share), 4)
    assert engine.asked == [2, 4, 6, 8, *[8] * 8]  # answers of every length, so that they do not end together
    assert made["output_tokens"] == 60  # 15 steps of four: after the first tokens, until the last request is added
    assert made["ttft_s"] is not None


def test_a_burst_is_timed_from_its_first_request_to_its_last_token() -> None:
    engine = Steps()
    assert runner.step_through(engine, [{}] * 5, lambda share: round(8 * share), 5)["output_tokens"] == 40
    assert engine.asked == [8] * 5


@pytest.mark.network
def test_a_start_on_modal_is_asked_paid_measured_and_gone(tmp_path: Path, world: World) -> None:
    """By the real client against the loopback server; the container has a stand-in of vLLM."""
    world.container_env["PYTHONPATH"] = os.pathsep.join([str(INSIDE), str(STAND_IN)])
    spec = tmp_path / "l7.yaml"
    spec.write_text(SPEC)
    asked = gpuplan("measure", spec, "--offline")
    assert (asked.code, world.of_rpc("FunctionCreate")) == (2, [])
    assert "Rent 1×H200 on Modal for a few minutes: at most $" in asked.err

    done = gpuplan("measure", spec, "--offline", "--yes", "--runs", "2")
    assert done.code == 0, done.err
    assert "model loading" in done.out
    function = world.of_rpc("FunctionCreate")[-1].function
    assert (function.resources.gpu_config.gpu_type, function.resources.gpu_config.count) == ("H200", 1)
    assert all(app.stopped_at for app in world.apps.values())
    start, load = read_rows(own_file())
    assert (start.num_blocks, start.source) == (14727, "gpuplan measure on Modal")
    assert load.requests == 4

    planned_after = gpuplan("plan", spec, "--offline")
    assert "measured" in planned_after.out


@pytest.mark.network
def test_a_start_that_modal_refuses_is_said_and_leaves_nothing(tmp_path: Path, world: World) -> None:
    spec = tmp_path / "l7.yaml"
    spec.write_text(SPEC)
    for rpc in ("FunctionCreate", "AppClientDisconnect"):  # nor can the client end its app
        world.faults.append(Fault(rpc, error="RESOURCE_EXHAUSTED", message="no GPUs left"))
    done = gpuplan("measure", spec, "--offline", "--yes")
    assert done.code == 7
    assert "no GPUs left" in done.err
    assert "Traceback" not in done.err
    assert all(app.stopped_at for app in world.apps.values())


@pytest.mark.network
def test_what_was_measured_before_modal_refuses_is_kept(tmp_path: Path, world: World) -> None:
    """It was paid for."""
    world.container_env["PYTHONPATH"] = os.pathsep.join([str(INSIDE), str(STAND_IN)])
    spec = tmp_path / "l7.yaml"
    spec.write_text(SPEC)
    world.faults.append(Fault("FunctionCreate", error="RESOURCE_EXHAUSTED", message="no GPUs left", after=1))
    done = gpuplan("measure", spec, "--offline", "--yes", "--runs", "2", "--top", "2")
    assert done.code == 7
    assert "no GPUs left" in done.err
    assert "model loading" in done.out
    assert [row.source for row in read_rows(own_file())] == ["gpuplan measure on Modal"] * 2
