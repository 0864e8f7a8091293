"""The sweet spot: the option with the cheapest token, where that is another than the one chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from planner.plan import Option

WORTH_SAYING = 0.02  # a smaller difference is below what the speed model can tell


class SweetSpot(Struct, frozen=True):
    """``option`` pays ``saved_share`` less per output token than the chosen one, for so much more an hour."""

    option: Option
    saved_share: float  # 0.29: 29 % less per token
    saved_usd_per_million_tokens: Decimal
    extra_usd_per_hour: Decimal
    sure: bool  # even the option's low speed against the chosen one's high saves something


def find_sweet_spot(options: Sequence[Option]) -> SweetSpot | None:
    """``options``: best first by the objective. None where the first has the cheapest token, give or take 2 %, or
    nothing is paid for."""
    if not options or not options[0].cost.usd_per_hour:
        return None
    chosen = options[0]
    best = min(options, key=_per_token)
    saved_share = float(1 - _per_token(best) / _per_token(chosen))
    if saved_share < WORTH_SAYING:
        return None
    worst_case = float(best.cost.usd_per_hour) / best.throughput.low
    best_case = float(chosen.cost.usd_per_hour) / chosen.throughput.high
    return SweetSpot(
        option=best,
        saved_share=saved_share,
        saved_usd_per_million_tokens=_per_token(chosen) - _per_token(best),
        extra_usd_per_hour=best.cost.usd_per_hour - chosen.cost.usd_per_hour,
        sure=worst_case < best_case,
    )


def _per_token(option: Option) -> Decimal:
    return option.cost.usd_per_million_output_tokens
