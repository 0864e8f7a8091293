"""Money: lines, the hour, the token, the month."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from math import exp
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from planner.bill import (
    break_even_requests_per_hour,
    cheapest_month,
    cold_start_s,
    expected_uptime,
    make_bill,
    make_ways,
    overtaking_requests_per_hour,
    requests_per_hour_carried,
)
from planner.candidates import Candidate
from planner.catalog.offers import Offer
from planner.catalog.rates import Rate, Rates
from planner.checks.slo import check_budget, check_slo
from planner.cost import HOURS_PER_MONTH, Hour, make_cost, make_hour
from planner.spec import parse_spec
from planner.sweet_spot import find_sweet_spot
from planner.throughput import Throughput
from planner.workload import Workload
from tests.options import GPU

TODAY = date(2026, 10, 8)
GIB = 2**30


def rates(**changed: str) -> Rates:
    values = {
        "usd_per_cpu_core_second": "0.0000131",
        "usd_per_memory_gib_second": "0.00000222",
        "usd_per_volume_gib_month": "0.09",
        "broad_region_multiplier": "1.5",
        "narrow_region_multiplier": "1.75",
    } | changed
    return Rates({name: Rate(name, Decimal(value), TODAY, "a test") for name, value in values.items()})


def candidate(usd_per_second: str = "0.001097", count: int = 1) -> Candidate:
    offer = Offer(GPU.name, GPU.name, Decimal(usd_per_second), tuple(range(1, 9)), TODAY, "a test")
    return Candidate(GPU, offer, count, count, 1)


def throughput(tokens_per_second: float = 1000.0, ttft_ms: float = 200.0, tpot_ms: float = 20.0) -> Throughput:
    return Throughput(
        tokens_per_second, 0.8 * tokens_per_second, 1.2 * tokens_per_second, ttft_ms, tpot_ms, 32.0, "modelled"
    )


def spec(text: str = "") -> Any:
    return parse_spec("name: a\nmodel: {repo: a/b}\n" + text, "a.yaml")


def hour(one: Any, region: str | None = None) -> Hour:
    return make_hour(one, rates(), spec().resources, region)


def option(speed: Throughput | None = None, **asked: Any) -> Any:
    speed = speed or throughput()
    chosen = candidate(**asked)
    cost = make_cost(hour(chosen), speed.output_tokens_per_second)
    return SimpleNamespace(candidate=chosen, throughput=speed, cost=cost)


def test_an_hour_of_two_gpus_by_hand() -> None:
    cost = make_cost(hour(candidate(count=2)), 500.0, Workload(32, 1000, 250))
    assert [(line.name, line.quantity, line.usd) for line in cost.lines] == [
        ("GPUs", 7200, Decimal("7.898400")),  # 2 x 3600 s x $0.001097
        ("CPU", 14400, Decimal("0.18864")),  # 4 cores
        ("memory", 115200, Decimal("0.255744")),  # 32 GiB
    ]
    assert cost.usd_per_hour == Decimal("8.342784")
    assert cost.gpu_usd_per_hour == Decimal("7.8984")
    assert cost.usd_per_million_output_tokens == pytest.approx(Decimal("4.63488"))  # 1.8 M tokens an hour
    assert cost.usd_per_request == pytest.approx(Decimal("0.00115872"))
    assert cost.usd_per_million_input_tokens == pytest.approx(Decimal("1.15872"))


@pytest.mark.parametrize(("region", "factor"), [(None, "1"), ("us", "1.5"), ("us-east", "1.75")])
def test_a_region_multiplies_gpus_cpu_and_memory(region: str | None, factor: str) -> None:
    plain, chosen = hour(candidate()), hour(candidate(), region)
    assert chosen.usd == plain.usd * Decimal(factor)
    assert chosen.gpu_usd == plain.gpu_usd * Decimal(factor)
    assert len(chosen.lines) == (3 if region is None else 4)


def test_without_an_offer_only_cpu_and_memory_are_lines() -> None:
    free = hour(replace(candidate(), offer=None))
    assert [line.name for line in free.lines] == ["CPU", "memory"]
    assert free.gpu_usd == 0


def test_a_bursty_month_by_hand_to_the_cent() -> None:
    """30 requests an hour, 5.3 s each, window 300 s, 1 GiB of weights, scaled to zero.

    Rate 1/120 per s; a request holds the container 305.3 s, so 2.54416... arrivals are expected meanwhile and
    e^2.544167 = 12.7326. A cold start takes 96 + 1.073742 = 97.0737 s, in idle times of 120 s: 0.808948. Up for
    0.808948 + 11.7326 = 12.5416 idle times out of 13.5416: 92.6153 % of 2,628,000 s = 2,433,931 s.
    GPU 2433931 x 0.001097 = 2670.0223, CPU 4 x 2433931 x 0.0000131 = 127.5380, memory 32 x 2433931 x 0.00000222
    = 172.9065, volume 1 x 0.09: $2,970.56.
    """
    speed = throughput(ttft_ms=200.0, tpot_ms=20.0)
    load = Workload(32, 512, 256)
    held = 300 + (200 + 20 * 255) / 1000
    assert held == pytest.approx(305.3)
    asked = spec("scaling: {scaledown_window_s: 300}\n")
    bill = make_bill(option(speed), rates(), asked, load, 30.0, weights_bytes=GIB, credit_usd=Decimal(30))
    up = (97.073741824 / 120 + exp(305.3 / 120) - 1) / (97.073741824 / 120 + exp(305.3 / 120))
    assert bill.containers_up == pytest.approx(up, rel=1e-12)
    seconds = round(up * 730 * 3600)
    assert seconds == 2433931
    assert [line.quantity for line in bill.lines] == [2433931, 9735724, 77885792, 1]
    assert round(bill.usd, 2) == Decimal("2970.56")
    assert bill.credit_usd == 30
    assert round(bill.usd_after_credit, 2) == Decimal("2940.56")
    assert bill.replicas == 1
    assert bill.cold_starts_per_month == pytest.approx(2628000 / 120 / 13.5416, rel=1e-4)
    assert round(bill.usd_per_thousand_requests, 2) == Decimal("135.64")  # 21,900 requests


def test_a_warm_container_is_paid_all_month() -> None:
    bill = make_bill(option(), rates(), spec("scaling: {min_containers: 1}\n"), Workload(), 30.0, weights_bytes=0)
    assert bill.usd == option().cost.usd_per_hour * HOURS_PER_MONTH
    assert bill.cold_starts_per_month == 0


def test_replicas_where_one_container_cannot_carry_the_load() -> None:
    load = Workload(32, 512, 250)
    assert requests_per_hour_carried(option(), load) == 14400  # 1000 tok/s / 250 tokens
    two = make_bill(option(), rates(), spec("scaling: {max_containers: 5}\n"), load, 20000.0, weights_bytes=GIB)
    assert (two.replicas, two.unserved_requests_per_hour) == (2, 0)
    assert two.utilization == pytest.approx(20000 / 28800)
    short = make_bill(option(), rates(), spec(), load, 20000.0, weights_bytes=GIB)
    assert (short.replicas, short.unserved_requests_per_hour) == (1, 5600)


@given(st.floats(1e-6, 50), st.floats(1, 4000), st.floats(0, 2000))
def test_uptime_is_a_share_and_grows_with_load(rate: float, held: float, start: float) -> None:
    uptime = expected_uptime(rate, held, start)
    assert 0 < uptime.up_share <= 1
    assert expected_uptime(rate * 1.5, held, start).up_share >= uptime.up_share
    assert uptime.cold_starts_per_month <= rate * 730 * 3600 * (1 + 1e-9)


def test_uptime_agrees_with_a_played_out_month() -> None:
    import random

    rate, held, start, rolls = 1 / 200, 330.0, 100.0, random.Random(7)  # noqa: S311 - a played-out month, no secret
    clock = up_until = paid = 0.0
    starts = 0
    while clock < 4e7:
        clock += rolls.expovariate(rate)
        if clock > up_until:
            starts += 1
            paid += start
            clock += start  # requests that come while it starts are served when it stands
            up_until = clock + held
            paid += held
        else:
            paid += clock + held - up_until
            up_until = clock + held
    uptime = expected_uptime(rate, held, start)
    assert paid / clock == pytest.approx(uptime.up_share, rel=0.01)
    assert starts / clock * 730 * 3600 == pytest.approx(uptime.cold_starts_per_month, rel=0.02)


def test_break_even_and_the_two_ways() -> None:
    held, start = 305.3, 97.0
    load = break_even_requests_per_hour(held, start)
    assert expected_uptime(load / 3600, held, start).up_share == pytest.approx(0.95, abs=1e-9)
    ways = make_ways(option(), rates(), spec(), Workload(32, 512, 256), 10.0, weights_bytes=GIB)
    assert ways.scaled_to_zero.usd < ways.always_warm.usd
    assert ways.scaled_to_zero.cold_starts_per_month > 100
    assert ways.always_warm.cold_starts_per_month == 0
    assert ways.break_even_requests_per_hour == pytest.approx(break_even_requests_per_hour(held, cold_start_s(GIB)))


def test_fewer_larger_containers_win_from_some_load_on() -> None:
    small = option(throughput(1000.0))
    large = option(throughput(2600.0), count=2)
    load = Workload(32, 512, 256)
    asked = spec("scaling: {max_containers: 50}\n")
    crossing = overtaking_requests_per_hour(small, large, rates(), asked, load, weights_bytes=GIB)
    assert crossing is not None
    one = requests_per_hour_carried(small, load)
    assert crossing == pytest.approx(1.1 * one)  # two small ones pay for CPU and memory twice
    for requests, winner in ((one / 2, small), (crossing, large)):
        best = cheapest_month([small, large], rates(), asked, load, requests, weights_bytes=GIB)
        assert best is not None
        assert best[0] is winner
    slower = option(throughput(900.0), count=2)
    assert overtaking_requests_per_hour(small, slower, rates(), asked, load, weights_bytes=GIB) is None


def test_nothing_carries_a_load_over_max_containers() -> None:
    assert cheapest_month([option()], rates(), spec(), Workload(), 1e6, weights_bytes=GIB) is None


def test_free_storage_is_taken_off() -> None:
    paid = make_bill(option(), rates(), spec(), Workload(), 30.0, weights_bytes=130 * GIB)
    free = make_bill(
        option(), rates(), spec(), Workload(), 30.0, weights_bytes=130 * GIB, free_storage_gib=Decimal(1024)
    )
    assert paid.usd - free.usd == Decimal("11.70")
    assert [line.name for line in free.lines] == ["GPUs", "CPU", "memory"]


@pytest.mark.parametrize(
    ("slo", "needed"),
    [
        ("{ttft_ms: 200}", None),
        ("{ttft_ms: 199}", 200.0),
        ("{tpot_ms: 19.5}", 20.0),
        ("{tpot_ms: 20}", None),
        ("{ttft_ms: 150, tpot_ms: 10}", 20.0),
        ("{ttft_ms: 50, tpot_ms: 10}", 200.0),
        ("{}", None),
    ],
)
def test_slo(slo: str, needed: float | None) -> None:
    refusal = check_slo(spec(f"slo: {slo}\n").slo, throughput())
    assert (refusal.needed if refusal else None) == needed
    if refusal:
        assert refusal.code == "slo"
        assert "slo.t" in refusal.reason


def test_every_missed_promise_is_said() -> None:
    refusal = check_slo(spec("slo: {ttft_ms: 150, tpot_ms: 10}\n").slo, throughput())
    assert refusal is not None
    assert refusal.reason == (
        "first token after 200.0 ms on average, slo.ttft_ms allows 150 ms; "
        "each further token after 20.0 ms on average, slo.tpot_ms allows 10 ms."
    )


@pytest.mark.parametrize(("limit", "refused"), [("4.3", True), ("4.40", False)])
def test_budget_counts_every_line(limit: str, refused: bool) -> None:
    cost = option().cost  # $3.95 of GPU, $4.39 in all
    refusal = check_budget(spec(f"budget: {{max_usd_per_hour: {limit}}}\n").budget, cost)
    assert bool(refusal) == refused
    if refusal:
        assert (refusal.code, refusal.available) == ("budget", 4.3)
        assert refusal.needed == pytest.approx(4.3936, abs=1e-3)


def test_sweet_spot() -> None:
    cheap = option(throughput(100.0), usd_per_second="0.0003")
    fast = option(throughput(1000.0))
    spot = find_sweet_spot([cheap, fast])
    assert spot is not None
    assert spot.option is fast
    assert spot.saved_share == pytest.approx(1 - float(fast.cost.usd_per_hour) / float(cheap.cost.usd_per_hour) / 10)
    assert spot.sure
    assert find_sweet_spot([fast, cheap]) is None
    assert find_sweet_spot([]) is None
