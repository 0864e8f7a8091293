"""gpuplan gpus."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from planner.cli.completing import complete_gpus
from planner.cli.options import CATALOG, JSON
from planner.cli.paint import paint, tell

if TYPE_CHECKING:
    from pathlib import Path

    from planner.catalog import Catalog


@click.command()
@click.argument("search", required=False, default="", shell_complete=complete_gpus)
@click.option("--all", "show_all", is_flag=True, help="Aliases and GPUs without an offer too.")
@CATALOG
@JSON
def gpus(search: str, show_all: bool, catalog_file: Path | None, as_json: bool) -> None:
    """List GPUs: memory, bandwidth, arithmetic, counts sold, price per hour.

    \b
    gpuplan gpus
    gpuplan gpus a100 --json
    """
    from planner.catalog import load_catalog
    from planner.explain.catalogue import explain_gpus, gpu_document

    catalog = load_catalog(catalog_file)
    names = _names(catalog, search, show_all=show_all)
    if as_json:
        rows = [(catalog.gpus[_planned_as(catalog, name)], catalog.offers.get(name)) for name in names]
        click.echo(json.dumps([gpu_document(*row) for row in rows], indent=2, ensure_ascii=False))
    elif names:
        paint(explain_gpus(catalog, names))
    if not names:
        tell(f"No GPU of the catalogue has {search!r} in its name; see `gpuplan gpus --all`.")


def _names(catalog: Catalog, search: str, *, show_all: bool) -> list[str]:
    """Offers, then hardware without one; a search looks at all of them."""
    listed = [name for name, offer in catalog.offers.items() if offer.listed]
    if not (show_all or search):
        return listed
    known = list(dict.fromkeys([*listed, *catalog.offers, *catalog.gpus]))
    return [name for name in known if search.lower() in name.lower()]


def _planned_as(catalog: Catalog, name: str) -> str:
    return catalog.offers[name].planned_as if name in catalog.offers else name
