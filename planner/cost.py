"""Cost: named lines of quantity x unit price. Money is Decimal."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from planner.candidates import Candidate
    from planner.catalog.rates import Rates
    from planner.spec.schema import ResourcesSpec
    from planner.workload import Workload

SECONDS_PER_HOUR = 3600
HOURS_PER_MONTH = 730  # 8,760 hours of a year / 12: what providers count
MILLION = 1_000_000


class CostLine(Struct, frozen=True):
    """``quantity`` of ``unit`` at ``unit_price_usd`` each, e.g. 7200 GPU-seconds."""

    name: str
    quantity: Decimal
    unit: str
    unit_price_usd: Decimal

    @property
    def usd(self) -> Decimal:
        return self.quantity * self.unit_price_usd


class Cost(Struct, frozen=True):
    """One container for one hour, as lines; per token and request at the speed of the planned load.

    Each of the last three figures carries the container's whole price: they are alternatives, not parts.
    """

    lines: tuple[CostLine, ...]
    gpu_usd_per_hour: Decimal
    usd_per_hour: Decimal
    usd_per_million_output_tokens: Decimal
    usd_per_million_input_tokens: Decimal | None = None  # None where the load was not given
    usd_per_request: Decimal | None = None


class Hour(Struct, frozen=True):
    """One container for an hour, whatever it does in it: every split of as many GPUs costs the same."""

    lines: tuple[CostLine, ...]
    gpu_usd: Decimal
    usd: Decimal


def make_hour(candidate: Candidate, rates: Rates, resources: ResourcesSpec, region: str | None) -> Hour:
    """One container of ``candidate`` for an hour. A GPU without an offer costs nothing, and no line stands for it."""
    lines = container_lines(candidate, rates, resources, region, Decimal(SECONDS_PER_HOUR))
    gpu_usd = sum((line.usd for line in lines if line.name == GPU_LINE), Decimal(0))
    return Hour(lines, gpu_usd * rates.region_multiplier(region), total_usd(lines))


def make_cost(hour: Hour, output_tokens_per_second: float, workload: Workload | None = None) -> Cost:
    """What an hour costs, and the tokens and requests in it."""
    tokens_per_hour = Decimal(str(output_tokens_per_second)) * SECONDS_PER_HOUR
    usd_per_token = hour.usd / tokens_per_hour
    usd_per_request = usd_per_token * workload.output_tokens if workload else None
    return Cost(
        lines=hour.lines,
        gpu_usd_per_hour=hour.gpu_usd,
        usd_per_hour=hour.usd,
        usd_per_million_output_tokens=usd_per_token * MILLION,
        usd_per_million_input_tokens=usd_per_request / workload.input_tokens * MILLION
        if workload and usd_per_request is not None
        else None,
        usd_per_request=usd_per_request,
    )


GPU_LINE = "GPUs"


def container_lines(
    candidate: Candidate, rates: Rates, resources: ResourcesSpec, region: str | None, seconds: Decimal
) -> tuple[CostLine, ...]:
    """``seconds`` of one container: GPUs, CPU, memory, and what a chosen region adds to all three."""
    lines = []
    if candidate.offer:
        lines.append(
            CostLine(GPU_LINE, candidate.count * seconds, "GPU-seconds", candidate.offer.usd_per_second),
        )
    lines += [
        CostLine("CPU", _exact(resources.cpu_cores) * seconds, "core-seconds", rates.usd_per_cpu_core_second),
        CostLine("memory", _exact(resources.memory_gib) * seconds, "GiB-seconds", rates.usd_per_memory_gib_second),
    ]
    surcharge = rates.region_multiplier(region) - 1
    if surcharge:
        lines.append(CostLine(f"region {region}", surcharge, "times the lines above", total_usd(lines)))
    return tuple(lines)


def total_usd(lines: tuple[CostLine, ...] | list[CostLine]) -> Decimal:
    """The sum of the lines."""
    return sum((line.usd for line in lines), Decimal(0))


def _exact(number: float) -> Decimal:
    """The decimal a person wrote: 0.1 is a tenth."""
    return Decimal(str(number))
