"""gpuplan stop."""

from __future__ import annotations

import json
import sys

import click

from planner.cli.launching import before_asking, confirm, open_target, read_spec
from planner.cli.options import JSON, SET, SPEC, TARGET
from planner.errors import EXIT_LAUNCH


@click.command()
@SPEC
@SET
@TARGET
@JSON
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def stop(spec: str, *, overrides: tuple[str, ...], target: str | None, as_json: bool, yes: bool) -> None:
    """End the app and its containers, and prove that nothing is left.

    \b
    gpuplan stop specs/70b.yaml
    gpuplan stop specs/7b.yaml --target local --yes
    """
    from planner.deployment.undo import prove_stopped
    from planner.targets import ANSWER_S

    asked = read_spec(spec, overrides, target)
    provider = open_target(asked.target)
    with before_asking(yes=yes):
        running = provider.observe(asked.name, asked.environment, ANSWER_S)
    if running is None:
        said = f"{asked.name}: nothing runs under this name."
    else:
        if not confirm(f"Stop {asked.name} (version {running.version}) and all its containers?", yes=yes):
            click.echo("Nothing was stopped.", err=True)
            sys.exit(EXIT_LAUNCH)
        prove_stopped(provider, running)
        said = f"{asked.name}: stopped. {asked.target.capitalize()} lists neither the app nor a container of it."
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "name": asked.name, "stopped": running is not None}))
    else:
        click.echo(said)
