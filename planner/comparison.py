"""Comparison: the valid options of one or several plans as rows of one table, best first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from planner.plan import Option, Plan


class Row(Struct, frozen=True):
    """One valid option of the spec called ``name``; ``on_front``: nothing else is both cheaper and faster."""

    name: str
    option: Option
    on_front: bool


SORTS: dict[str, Callable[[Option], Any]] = {
    "usd_per_hour": lambda option: option.cost.usd_per_hour,
    "usd_per_million_tokens": lambda option: option.cost.usd_per_million_output_tokens,
    "tokens_per_second": lambda option: -option.throughput.output_tokens_per_second,
}


def compare(plans: Sequence[Plan], sort: str = "usd_per_hour") -> tuple[Row, ...]:
    """Rows of all plans together, sorted by one figure; ties by spec, then by the plan's own order."""
    pairs = [(plan.spec.name, option) for plan in plans for option in plan.options]
    pairs.sort(key=lambda pair: SORTS[sort](pair[1]))
    front = {id(option) for plan in plans for option in pareto_front(plan.options)}
    return tuple(Row(name, option, id(option) in front) for name, option in pairs)


def pareto_front(options: Sequence[Option]) -> list[Option]:
    """The options that no other beats in both dollars per hour and tokens per second, cheapest first."""
    front: list[Option] = []
    cheapest_first = sorted(
        options, key=lambda option: (option.cost.usd_per_hour, -option.throughput.output_tokens_per_second)
    )
    for option in cheapest_first:
        fastest = front[-1].throughput.output_tokens_per_second if front else float("-inf")
        if option.throughput.output_tokens_per_second > fastest:
            front.append(option)
    return front
