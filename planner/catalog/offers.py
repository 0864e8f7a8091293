"""Offer: what a provider sells, at what price, since when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Offer:
    """A row of a provider's price file, e.g. modal.yaml."""

    gpu: str  # the provider's name for it, e.g. "A100"; listed offers equal a Gpu name
    planned_as: str  # the smallest Gpu it may mean, e.g. "A100-40GB"
    usd_per_second: Decimal  # one GPU
    counts_sold: tuple[int, ...]  # GPUs per container
    as_of: date
    source: str
    listed: bool = True  # False: an alias accepted in gpu.types and never listed by default
    negotiated: bool = False
