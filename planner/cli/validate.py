"""gpuplan validate."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from planner.cli.options import CATALOG, SET, SPECS
from planner.cli.paint import tell
from planner.errors import EXIT_USAGE, SpecError

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@SPECS
@SET
@CATALOG
def validate(specs: tuple[str, ...], overrides: tuple[str, ...], catalog_file: Path | None) -> None:
    """Check spec files; print every problem of every file at once.

    \b
    gpuplan validate specs/*.yaml
    gpuplan validate chat.yaml --set engine.max_model_len=auto
    """
    from planner.spec import load_spec
    from planner.spec.advice import mistyped_model

    wrong = 0
    for path in specs:
        try:
            spec = load_spec(path, overrides, catalog_file)
        except SpecError as error:
            wrong += 1
            tell(str(error))
        else:
            click.echo(f"{path}: ok")
            if near := mistyped_model(spec.model.repo):
                tell(f"{path}: model.repo: not in the catalogue, and near to {near}; did you mean that?")
    sys.exit(EXIT_USAGE if wrong else 0)
