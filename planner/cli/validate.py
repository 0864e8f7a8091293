"""gpuplan validate."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from planner.cli.options import CATALOG, SPECS
from planner.errors import EXIT_USAGE, SpecError

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@SPECS
@CATALOG
def validate(specs: tuple[str, ...], catalog_file: Path | None) -> None:
    """Check spec files; print every problem of every file at once.

    \b
    gpuplan validate specs/*.yaml
    """
    from planner.spec.parse import load_spec

    wrong = 0
    for path in specs:
        try:
            load_spec(path, catalog_file=catalog_file)
        except SpecError as error:
            wrong += 1
            click.echo(str(error), err=True)
        else:
            click.echo(f"{path}: ok")
    sys.exit(EXIT_USAGE if wrong else 0)
