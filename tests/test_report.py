"""The report in a real browser: drawn, filtered, inert whatever the spec says."""

from __future__ import annotations

import re
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from planner.comparison import compare
from planner.errors import SpecError
from planner.report import write_comparison_report, write_plan_report
from planner.report.charts import memory_figure, price_figure
from tests.browser import HOSTILE, ask, in_browser, photograph
from tests.options import make_option, make_rejection

if TYPE_CHECKING:
    from pathlib import Path


def make_plan(name: str = "chat", repo: str = "org/model", warnings: tuple[str, ...] = (), gpu: str = "H100") -> Any:
    options = tuple(
        make_option(name, count, str(count * price), count**0.8 * speed)
        for name, price, speed in (("L40S", 1.95, 600.0), ("A100-80GB", 2.5, 1000.0), (gpu, 3.95, 2000.0))
        for count in (1, 2, 4)
    )
    return SimpleNamespace(
        spec=SimpleNamespace(name=name, model=SimpleNamespace(repo=repo), engine=SimpleNamespace(version="0.33.0")),
        options=options,
        chosen=options[0],
        rejections=(
            make_rejection("memory", needed=70, available=68),
            make_rejection("attention_heads", count=3, needed=64, available=3),
        ),
        warnings=warnings,
        workload=SimpleNamespace(requests=None, concurrency=59, input_tokens=45, output_tokens=350),
        parameters=68_976_648_192,
        checkpoint=SimpleNamespace(revision=None),
        prices_as_of=date(2026, 10, 8),
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "plan.html"
    write_plan_report(make_plan(), (), path)
    return path


def test_everything_stands_in_tables_without_javascript(page: Path) -> None:
    text = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL)
    for words in ("1×L40S TP 1", "4×H100 TP 4", "$15.80", "64.00 GiB", "attention_heads says no."):
        assert words in text


def test_the_page_asks_the_network_for_nothing(page: Path) -> None:
    markup = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL)
    assert not re.search(r"""(src|href)=|@import|url\(""", markup)
    assert "default-src 'none'" in markup


def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    for place, why in ((tmp_path / "nowhere" / "x.html", "no such folder"), (tmp_path, "Is a directory")):
        with pytest.raises(SpecError, match=why):
            write_plan_report(make_plan(), (), place)


def test_a_comparison_names_its_specs(tmp_path: Path) -> None:
    plans = [make_plan("small"), make_plan("large")]
    write_comparison_report(plans, compare(plans), tmp_path / "compare.html")
    text = (tmp_path / "compare.html").read_text()
    assert "small · large" in text
    assert text.count("<bdi>small</bdi>") >= 10
    assert text.index(">chosen</th>") < text.index("Serve it on")  # a row for each before the details


def test_alike_options_of_two_specs_have_bars_of_their_own() -> None:
    rows = compare([make_plan("small"), make_plan("large")])
    labels = memory_figure(rows)["data"][0]["y"]
    assert len(set(labels)) == len(rows)
    assert "small: 1×L40S TP 1" in labels
    assert "<b>large: 1×L40S TP 1</b>" in str(price_figure(rows)["data"][0]["text"])


def test_each_spec_has_a_front_of_its_own() -> None:
    front = price_figure(compare([make_plan("small"), make_plan("large")]))["data"][-1]
    gap = front["x"].index(None)
    for prices, speeds in ((front["x"][:gap], front["y"][:gap]), (front["x"][gap + 1 :], front["y"][gap + 1 :])):
        assert prices == sorted(prices)
        assert speeds == sorted(speeds)


class TestInBrowser:
    pytestmark = in_browser

    def test_both_charts_are_drawn_without_an_error(self, page: Path, tmp_path: Path) -> None:
        question = """() => ({errors: window.errors, price: document.querySelectorAll("#price .point").length,
                              memory: document.querySelectorAll("#memory .point").length > 0})"""
        assert ask(page, question, tmp_path) == {"errors": [], "price": 9, "memory": True}

    def test_the_filter_leaves_one_gpu(self, page: Path, tmp_path: Path) -> None:
        question = """() => { const select = document.getElementById("gpu"); select.value = "H100";
            select.dispatchEvent(new Event("change"));
            const rows = [...document.querySelectorAll("tr[data-gpu]")].filter((row) => !row.hidden);
            return [...new Set(rows.map((row) => row.dataset.gpu))]; }"""
        assert ask(page, question, tmp_path) == ["H100"]

    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_names_are_inert(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "hostile.html"
        write_plan_report(make_plan(text, text, (text,), gpu=text), (), path)
        question = """() => ({hit: window.hit || 0, errors: window.errors,
                              title: document.querySelector("h1").innerText,
                              dots: document.querySelectorAll("#price .point").length})"""
        assert ask(path, question, tmp_path) == {"hit": 0, "errors": [], "title": text, "dots": 9}

    @pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (500, False), (500, True)])
    def test_it_can_be_looked_at(self, page: Path, tmp_path: Path, width: int, dark: bool) -> None:
        picture = tmp_path / f"report-{width}-{'dark' if dark else 'light'}.png"
        photograph(page, picture, width=width, height=1800, dark=dark)
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 50_000
