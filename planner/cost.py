"""Cost: named lines of quantity x unit price. Money is Decimal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass(frozen=True, slots=True)
class CostLine:
    """``quantity`` of ``unit`` at ``unit_price_usd`` each, e.g. 7200 GPU-seconds."""

    name: str
    quantity: Decimal
    unit: str
    unit_price_usd: Decimal

    @property
    def usd(self) -> Decimal:
        return self.quantity * self.unit_price_usd


@dataclass(frozen=True, slots=True)
class Cost:
    """One container for one hour, as lines."""

    lines: tuple[CostLine, ...]
    gpu_usd_per_hour: Decimal
    usd_per_hour: Decimal
    usd_per_million_output_tokens: Decimal
