"""Account plans: what a provider's plans cost, their free credit and their limits. Read only where they are shown."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from msgspec import Struct

from planner.catalog.load import load_shipped


class AccountPlan(Struct, frozen=True):
    """One plan of the provider; limits are of a whole workspace."""

    name: str
    usd_per_month: Decimal
    credit_usd_per_month: Decimal
    free_volume_gib: Decimal  # stored without charge
    max_gpus: int
    max_containers: int
    as_of: date
    source: str


def load_account_plans(target: str = "modal") -> tuple[AccountPlan, ...]:
    """The shipped plans, the cheapest first."""
    return tuple(
        AccountPlan(
            name=row["name"],
            usd_per_month=Decimal(row["usd_per_month"]),
            credit_usd_per_month=Decimal(row["credit_usd_per_month"]),
            free_volume_gib=Decimal(row["free_volume_gib"]),
            max_gpus=row["max_gpus"],
            max_containers=row["max_containers"],
            as_of=date.fromisoformat(row["as_of"]),
            source=row["source"],
        )
        for row in load_shipped(target)["plans"].values()
    )
