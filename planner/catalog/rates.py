"""Rates: what a provider charges beside its GPUs, and what a region multiplies, each figure dated."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CPU = "usd_per_cpu_core_second"
MEMORY = "usd_per_memory_gib_second"
VOLUME = "usd_per_volume_gib_month"
BROAD_REGION = "broad_region_multiplier"  # a name without a hyphen, such as us
NARROW_REGION = "narrow_region_multiplier"  # such as us-west
RATE_NAMES = (CPU, MEMORY, VOLUME, BROAD_REGION, NARROW_REGION)


class Rate(Struct, frozen=True):
    """One figure; its name says the unit."""

    name: str
    value: Decimal
    as_of: date
    source: str


class Rates(Struct, frozen=True):
    """A provider's figures by name, each of RATE_NAMES once."""

    rows: Mapping[str, Rate]

    @property
    def usd_per_cpu_core_second(self) -> Decimal:
        """One physical core."""
        return self.rows[CPU].value

    @property
    def usd_per_memory_gib_second(self) -> Decimal:
        return self.rows[MEMORY].value

    @property
    def usd_per_volume_gib_month(self) -> Decimal:
        return self.rows[VOLUME].value

    @property
    def as_of(self) -> date:
        """The date of the older of the two prices that every container pays."""
        return min(self.rows[CPU].as_of, self.rows[MEMORY].as_of)

    def region_multiplier(self, region: str | None) -> Decimal:
        """What GPU, CPU and memory prices are multiplied by once a region is chosen; 1 without one."""
        return Decimal(1) if region is None else self.region_rate(region).value

    def region_rate(self, region: str) -> Rate:
        """The row that multiplies prices in ``region``."""
        return self.rows[NARROW_REGION if "-" in region else BROAD_REGION]


def make_rates(rows: Iterable[Mapping[str, Any]]) -> Rates:
    """The part ``rates`` of a catalogue file; a later row of the same name wins."""
    return Rates(
        {
            row["name"]: Rate(row["name"], Decimal(row["value"]), date.fromisoformat(row["as_of"]), row["source"])
            for row in rows
        }
    )
