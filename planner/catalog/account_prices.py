"""Account prices: the rates that a provider charges one account, as rows of the user's own catalogue.

Modal answers `modal billing rates --json` with dollars per hour by name: gpu_hour_cost_a100_80gb, cpu_hour_cost (per
physical core), mem_gib_hour_cost, volume_storage_gib_month_cost; names that end in _sandbox are of another product.
Seen in public snapshots of that answer of 2026-08-15 and 2026-09-20.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from planner.catalog.rates import CPU, MEMORY, VOLUME
from planner.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from planner.catalog import Catalog

GPU_PREFIX = "gpu_hour_cost_"
OTHER_PRODUCT = "_sandbox"
SECONDS_PER_HOUR = 3600
DIGITS = Decimal("1e-12")  # of a dollar per second
# Modal's word where it is not the offer's name in lower case
GPU_WORDS = {"a10g": "A10", "rtx6000": "RTX-PRO-6000"}
RATE_KEYS = {
    "cpu_hour_cost": (CPU, SECONDS_PER_HOUR),
    "mem_gib_hour_cost": (MEMORY, SECONDS_PER_HOUR),
    "volume_storage_gib_month_cost": (VOLUME, 1),
}
HEADER = "# Written by `gpuplan prices --refresh`; your own rows belong into catalog.yaml beside it, and win.\n"


def price_rows(answer: Any, catalog: Catalog, today: date) -> tuple[dict[str, list[dict[str, str]]], tuple[str, ...]]:
    """Rows for what the answer prices, and the names in it that mean nothing here.

    Raises LaunchError for an answer without a single known price.
    """
    if not isinstance(answer, dict):
        raise LaunchError("prices: modal billing rates: the answer is no mapping of names to dollars.")
    dated = {"as_of": today.isoformat(), "source": f"modal billing rates of this account, {today.isoformat()}"}
    prices = dict(_gpu_prices(answer, catalog))
    offers = [
        {"gpu": name, "usd_per_second": f"{prices[offer.planned_as]:f}", **dated}
        for name, offer in catalog.offers.items()
        if offer.planned_as in prices and not offer.negotiated
    ]
    rates = [
        {"name": name, "value": f"{_dollars(answer[key], seconds):f}", **dated}
        for key, (name, seconds) in RATE_KEYS.items()
        if key in answer
    ]
    if not offers:
        raise LaunchError("prices: modal billing rates: no GPU of the catalogue is priced in the answer.")
    return {"offers": offers, "rates": rates}, tuple(_unknown(answer, catalog))


def rows_text(rows: Mapping[str, list[dict[str, str]]]) -> str:
    """The rows as a user's catalogue file."""
    import json

    parts = [f"{part}:\n" + "".join(f"- {_flow(row, json.dumps)}\n" for row in found) for part, found in rows.items()]
    return HEADER + "".join(parts)


def _flow(row: Mapping[str, str], quoted: Any) -> str:
    """One row on one line; money without quotes, as the schema has it."""
    money = {"usd_per_second", "value"}
    return "{" + ", ".join(f"{name}: {text if name in money else quoted(text)}" for name, text in row.items()) + "}"


def _gpu_prices(answer: Mapping[str, Any], catalog: Catalog) -> Iterator[tuple[str, Decimal]]:
    for key, value in answer.items():
        if (name := _gpu_name(key, catalog)) is not None:
            yield name, _dollars(value, SECONDS_PER_HOUR)


def _gpu_name(key: str, catalog: Catalog) -> str | None:
    """The GPU that gpu_hour_cost_a100_80gb is the price of."""
    if not key.startswith(GPU_PREFIX) or key.endswith(OTHER_PRODUCT):
        return None
    word = key.removeprefix(GPU_PREFIX)
    names = {name.lower().replace("-", "_"): name for name in catalog.gpus}
    return GPU_WORDS.get(word) or names.get(word)


def _unknown(answer: Mapping[str, Any], catalog: Catalog) -> Iterator[str]:
    for key in sorted(answer):
        if key not in RATE_KEYS and not key.endswith(OTHER_PRODUCT) and _gpu_name(key, catalog) is None:
            yield key


def _dollars(value: Any, per: int) -> Decimal:
    try:
        dollars = Decimal(str(value)) / per
    except InvalidOperation:
        dollars = Decimal("NaN")
    if not dollars.is_finite() or dollars <= 0:
        raise LaunchError(f"prices: modal billing rates: {value!r} is no price.")
    return dollars.quantize(DIGITS)
