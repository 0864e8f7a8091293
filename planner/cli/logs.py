"""gpuplan logs."""

from __future__ import annotations

import click

from planner.cli.launching import open_target, read_spec
from planner.cli.options import SET, SPEC, TARGET


@click.command()
@SPEC
@SET
@TARGET
@click.option("--follow", "-f", is_flag=True, help="Go on until the app ends.")
def logs(spec: str, *, overrides: tuple[str, ...], target: str | None, follow: bool) -> None:
    """Print the log of what runs.

    \b
    gpuplan logs specs/70b.yaml
    gpuplan logs specs/70b.yaml --follow
    """

    asked = read_spec(spec, overrides, target)
    try:
        for line in open_target(asked.target).log_lines(asked.name, asked.environment, follow=follow):
            click.echo(line)
    except KeyboardInterrupt:
        click.echo(err=True)
