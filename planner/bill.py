"""The monthly bill of one option under Poisson arrivals: how long containers are up, what that costs, and instead."""

from __future__ import annotations

from decimal import Decimal
from math import ceil, exp, expm1, floor, lgamma, log, sqrt
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from planner.cost import HOURS_PER_MONTH, SECONDS_PER_HOUR, CostLine, container_lines, total_usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.catalog.rates import Rates
    from planner.plan import Option
    from planner.spec import Spec
    from planner.spec.schema import ScalingSpec
    from planner.workload import Workload

SECONDS_PER_MONTH = HOURS_PER_MONTH * SECONDS_PER_HOUR
GIB_BYTES = 2**30
# Container start, imports, compilation and CUDA graphs of a 1 GiB model: Modal's blog of 2026-05-12 (mean of 95.7 s).
COLD_START_BASE_S = 96
# Reading weights from a Volume: "around one to two GB/s" (modal-examples); the slow end.
VOLUME_BYTES_PER_S = 1e9
MOST_EXPONENT = 700.0  # e ** 709 is the largest float
WHOLE_SECONDS = Decimal(1)


class Uptime(Struct, frozen=True):
    """One container's month. ``up_share`` is the paid share of the time, cold starts included."""

    up_share: float
    cold_starts_per_month: float


class Bill(Struct, frozen=True):
    """A month of ``replicas`` containers. Credit is the account plan's and is not subtracted from ``usd``."""

    lines: tuple[CostLine, ...]
    usd: Decimal
    credit_usd: Decimal
    usd_after_credit: Decimal
    replicas: int
    containers_up: float  # mean over the month
    utilization: float  # of what the running containers could carry
    cold_starts_per_month: float
    cold_start_s: float
    requests_per_hour: float
    unserved_requests_per_hour: float  # what max_containers cannot carry
    usd_per_thousand_requests: Decimal


class Ways(Struct, frozen=True):
    """The same load on one option, scaled to zero and kept warm.

    ``break_even_requests_per_hour``: from this load on, scaling to zero saves less than ``WORTH_SAVING`` of the bill.
    """

    scaled_to_zero: Bill
    always_warm: Bill
    break_even_requests_per_hour: float


WORTH_SAVING = 0.05


def cold_start_s(weights_bytes: int) -> float:
    """Seconds from nothing to the first answer, paid like any others."""
    return COLD_START_BASE_S + weights_bytes / VOLUME_BYTES_PER_S


def requests_per_hour_carried(option: Option, workload: Workload) -> float:
    """The most that one container carries at the planned load."""
    return option.throughput.output_tokens_per_second / workload.output_tokens * SECONDS_PER_HOUR


def containers_needed(requests_per_hour: float, carried: float) -> int:
    """As many as it takes, whatever the spec allows."""
    return max(1, ceil(requests_per_hour / carried))


def service_s(option: Option, workload: Workload) -> float:
    """Mean seconds that one request keeps a container busy: first token, then one TPOT for each further token."""
    throughput = option.throughput
    return (throughput.ttft_ms + throughput.tpot_ms * (workload.output_tokens - 1)) / 1000


def expected_uptime(requests_per_s: float, held_s: float, start_s: float) -> Uptime:
    """A container that starts with the first request and goes ``held_s`` after the last one.

    Poisson arrivals, each holding it for ``held_s`` (service and scaledown window): the busy period of an M/G/inf
    queue lasts (e^(rate x held) - 1) / rate on average (Takacs 1962), the idle one 1 / rate; a cold start of
    ``start_s`` precedes every busy period, and requests that come meanwhile wait for its end.
    """
    expected_arrivals = requests_per_s * held_s
    if expected_arrivals > MOST_EXPONENT:
        return Uptime(1.0, 0.0)
    up = requests_per_s * start_s + expm1(expected_arrivals)  # in units of the mean idle time
    return Uptime(up / (up + 1), requests_per_s / (up + 1) * SECONDS_PER_MONTH)


BUSY_SHARE = 0.99  # all but one moment in 100
BUSY_DEVIATIONS = 2.326348  # of a normal distribution, for the same share
# From here on the normal distribution does: the skew that it leaves out, (z^2 - 1) / 6, is 0.7 requests.
MOST_COUNTED = 1e6


def busy_requests_in_flight(requests_per_s: float, service_s: float) -> int:
    """As many or fewer requests are in flight in BUSY_SHARE of all moments.

    Poisson arrivals that are served at once: their number is Poisson around rate x service, whatever the single
    service times are (M/G/inf).
    """
    mean = requests_per_s * service_s
    if mean > MOST_COUNTED:
        return ceil(mean + BUSY_DEVIATIONS * sqrt(mean))
    count = max(0, floor(mean - 12 * sqrt(mean)))  # what lies below has no weight that a float would show
    term = exp(count * log(mean) - mean - lgamma(count + 1))
    below = term
    while below < BUSY_SHARE:
        count += 1
        term *= mean / count
        below += term
    return count


def make_bill(
    option: Option,
    rates: Rates,
    spec: Spec,
    workload: Workload,
    requests_per_hour: float,
    *,
    weights_bytes: int,
    storage_bytes: int | None = None,
    credit_usd: Decimal = Decimal(0),
    free_storage_gib: Decimal = Decimal(0),
) -> Bill:
    """A month of ``requests_per_hour`` on ``option`` under the spec's scaling.

    Replicas are as many as the mean load takes, and requests come evenly over them; a peak above what they carry is
    taken to wait, though a provider that may start more of them then does, for the scaledown window at least
    (``busy_requests_in_flight`` tells how many that concerns).
    ``weights_bytes`` are read at every cold start; ``storage_bytes`` lie on the volume (None: the same bytes).
    """
    scaling = spec.scaling
    carried = requests_per_hour_carried(option, workload)
    wanted = containers_needed(requests_per_hour, carried)
    replicas = max(scaling.min_containers, min(wanted, scaling.max_containers))
    start_s = cold_start_s(weights_bytes)
    held_s = service_s(option, workload) + scaling.scaledown_window_s
    served = min(requests_per_hour, carried * replicas)
    uptime = expected_uptime(served / replicas / SECONDS_PER_HOUR, held_s, start_s)
    warm = min(scaling.min_containers, replicas)
    containers_up = warm + (replicas - warm) * uptime.up_share
    seconds = Decimal(str(containers_up * SECONDS_PER_MONTH)).quantize(WHOLE_SECONDS)
    lines = (
        *container_lines(option.candidate, rates, spec.resources, spec.region, seconds),
        *_storage(rates, weights_bytes if storage_bytes is None else storage_bytes, free_storage_gib),
    )
    usd = total_usd(lines)
    return Bill(
        lines=lines,
        usd=usd,
        credit_usd=credit_usd,
        usd_after_credit=max(Decimal(0), usd - credit_usd),
        replicas=replicas,
        containers_up=containers_up,
        utilization=served / (carried * containers_up),
        cold_starts_per_month=(replicas - warm) * uptime.cold_starts_per_month,
        cold_start_s=start_s,
        requests_per_hour=requests_per_hour,
        unserved_requests_per_hour=requests_per_hour - served,
        usd_per_thousand_requests=usd / Decimal(str(served * HOURS_PER_MONTH)) * 1000,
    )


def make_ways(
    option: Option,
    rates: Rates,
    spec: Spec,
    workload: Workload,
    requests_per_hour: float,
    *,
    weights_bytes: int,
    free_storage_gib: Decimal = Decimal(0),
) -> Ways:
    """The bill scaled to zero, the bill with every replica kept warm, and where the two come close."""

    def bill(min_containers: int) -> Bill:
        scaling = replace(spec.scaling, min_containers=min_containers)
        asked = replace(spec, scaling=scaling)
        return make_bill(
            option,
            rates,
            asked,
            workload,
            requests_per_hour,
            weights_bytes=weights_bytes,
            free_storage_gib=free_storage_gib,
        )

    scaled = bill(0)
    held_s = service_s(option, workload) + spec.scaling.scaledown_window_s
    return Ways(scaled, bill(scaled.replicas), break_even_requests_per_hour(held_s, cold_start_s(weights_bytes)))


def break_even_requests_per_hour(held_s: float, start_s: float) -> float:
    """The load on one container from which scaling to zero saves less than WORTH_SAVING; found by halving."""
    low, high = 0.0, MOST_EXPONENT / held_s
    for _ in range(60):
        middle = (low + high) / 2
        if expected_uptime(middle, held_s, start_s).up_share < 1 - WORTH_SAVING:
            low = middle
        else:
            high = middle
    return high * SECONDS_PER_HOUR


def cheapest_month(
    options: Sequence[Option],
    rates: Rates,
    spec: Spec,
    workload: Workload,
    requests_per_hour: float,
    *,
    weights_bytes: int,
    free_storage_gib: Decimal = Decimal(0),
) -> tuple[Option, Bill] | None:
    """The option with the lowest bill that carries the load: many small containers against fewer larger ones."""

    def bill(option: Option) -> Bill:
        return make_bill(
            option,
            rates,
            spec,
            workload,
            requests_per_hour,
            weights_bytes=weights_bytes,
            free_storage_gib=free_storage_gib,
        )

    bills = [(option, bill(option)) for option in options]
    carrying = [pair for pair in bills if pair[1].unserved_requests_per_hour <= 0]
    return min(carrying, key=lambda pair: (pair[1].usd, pair[0].candidate.count), default=None)


def overtaking_requests_per_hour(
    small: Option, large: Option, rates: Rates, spec: Spec, workload: Workload, *, weights_bytes: int, most: float = 1e6
) -> float | None:
    """The load from which ``large`` costs less a month than ``small``, both with as many containers as it takes.

    None where it never does below ``most`` requests an hour. Bills grow in steps, one per container, so the answer
    is the first load on a grid of tenths of what one small container carries.
    """
    step = requests_per_hour_carried(small, workload) / 10
    unlimited = replace(spec, scaling=_unlimited(spec.scaling))

    def usd(option: Option, load: float) -> Decimal:
        return make_bill(option, rates, unlimited, workload, load, weights_bytes=weights_bytes).usd

    steps = min(int(most / step), MOST_STEPS)
    return next((n * step for n in range(1, steps + 1) if usd(large, n * step) < usd(small, n * step)), None)


MOST_STEPS = 400


def _unlimited(scaling: ScalingSpec) -> ScalingSpec:
    return replace(scaling, max_containers=10**9)


def _storage(rates: Rates, nbytes: int, free_gib: Decimal) -> tuple[CostLine, ...]:
    gib = (Decimal(nbytes) / GIB_BYTES).quantize(Decimal("0.01"))
    paid = max(Decimal(0), gib - free_gib)
    return (CostLine("volume", paid, "GiB-months", rates.usd_per_volume_gib_month),) if paid else ()
