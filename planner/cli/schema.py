"""gpuplan schema."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of the spec, for editors and other checkers.

    \b
    gpuplan schema > schema.json
    """
    from planner.spec.json_schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
