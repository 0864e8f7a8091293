"""Money beyond the hour: the month of the spec's requests, and where the cheapest token is, as lines and as JSON."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from planner.explain.figures import count, gpus, usd
from planner.explain.grid import grid
from planner.explain.lines import Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from planner.bill import Bill
    from planner.cost import CostLine
    from planner.month import Month
    from planner.plan import Option, Plan
    from planner.sweet_spot import SweetSpot

WIDTH = 80


def sweet_spot_sentence(spot: SweetSpot) -> str:
    """1×H100 costs 29 % less per token ($0.48/M), for $1.55/h more."""
    cost = spot.option.cost
    less = f"{round(100 * spot.saved_share)} % less per token ({usd(cost.usd_per_million_output_tokens)}/M)"
    more = spot.extra_usd_per_hour
    price = f"for {usd(more)}/h more" if more > 0 else f"and {usd(-more)}/h less" if more else "at the same price"
    doubt = "" if spot.sure else "; their speeds' intervals overlap"
    return f"{_named(spot.option)} costs {less}, {price}{doubt}."


def sweet_spot_lines(spot: SweetSpot | None) -> Iterator[Line]:
    """Nothing where the chosen option has the cheapest token too."""
    if spot:
        yield from _wrapped(sweet_spot_sentence(spot))


def month_lines(plan: Plan, month: Month | None) -> Iterator[Line]:
    """The monthly bill, the other ways to pay, and from which loads on they win."""
    option = plan.chosen
    if month is None or option is None:
        return
    bill, ways, scaling = month.bill, month.ways, plan.spec.scaling
    yield Line(f"A month of {count(bill.requests_per_hour)} requests an hour", "title")
    rows = [_row(f"scaled {scaling.min_containers} to {scaling.max_containers}", option, bill)]
    if scaling.min_containers:
        rows.append(_row("scaled to zero", option, ways.scaled_to_zero))
    if scaling.min_containers < ways.always_warm.replicas:
        rows.append(_row("always warm", option, ways.always_warm))
    if month.cheapest:
        rows.append(_row("cheapest month", *month.cheapest))
    for text in grid(("", "GPUs", "containers", "up", "cold starts", "$/month"), rows, frozenset({0, 1})):
        yield Line(text)
    yield from _wrapped(" + ".join(f"{line.name} {usd(line.usd)}" for line in bill.lines), "dim")
    yield from _replicas(month, option)
    yield from _peaks(month, scaling.max_containers)
    yield from _break_even(month)
    if month.account and bill.credit_usd:
        yield from _wrapped(
            f"{usd(bill.credit_usd)} of credit in the plan {month.account.name} would leave"
            f" {usd(bill.usd_after_credit)} to pay; {count(float(month.account.free_volume_gib))} GiB of volumes are"
            " free.",
            "dim",
        )
    yield Line("")


def _row(way: str, option: Option, bill: Bill) -> tuple[str, ...]:
    return (
        way,
        _named(option),
        count(bill.replicas),
        f"{100 * bill.containers_up / bill.replicas:.0f} %",
        count(bill.cold_starts_per_month),
        _exact_usd(bill.usd),
    )


def _replicas(month: Month, option: Option) -> Iterator[Line]:
    bill, needed = month.bill, month.containers_needed
    carried = f"One container of {_named(option)} carries {count(month.carried_requests_per_hour)} requests an hour"
    if bill.unserved_requests_per_hour > 0:
        yield from _wrapped(
            f"{carried}: {count(bill.unserved_requests_per_hour)} of {count(bill.requests_per_hour)} would wait or"
            f" fail. Set scaling.max_containers: {needed}.",
            "warn",
        )
    elif needed > 1:
        yield from _wrapped(f"{carried}, so {needed} share the load.")
    else:
        yield from _wrapped(f"{carried}; a cold start takes {bill.cold_start_s:.0f} s and is paid.", "dim")


def _peaks(month: Month, most: int) -> Iterator[Line]:
    """What the bill does not count: requests come at random, and a provider may start containers for a peak."""
    replicas, wanted = month.bill.replicas, month.busy_containers
    if month.bill.unserved_requests_per_hour > 0 or wanted <= replicas:
        return
    then = f"for them up to {min(wanted, most)} containers may start, where this bill counts {replicas}"
    if most <= replicas:
        then = f"serving them at once takes {wanted} containers; with scaling.max_containers: {most} they wait"
    yield from _wrapped(
        f"Requests come at random: up to {count(month.busy_requests_in_flight)} are in flight in 99 moments of 100,"
        f" and a container takes {count(month.in_flight_per_container)}; {then}."
    )


def _break_even(month: Month) -> Iterator[Line]:
    load = month.ways.break_even_requests_per_hour
    yield from _wrapped(f"Above {count(load)} requests an hour per container, scaling to zero saves under 5 %.")
    if month.crossing:
        yield from _wrapped(
            f"From {count(month.crossing.requests_per_hour)} requests an hour, {_named(month.crossing.option)} costs"
            " less a month, with as many containers as it takes."
        )


def month_document(month: Month | None) -> dict[str, Any] | None:
    """The month as plain values; null where the spec names no requests per hour."""
    if month is None:
        return None
    ways = month.ways
    return {
        **_bill_document(month.bill),
        "credit_usd": _cents(month.bill.credit_usd),
        "usd_after_credit": _cents(month.bill.usd_after_credit),
        "account_plan": month.account.name if month.account else None,
        "carried_requests_per_hour": month.carried_requests_per_hour,
        "containers_needed": month.containers_needed,
        "busy_requests_in_flight": month.busy_requests_in_flight,
        "busy_containers": month.busy_containers,
        "scaled_to_zero": _bill_document(ways.scaled_to_zero),
        "always_warm": _bill_document(ways.always_warm),
        "break_even_requests_per_hour": ways.break_even_requests_per_hour,
        "cheapest": {**_split(month.cheapest[0]), **_bill_document(month.cheapest[1])} if month.cheapest else None,
        "overtaken": {
            **_split(month.crossing.option),
            "from_requests_per_hour": month.crossing.requests_per_hour,
        }
        if month.crossing
        else None,
    }


def sweet_spot_document(spot: SweetSpot | None) -> dict[str, Any] | None:
    """The sweet spot as plain values; null where the chosen option is it."""
    if spot is None:
        return None
    return {
        **_split(spot.option),
        "usd_per_million_output_tokens": float(spot.option.cost.usd_per_million_output_tokens),
        "saved_share": spot.saved_share,
        "saved_usd_per_million_tokens": float(spot.saved_usd_per_million_tokens),
        "extra_usd_per_hour": float(spot.extra_usd_per_hour),
        "sure": spot.sure,
        "sentence": sweet_spot_sentence(spot),
    }


def _bill_document(bill: Bill) -> dict[str, Any]:
    return {
        "usd": _cents(bill.usd),
        "usd_per_thousand_requests": float(bill.usd_per_thousand_requests),
        "cost_lines": cost_lines_document(bill.lines),
        "replicas": bill.replicas,
        "containers_up": bill.containers_up,
        "utilization": bill.utilization,
        "cold_starts": bill.cold_starts_per_month,
        "cold_start_s": bill.cold_start_s,
        "requests_per_hour": bill.requests_per_hour,
        "unserved_requests_per_hour": bill.unserved_requests_per_hour,
    }


def cost_lines_document(lines: Sequence[CostLine]) -> list[dict[str, Any]]:
    """Each line with its quantity, unit and unit price."""
    return [
        {
            "name": line.name,
            "quantity": float(line.quantity),
            "unit": line.unit,
            "unit_price_usd": float(line.unit_price_usd),
            "usd": float(line.usd),
        }
        for line in lines
    ]


def _split(option: Option) -> dict[str, Any]:
    candidate = option.candidate
    return {
        "gpu": candidate.sold_as,
        "count": candidate.count,
        "tensor_parallel_size": candidate.tensor_parallel_size,
        "pipeline_parallel_size": candidate.pipeline_parallel_size,
    }


def _named(option: Option) -> str:
    return gpus(option.candidate.sold_as, option.candidate.count)


def _cents(amount: Decimal) -> float:
    return float(round(amount, 2))


def _exact_usd(amount: Decimal) -> str:
    return f"${amount:,.2f}"


def _wrapped(sentence: str, style: str = "") -> Iterator[Line]:
    for text in textwrap.wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False):
        yield Line(text, style)
