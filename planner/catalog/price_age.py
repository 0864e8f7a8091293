"""How old the prices of a catalogue are, and when that is worth a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.catalog.rates import CPU, MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from planner.catalog.load import Catalog

STALE_AFTER_DAYS = 90  # prices moved by up to 44 % within a year or two in the past; a quarter is short against that


def price_warnings(catalog: Catalog, today: date, region: str | None = None) -> Iterator[str]:
    """One sentence for each date on which prices of GPUs, CPU, memory or the region were last seen, if long ago."""
    prices = [(offer.gpu, offer.as_of, offer.usd_per_second) for offer in catalog.offers.values()]
    prices += [
        (thing, catalog.rates.rows[name].as_of, catalog.rates.rows[name].value)
        for thing, name in (("CPU", CPU), ("memory", MEMORY))
    ]
    if region is not None:
        rate = catalog.rates.region_rate(region)
        prices.append((f"the factor of region {region}", rate.as_of, rate.value))
    stale = [row for row in prices if row[2] and (today - row[1]).days > STALE_AFTER_DAYS]
    for as_of in sorted({row[1] for row in stale}):
        things = [row[0] for row in stale if row[1] == as_of]
        yield (
            f"prices: {_listed(things)} last seen on {as_of}, {(today - as_of).days} days ago; "
            "compare them with the provider's, or run: gpuplan prices --refresh"
        )


MOST_NAMED = 4


def _listed(things: list[str]) -> str:
    if len(things) == 1:
        return f"{things[0]} was"
    if len(things) <= MOST_NAMED:
        return f"{', '.join(things[:-1])} and {things[-1]} were"
    return f"{', '.join(things[:2])} and {len(things) - 2} more were"
