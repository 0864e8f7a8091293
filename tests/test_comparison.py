from __future__ import annotations

import pytest

from planner.comparison import compare, pareto_front
from planner.explain.compare import explain_comparison
from tests.options import make_option, make_plan_values

CHEAP = make_option("L40S", 1, "1.95", 500)
EQUAL_PRICE_SLOWER = make_option("L40S", 1, "1.95", 400)
DEAR_FAST = make_option("H100", 1, "3.95", 2000)
DEAR_SLOW = make_option("A100-80GB", 2, "5.00", 1500)


def test_the_front_is_what_nothing_beats_in_price_and_speed() -> None:
    assert pareto_front([DEAR_SLOW, EQUAL_PRICE_SLOWER, DEAR_FAST, CHEAP]) == [CHEAP, DEAR_FAST]


@pytest.mark.parametrize(
    ("sort", "first"),
    [("usd_per_hour", CHEAP), ("usd_per_million_tokens", DEAR_FAST), ("tokens_per_second", DEAR_FAST)],
)
def test_rows_are_sorted_by_the_figure_asked_for(sort: str, first: object) -> None:
    rows = compare([make_plan_values("a", CHEAP), make_plan_values("b", DEAR_SLOW, DEAR_FAST)], sort)
    assert rows[0].option is first


def test_each_spec_has_a_front_of_its_own() -> None:
    rows = compare([make_plan_values("a", DEAR_SLOW), make_plan_values("b", CHEAP, DEAR_FAST)])
    assert {(row.name, row.on_front) for row in rows} == {("a", True), ("b", True)}


@pytest.mark.parametrize(("width", "interval"), [(80, False), (120, True)])
def test_several_specs_show_the_interval_where_the_terminal_is_wide(width: int, interval: bool) -> None:
    fast = make_option("RTX-PRO-6000", 8, "1234.56", 123456)
    plans = [make_plan_values("a-name-of-nineteen", CHEAP), make_plan_values("b", fast, DEAR_FAST)]
    texts = [line.text for line in explain_comparison(plans, compare(plans), width=width)]
    assert max(map(len, texts)) <= width
    assert ("range" in texts[0]) == interval
