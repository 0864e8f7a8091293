"""bench: endpoints that answer and endpoints that do not, a stand-in of guidellm, the note's table, files and logs."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from planner.bench.load_generator import Asked, prompt_rows, read_report, scenario
from planner.bench.offline import read_prompts
from planner.bench.online import guidellm_command, look, run_online
from planner.bench.plot import write_plot
from planner.bench.point import COLUMNS, Latency, Point, offline_table, online_table, point_document, points_csv
from planner.bench.wandb_log import log_points
from planner.errors import LaunchError, SpecError
from planner.measurements import load_measurements, shipped_measurements
from tests.command import gpuplan
from tests.endpoint import KEY, serve_endpoint

if TYPE_CHECKING:
    from planner.deployment.running import Progress

STAND_IN = Path(__file__).parent / "vllm_stand_in"
ASKED = Asked("http://127.0.0.1:1", "toy", 8, 10, 6, concurrency=(1, 4), ttft_ms=100, tpot_ms=50)
SPEC = """\
name: l7
model: {repo: meta-llama/Llama-2-7b-hf}
engine: {max_model_len: 4096}
gpu: {types: [H200]}
"""


def report_of(answered: int, errored: int, error: str = "") -> dict[str, Any]:
    """The parts of guidellm 0.8's report that are read, for one load."""
    answers = [
        {
            "request_start_time": 1.5 * number / answered,
            "request_end_time": 0.5 + 1.5 * (number + 1) / answered,
            "output_tokens": 6,
            "prompt_tokens": 10,
            "time_to_first_token_ms": 10.0 * number,
            "inter_token_latency_ms": 5.0,
            "request_latency": 0.5,
        }
        for number in range(answered)
    ]
    failed = [{"info": {"error": error}}] * errored
    requests = {"successful": answers, "errored": failed, "incomplete": []}
    # what it makes of them leaves out the last answer, which ended after its window
    totals = {"successful": answered - 1, "errored": errored, "incomplete": 0, "total": answered + errored - 1}
    metrics = {"request_totals": totals, "slo_attainment": 0.5 if answered else None}
    return {"duration": 1.9, "metrics": metrics, "requests": requests}


def ignore(_: Progress) -> None:
    """Progress nobody watches."""


@pytest.fixture
def fake_guidellm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a `guidellm` on PATH that runs the given Python body; `told` is the scenario."""

    def install(body: str) -> None:
        script = tmp_path / "bin" / "guidellm"
        script.parent.mkdir(exist_ok=True)
        head = f"#!{sys.executable}\nimport json, sys, time\ntold = json.load(open(sys.argv[3]))['spec']\n"
        script.write_text(head + body)
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr("planner.bench.online.find_spec", lambda _: None)

    return install


WRITES = "report = {report!r}\njson.dump(report, open(told['outputs'][0]['path'], 'w'))\n"
COUNTS = "print('Benchmark 1: active | successful=3 errored=1 incomplete=0', flush=True)\n"


@pytest.mark.network
def test_each_load_becomes_a_point(fake_guidellm: Any) -> None:
    said: list[str] = []
    fake_guidellm(COUNTS + WRITES.format(report={"benchmarks": [report_of(8, 0), report_of(6, 2, "ReadTimeout('')")]}))
    one, four = run_online(ASKED, {}, lambda progress: said.append(progress.text), usd_per_hour=3.6)
    assert said == ["3 answered, 1 failed"]
    assert (one.load, one.requests, one.failed) == ("1 in flight", 8, 0)
    assert one.output_tokens_per_second == 24
    assert one.usd_per_million_output_tokens == pytest.approx(3.6 / 3600 / 24 * 1e6)
    assert one.e2e_ms == Latency(500, 500, 500, 500)
    assert one.ttft_ms == Latency(35, 35, pytest.approx(63), pytest.approx(69.3))
    assert one.goodput_per_second == 2
    assert (four.failed, four.errors) == (2, ("2× ReadTimeout('')",))


@pytest.mark.network
def test_a_generator_that_fails_or_never_ends_is_ended(fake_guidellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_guidellm("print('RuntimeError: no')\nsys.exit(3)\n")
    with pytest.raises(LaunchError, match="guidellm: RuntimeError: no"):
        run_online(ASKED, {}, ignore)
    monkeypatch.setattr("planner.bench.online.OVERHEAD_S", -2 * (900 + 120) + 0.5)
    fake_guidellm("time.sleep(60)\n")
    with pytest.raises(LaunchError, match="not done after"):
        run_online(ASKED, {}, ignore)


def test_without_guidellm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("planner.bench.online.find_spec", lambda _: None)
    with pytest.raises(LaunchError, match="gpuplan\\[bench\\]"):
        guidellm_command()


def test_nothing_answered_is_a_point_without_latencies() -> None:
    [point] = read_report({"benchmarks": [report_of(0, 8, "ConnectError")]}, ASKED, 3.6)
    assert (point.requests, point.failed, point.ttft_ms, point.usd_per_million_output_tokens) == (0, 8, None, None)


def test_a_sweep_of_rates_and_limits_reach_the_generator() -> None:
    told = scenario(Asked("http://a", "m", 50, 1, 1, rates=(0.5, 2), ttft_ms=9), {"Authorization": "x"}, "d", "r")
    spec = told["spec"]
    assert spec["profile"] == {"kind": "poisson", "rate": [0.5, 2]}
    assert spec["metrics"]["slo"] == {"ttft_ms": 9}
    assert spec["backend"]["extras"]["headers"] == {"Authorization": "x"}
    assert {constraint["kind"] for constraint in spec["constraints"]} == {"max_requests", "max_duration", "max_errors"}


def test_prompts_are_made_up_or_ones_own() -> None:
    rows = prompt_rows(ASKED)
    assert len({row["prompt"] for row in rows}) == 8
    assert {len(row["prompt"].split()) for row in rows} == {10}
    own = prompt_rows(Asked("http://a", "m", 3, 1, 7, concurrency=(1,), prompts=("a", "b")))
    assert [row["prompt"] for row in own] == ["a", "b", "a"]


@pytest.mark.network
def test_an_endpoint_is_looked_at_first() -> None:
    with serve_endpoint(key=KEY) as url:
        assert look(f"{url}/v1", None, {"Authorization": f"Bearer {KEY}"}).model == "toy"
        with pytest.raises(LaunchError, match=r"the key was refused \(HTTP 401\)"):
            look(url, None, {})
        with pytest.raises(LaunchError, match="it serves toy, not other"):
            look(url, "other", {"Authorization": f"Bearer {KEY}"})
    with pytest.raises(LaunchError, match="no model list"):
        look(url, None, {}, timeout_s=2)


@pytest.mark.network
def test_a_refused_connection_ends_at_once() -> None:
    done = gpuplan("bench", "http://127.0.0.1:9", "--requests", "5")
    assert done.code == 7
    assert "no model list at /v1/models (Connection refused)." in done.err


@pytest.mark.network
def test_bench_of_a_url(fake_guidellm: Any, tmp_path: Path) -> None:
    fake_guidellm(WRITES.format(report={"benchmarks": [report_of(8, 0), report_of(0, 8, "boom")]}))
    with serve_endpoint() as url:
        csv_file, page = tmp_path / "b.csv", tmp_path / "b.html"
        done = gpuplan(
            "bench",
            url,
            "--concurrency",
            "1,4",
            "--ttft-ms",
            "100",
            "--usd-per-hour",
            "3.6",
            "--csv",
            csv_file,
            "--html",
            page,
        )
    assert done.code == 0, done.err
    assert "goodput/s" in done.out
    assert "4 in flight: 8× boom" in done.err
    assert len(csv_file.read_text().splitlines()) == 3
    assert "<bdi>4 in flight</bdi>: <bdi>8× boom</bdi>" in page.read_text()


@pytest.mark.network
def test_the_notes_table_by_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN))
    monkeypatch.setattr("planner.measure.engine.engine_python", lambda: sys.executable)
    monkeypatch.setattr("planner.measure.engine.gpu_names", lambda: ("NVIDIA H200",) * 2)
    spec, picture = tmp_path / "l7.yaml", tmp_path / "l7.png"
    spec.write_text(SPEC)
    done = gpuplan("bench", spec, "--num-gpus", "1,2", "--offline", "--plot", picture, "--html", tmp_path / "b.html")
    assert done.code == 0, done.err
    header, one, two = done.out.splitlines()
    assert header.split() == ["model", "GPU", "num_gpus", "avg", "tok/sec", "±", "stdev", "runs", "$/M", "tokens"]
    assert one.split()[:3] == ["meta-llama/Llama-2-7b-hf", "H200", "1"]
    assert two.split()[2] == "2"
    assert picture.read_bytes().startswith(b"\x89PNG")
    kept = [row for row in load_measurements()[len(shipped_measurements()) :] if row.is_speed]
    assert [(row.requests, row.runs, row.count) for row in kept] == [(59, 5, 1), (59, 5, 2)]


POINTS = [
    Point("a/b", "H100", 1, "59 prompts", 295, 0, 5, 45, 350, 8000.4, 21.7, usd_per_hour=4.0),
    Point("a/b", "H100", 2, "59 prompts", 295, 0, 5, 45, 350, 11820.0, None, usd_per_hour=8.0),
]
SWEEP = [
    Point("a/b", None, None, load, 9, 1, 1, 5, 6, speed, ttft_ms=Latency(1, 2, 3, 4), tpot_ms=Latency(1, 1, 1, 1))
    for load, speed in (("1 in flight", 100.0), ("8 in flight", 700.0))
]


@pytest.mark.parametrize("points", [POINTS, SWEEP], ids=["gpus", "sweep"])
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_picture(points: list[Point], kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"bench.{kind}"
    write_plot(points, path)
    assert path.stat().st_size > 5000


def test_tables_csv_and_json_agree() -> None:
    assert offline_table(POINTS)[1].split() == ["a/b", "H100", "1", "8,000", "22", "5", "$0.14"]
    assert "1" in online_table(SWEEP)[1]
    header, *lines = points_csv([*POINTS, *SWEEP]).splitlines()
    assert header == ",".join(COLUMNS)
    assert len(lines) == 4
    assert json.loads(json.dumps(point_document(POINTS[0])))["usd_per_million_output_tokens"] == pytest.approx(
        0.1389, abs=1e-3
    )


@pytest.mark.network
def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert log_points(POINTS, {"source": "a test"}, "gpuplan", tmp_path)
    [run] = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 30  # wandb's own process writes the file, in its own time
    while run.stat().st_size <= 500 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.stat().st_size > 500


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", "one\n\ntwo\n", None),
        ("p.jsonl", '{"prompt": "one"}\n{"prompt": "two"}\n', None),
        ("p.txt", "\n", "no prompts in it"),
        ("p.jsonl", '{"text": "one"}', "p.jsonl:1: no prompt"),
    ],
)
def test_prompt_files(name: str, text: str, said: str | None, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    if said is None:
        assert read_prompts(tmp_path / name) == ("one", "two")
    else:
        with pytest.raises(SpecError, match=said):
            read_prompts(tmp_path / name)


@pytest.mark.network
@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("http://[::1", 2, "no address of an endpoint (Invalid IPv6 URL)"),
        ("http://127.0.0.1:port", 7, "no model list at /v1/models (nonnumeric port: 'port')"),
    ],
)
def test_an_address_that_is_none_is_told(url: str, code: int, said: str) -> None:
    done = gpuplan("bench", url)
    assert done.code == code
    assert said in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--plot", "x.gif"), "not a picture"),
        (("--csv", "/nowhere/x.csv"), "no such folder /nowhere"),
        (("--html", "/nowhere/x.html"), "no such folder /nowhere"),
        (("--concurrency", "1", "--request-rate", "1"), "type one of them"),
        (("--concurrency", "0"), "type numbers above 0"),
        (("--timeout", "nan"), "'nan' is not a number that ends"),
        (("--concurrency", "1.5"), "type whole numbers"),
        (("--num-gpus", "1,2", "--weights"), "--num-gpus, --weights: not for a URL"),
    ],
)
def test_bad_options_are_refused_before_anything_runs(arguments: tuple[str, ...], said: str) -> None:
    done = gpuplan("bench", "http://127.0.0.1:9", *arguments)
    assert done.code == 2
    assert said in done.err


def test_what_is_for_urls_is_refused_with_a_spec(tmp_path: Path) -> None:
    spec = tmp_path / "l7.yaml"
    spec.write_text(SPEC)
    done = gpuplan("bench", spec, "--concurrency", "4", "--ttft-ms", "500")
    assert done.code == 2
    assert "--concurrency, --ttft-ms: not for a spec" in done.err


def test_wandb_that_is_absent_is_told_before_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.bench.wandb_log.find_spec", lambda _: None)
    done = gpuplan("bench", "http://127.0.0.1:9", "--wandb", "project")
    assert done.code == 2
    assert "wandb is not installed" in done.err
