"""The pages of measure and bench: plan beside engine, loads, refusals; in a browser, and inert."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from planner.bench.point import Latency, Point
from planner.measurements import Measurement
from planner.report.benched import write_bench_report
from planner.report.measured import Beside, write_measure_report
from tests.browser import HOSTILE, ask, in_browser, photograph
from tests.options import GIB, make_option, make_rejection

if TYPE_CHECKING:
    from pathlib import Path

START = Measurement(
    model="org/model",
    gpu="A100-80GB",
    count=1,
    tensor_parallel_size=1,
    engine_version="0.33.0",
    dtype="float16",
    max_model_len=4096,
    max_num_seqs=256,
    max_num_batched_tokens=2048,
    date="2026-11-23",
    source="gpuplan measure on this machine",
    device="NVIDIA A100-SXM4-80GB",
    total_bytes=79 * GIB,
    requested_bytes=72 * GIB,
    model_loading_bytes=64 * GIB,
    peak_activation_bytes=GIB // 2,
    non_torch_bytes=GIB // 4,
    available_kv_bytes=7 * GIB,
    kv_cache_tokens=45_000,
    start_s=61.5,
    compile_s=20.0,
)
LOAD = replace(
    START, requests=59, input_tokens=45, output_tokens=350, output_tokens_per_second=950.0, ttft_ms=310.0, tpot_ms=42.0
)
REFUSED = replace(START, started=False, refusal="ValueError: No available memory for the cache blocks.")
POINT = Point(
    model="org/model",
    gpu="H200",
    num_gpus=1,
    load="59 prompts",
    requests=295,
    failed=0,
    runs=5,
    input_tokens=45.0,
    output_tokens=350.0,
    output_tokens_per_second=4000.0,
    output_tokens_per_second_stdev=40.0,
    usd_per_hour=5.0,
)
ONLINE = replace(
    POINT,
    gpu=None,
    num_gpus=None,
    output_tokens_per_second_stdev=None,
    requests_per_second=3.0,
    ttft_ms=Latency(50, 45, 80, 120),
    tpot_ms=Latency(9, 8, 12, 15),
    e2e_ms=Latency(500, 450, 800, 1200),
)
NOTE = (POINT, replace(POINT, num_gpus=2, output_tokens_per_second=6100.0, usd_per_hour=10.0))
SWEEP = tuple(
    replace(ONLINE, load=f"{load} in flight", output_tokens_per_second=load * 90.0, failed=load // 8, errors=errors)
    for load, errors in ((1, ()), (8, ()), (32, ("3× ReadTimeout",)))
)


def without_scripts(path: Path) -> str:
    return re.sub(r"<script>.*?</script>", "", path.read_text(), flags=re.DOTALL)


def measured_page(path: Path, *measured: Beside, model: str = "org/model") -> Path:
    write_measure_report(model, measured or [Beside(make_option(), None, (START, LOAD))], path)
    return path


def bench_page(path: Path, points: tuple[Point, ...], source: str = "specs/7b.yaml") -> Path:
    write_bench_report(points, source, path)
    return path


def test_plan_and_engine_stand_in_a_table_without_javascript(tmp_path: Path) -> None:
    text = without_scripts(measured_page(tmp_path / "measured.html"))
    assert "1×A100-80GB, tensor parallel 1: vLLM <bdi>0.33.0</bdi> on <bdi>NVIDIA A100-SXM4-80GB</bdi>" in text
    assert '<td class="word">weights</td><td>64.00 GiB</td><td>64.00 GiB</td>' in text
    assert '<td class="word">CUDA graphs</td><td>0.00 GiB</td><td>–</td>' in text  # the engine did not say
    assert '<td class="word">KV tokens</td><td>45,872</td><td>45,000</td><td>+1.9%</td>' in text
    assert "start-up 61.5 s, of which torch.compile 20.0 s" in text
    assert "59 requests at once, 45 in, 350 out: 950 output tokens/s" in text


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        (Beside(make_option(), None, (REFUSED,)), "The plan called it valid: please report this with the plan."),
        (Beside(None, make_rejection("memory"), (REFUSED,)), "The engine refused, too: <bdi>ValueError: No available"),
        (Beside(None, make_rejection("memory"), (START,)), "It started: the plan is wrong here; please report it."),
    ],
    ids=["valid but refused", "rejected and refused", "rejected but started"],
)
def test_verdicts_that_agree_or_do_not(beside: Beside, words: str, tmp_path: Path) -> None:
    path = measured_page(tmp_path / "measured.html", beside)
    assert words in path.read_text()
    assert "plotly" not in path.read_text().lower()  # nothing is drawn, so nothing is carried along


def test_the_notes_table(tmp_path: Path) -> None:
    text = without_scripts(bench_page(tmp_path / "bench.html", NOTE))
    assert "59 prompts a run" in text
    row = [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", text)][:7]
    assert row == ["org/model", "H200", "1", "4,000", "40", "5", "$0.35"]


def test_a_sweep_names_its_failures(tmp_path: Path) -> None:
    text = without_scripts(bench_page(tmp_path / "bench.html", SWEEP, "http://127.0.0.1:8000"))
    assert "<bdi>32 in flight</bdi>: <bdi>3× ReadTimeout</bdi>" in text
    assert text.count('<td class="word">') == 3


def test_the_pages_ask_the_network_for_nothing(tmp_path: Path) -> None:
    for page in (measured_page(tmp_path / "measured.html"), bench_page(tmp_path / "bench.html", NOTE)):
        markup = without_scripts(page)
        assert not re.search(r"""(src|href)=|@import|url\(""", markup)
        assert "default-src 'none'" in markup


class TestInBrowser:
    pytestmark = in_browser

    @pytest.mark.parametrize(("kind", "bars"), [("memory", 12), ("speed", 2)])
    def test_plan_and_engine_are_drawn_without_an_error(self, kind: str, bars: int, tmp_path: Path) -> None:
        page = measured_page(tmp_path / "measured.html")
        question = f"""() => ({{errors: window.errors, bars: document.querySelectorAll("#{kind}-0 .point").length}})"""
        assert ask(page, question, tmp_path) == {"errors": [], "bars": bars}

    @pytest.mark.parametrize(
        ("points", "drawn"), [(NOTE, {"speed": 2}), (SWEEP, {"speed": 3, "latency": 12})], ids=["note", "sweep"]
    )
    def test_a_bench_is_drawn_without_an_error(
        self, points: tuple[Point, ...], drawn: dict[str, int], tmp_path: Path
    ) -> None:
        page = bench_page(tmp_path / "bench.html", points)
        question = """() => ({errors: window.errors, drawn: Object.fromEntries(Object.keys(figures).map((name) =>
                              [name, document.querySelectorAll(`#${name} .point`).length]))})"""
        assert ask(page, question, tmp_path) == {"errors": [], "drawn": drawn}

    @pytest.mark.parametrize("kind", ["measured", "note", "sweep"])
    def test_hostile_words_are_inert(self, kind: str, tmp_path: Path) -> None:
        page, title = tmp_path / "hostile.html", "".join(HOSTILE)
        if kind == "measured":
            told: list[Measurement] = [replace(START, device=text, source=text, gpu=text) for text in HOSTILE]
            refused = [Beside(make_option(), None, (replace(REFUSED, refusal=text),)) for text in HOSTILE]
            started = [Beside(make_option(), None, (start, replace(LOAD, gpu=start.gpu))) for start in told]
            measured_page(page, *started, *refused, model=title)
        else:
            point = POINT if kind == "note" else ONLINE
            seen = [replace(point, model=title, gpu=point.gpu and text, load=text, errors=(text,)) for text in HOSTILE]
            bench_page(page, tuple(seen), title)
        question = """() => ({hit: window.hit || 0, errors: window.errors,
                              title: document.querySelector("h1").innerText})"""
        assert ask(page, question, tmp_path) == {"hit": 0, "errors": [], "title": title}

    @pytest.mark.parametrize(("width", "dark"), [(1200, False), (500, True)])
    def test_they_can_be_looked_at(self, width: int, dark: bool, tmp_path: Path) -> None:
        for name, page in (
            ("measured", measured_page(tmp_path / "measured.html")),
            ("note", bench_page(tmp_path / "note.html", NOTE)),
            ("sweep", bench_page(tmp_path / "sweep.html", SWEEP)),
        ):
            picture = tmp_path / f"{name}-{width}-{'dark' if dark else 'light'}.png"
            photograph(page, picture, width=width, height=1200, dark=dark)
            assert picture.stat().st_size > 20_000
