"""gpuplan prices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from planner.cli.options import CATALOG, JSON
from planner.cli.paint import paint, tell

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

RATES_S = 60.0  # for the provider's client to start and answer


@click.command()
@click.option("--refresh", is_flag=True, help="Take your account's own prices from Modal into your catalogue.")
@CATALOG
@JSON
def prices(refresh: bool, catalog_file: Path | None, as_json: bool) -> None:
    """Show every price with its age and where it is from.

    \b
    gpuplan prices
    gpuplan prices --refresh
    """
    from datetime import UTC, datetime

    from planner.catalog import load_catalog
    from planner.catalog.account_plans import load_account_plans
    from planner.catalog.price_age import price_warnings
    from planner.explain.catalogue import explain_prices, prices_document

    today = datetime.now(UTC).date()
    if refresh:
        _refresh(today)
    catalog = load_catalog(catalog_file)
    plans = load_account_plans()
    if as_json:
        click.echo(json.dumps(prices_document(catalog, plans, today), indent=2, ensure_ascii=False))
    else:
        paint(explain_prices(catalog, plans, today))
    for warning in price_warnings(catalog, today):
        tell(warning)


def _refresh(today: date) -> None:
    """Write the account's prices beside the user's catalogue, whole or not at all."""
    from planner.catalog import load_catalog
    from planner.catalog.account_prices import price_rows, rows_text
    from planner.catalog.load import account_prices_file
    from planner.targets.modal_command import modal_json

    tell("Asking Modal for the prices of this account ...")
    rows, unknown = price_rows(modal_json(["billing", "rates"], RATES_S), load_catalog(), today)
    file = account_prices_file("modal")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".part")
    partial.write_text(rows_text(rows), encoding="utf-8")
    partial.replace(file)
    tell(f"{len(rows['offers'])} GPU prices and {len(rows['rates'])} others written to {file}")
    if unknown:
        tell(f"Not in the catalogue: {', '.join(unknown)}")
