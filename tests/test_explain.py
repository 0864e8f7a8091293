from __future__ import annotations

from decimal import Decimal

import pytest

from planner.comparison import compare
from planner.explain import figures
from planner.explain.grid import grid
from planner.explain.misses import group_misses
from planner.explain.plot import plot_comparison
from tests.options import make_option, make_plan_values, make_rejection


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (figures.gib(64.24 * 2**30), "64.24 GiB"),
        (figures.gib(1500 * 2**30), "1,500 GiB"),
        (figures.usd(Decimal("5.445")), "$5.45"),
        (figures.usd(3978.4), "$3,978"),
        (figures.usd(0), "$0.00"),
        (figures.usd(0.00123), "$0.0012"),
        (figures.short_count(99_999), "99,999"),
        (figures.short_count(131_072), "131k"),
        (figures.short_count(1_048_576), "1.04M"),
        (figures.speed(1234.5), "1,234"),
        (figures.speed(3.14), "3.1"),
        (figures.milliseconds(3.21), "3.2 ms"),
        (figures.milliseconds(850), "850 ms"),
        (figures.milliseconds(2400), "2.4 s"),
        (figures.milliseconds(186_000), "3.1 min"),
    ],
)
def test_figures_are_written_for_people(written: str, text: str) -> None:
    assert written == text


def test_a_grid_aligns_words_left_and_numbers_right() -> None:
    assert grid(("GPU", "$/h"), [("T4", "$0.59"), ("H100", "$13.95")], indent="") == [
        "GPU      $/h",
        "T4     $0.59",
        "H100  $13.95",
    ]


def test_misses_come_in_rule_order_with_the_nearest_of_each() -> None:
    near = make_rejection("memory", count=2, needed=70, available=68)
    far = make_rejection("memory", count=1, needed=140, available=34)
    heads = make_rejection("attention_heads", count=3, needed=64, available=3)
    misses = group_misses([far, near, heads])
    assert [(miss.code, miss.number, miss.closest) for miss in misses] == [
        ("attention_heads", 1, heads),
        ("memory", 2, near),
    ]
    assert misses[1].where == "2×A100-40GB TP 2"


def test_a_plot_fits_a_terminal_and_marks_the_front() -> None:
    rows = compare([make_plan_values("a", make_option("L40S", 1, "1.95", 500), make_option("H100", 2, "7.9", 400))])
    picture = plot_comparison(rows)
    assert "●" in picture
    assert "·" in picture
    assert max(map(len, picture.splitlines())) <= 80


def test_a_plot_of_options_that_cost_nothing_is_drawn() -> None:
    assert "●" in plot_comparison(compare([make_plan_values("a", make_option("L40S", 1, "0", 500))]))
