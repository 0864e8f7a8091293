"""gpuplan models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from planner.cli.completing import complete_models
from planner.cli.options import CATALOG, JSON
from planner.cli.paint import paint, tell

if TYPE_CHECKING:
    from pathlib import Path

    from planner.catalog import Catalog
    from planner.model.facts import ModelFacts
    from planner.model.identity import Checkpoint


@click.command()
@click.argument("search", nargs=-1, shell_complete=complete_models)
@CATALOG
@JSON
def models(search: tuple[str, ...], catalog_file: Path | None, as_json: bool) -> None:
    """List the models that can be planned with no network.

    Size counts parameters, tokens is the longest context, format is how the weights are stored.

    \b
    gpuplan models
    gpuplan models qwen3 fp8
    """
    from planner.catalog import load_catalog
    from planner.explain.catalogue import explain_models, model_document

    catalog = load_catalog(catalog_file)
    names = [name for name in catalog.model_names() if all(word.lower() in name.lower() for word in search)]
    rows = [_row(catalog, name) for name in names]
    if as_json:
        click.echo(json.dumps([model_document(*row) for row in rows], indent=2, ensure_ascii=False))
        return
    if rows:
        paint(explain_models(rows))
    many = f"{len(names)} model{'' if len(names) == 1 else 's'}" if names else "No model of the catalogue"
    words = f" with {' and '.join(search)} in the name" if search else ""
    tell(f"{many}{words}. Any other of the hub is planned by its name too: gpuplan plan ORG/NAME")


def _row(catalog: Catalog, name: str) -> tuple[Checkpoint, ModelFacts | None, int | None]:
    from planner.errors import ModelError
    from planner.model.architectures import make_facts
    from planner.model.parameters import count_parameters

    checkpoint = catalog.find_model(name)
    assert checkpoint is not None  # noqa: S101 - the catalogue named it
    try:
        facts = make_facts(checkpoint)
    except ModelError:
        return checkpoint, None, None
    return checkpoint, facts, count_parameters(facts)
