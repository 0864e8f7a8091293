"""Offer: what a provider sells, at what price, since when."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Offer(Struct, frozen=True):
    """A row of a provider's price file, e.g. modal.json."""

    gpu: str  # the provider's name for it, e.g. "A100"; listed offers equal a Gpu name
    planned_as: str  # the smallest Gpu it may mean, e.g. "A100-40GB"
    usd_per_second: Decimal  # one GPU
    counts_sold: tuple[int, ...]  # GPUs per container
    as_of: date
    source: str
    listed: bool = True  # False: an alias accepted in gpu.types and never listed by default
    negotiated: bool = False
    note: str = ""


def make_offers(rows: Iterable[Mapping[str, Any]]) -> dict[str, Offer]:
    """Rows of a catalogue file by the provider's name; a later row of the same name wins."""
    return {
        row["gpu"]: Offer(
            gpu=row["gpu"],
            planned_as=row["planned_as"],
            usd_per_second=Decimal(row["usd_per_second"]),
            counts_sold=tuple(row["counts_sold"]),
            as_of=date.fromisoformat(row["as_of"]),
            source=row["source"],
            listed=row.get("listed", True),
            negotiated=row.get("negotiated", False),
            note=row.get("note", ""),
        )
        for row in rows
    }
