"""Month: what the spec's requests per hour cost in a month on the chosen option, and what would cost less."""

from __future__ import annotations

from decimal import Decimal
from math import ceil
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from planner.bill import (
    Bill,
    Ways,
    busy_requests_in_flight,
    cheapest_month,
    containers_needed,
    make_bill,
    make_ways,
    overtaking_requests_per_hour,
    requests_per_hour_carried,
    service_s,
)
from planner.cost import SECONDS_PER_HOUR
from planner.workload import in_flight_per_container

if TYPE_CHECKING:
    from planner.catalog.account_plans import AccountPlan
    from planner.catalog.rates import Rates
    from planner.plan import Option, Plan


ZERO = Decimal(0)


class Crossing(Struct, frozen=True):
    """From ``requests_per_hour`` on, as many containers of ``option`` as it takes cost less than of the chosen one."""

    option: Option
    requests_per_hour: float


class Month(Struct, frozen=True):
    """``bill``: the chosen option under the spec's own scaling. ``cheapest``: another option that carries the load."""

    bill: Bill
    ways: Ways
    carried_requests_per_hour: float  # by one container of the chosen option
    containers_needed: int
    account: AccountPlan | None
    cheapest: tuple[Option, Bill] | None
    crossing: Crossing | None
    busy_requests_in_flight: int  # or fewer, in 99 moments of 100, while none of them waits
    in_flight_per_container: int  # from there on the provider may start another

    @property
    def busy_containers(self) -> int:
        """As many as it takes to serve those at once."""
        return max(1, ceil(self.busy_requests_in_flight / self.in_flight_per_container))


def make_month(plan: Plan, rates: Rates, account: AccountPlan | None = None) -> Month | None:
    """None where the spec names no requests per hour, nothing is valid, or nothing is paid for.

    ``account`` gives the credit, which is shown apart, and the storage that no line is written for.
    """
    option, load = plan.chosen, plan.workload
    if option is None or load.requests_per_hour is None or not option.cost.usd_per_hour:
        return None
    asked, spec, weights_bytes = load.requests_per_hour, plan.spec, stored_bytes(plan, option)
    free_gib = account.free_volume_gib if account else ZERO
    credit_usd = account.credit_usd_per_month if account else ZERO
    bytes_and_gib: dict[str, Any] = {"weights_bytes": weights_bytes, "free_storage_gib": free_gib}
    carried = requests_per_hour_carried(option, load)
    cheapest = cheapest_month(plan.options, rates, spec, load, asked, **bytes_and_gib)
    return Month(
        bill=make_bill(option, rates, spec, load, asked, credit_usd=credit_usd, **bytes_and_gib),
        ways=make_ways(option, rates, spec, load, asked, **bytes_and_gib),
        carried_requests_per_hour=carried,
        containers_needed=containers_needed(asked, carried),
        account=account,
        cheapest=cheapest if cheapest and cheapest[0] is not option else None,
        crossing=_crossing(plan, option, rates, weights_bytes),
        busy_requests_in_flight=busy_requests_in_flight(asked / SECONDS_PER_HOUR, service_s(option, load)),
        in_flight_per_container=in_flight_per_container(load, option.engine.max_num_seqs),
    )


def _crossing(plan: Plan, option: Option, rates: Rates, weights_bytes: int) -> Crossing | None:
    """Where the option with the cheapest token overtakes, if it is another and ever does."""
    larger = min(plan.options, key=lambda one: one.cost.usd_per_million_output_tokens)
    if larger is option:
        return None
    found = overtaking_requests_per_hour(option, larger, rates, plan.spec, plan.workload, weights_bytes=weights_bytes)
    return None if found is None else Crossing(larger, found)


def stored_bytes(plan: Plan, option: Option) -> int:
    """What lies on the volume: the checkpoint, or what all ranks load where its size is not known."""
    loaded = sum(stage.model_loading_bytes for stage in option.stages) * option.candidate.tensor_parallel_size
    return plan.checkpoint.checkpoint_bytes or loaded
