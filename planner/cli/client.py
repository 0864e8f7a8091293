"""gpuplan client."""

from __future__ import annotations

import click

from planner.cli.launching import open_target, read_spec
from planner.cli.options import OFFLINE, SET, SPEC, TARGET
from planner.cli.paint import tell


@click.command()
@SPEC
@SET
@TARGET
@OFFLINE
def client(spec: str, *, overrides: tuple[str, ...], target: str | None, offline: bool) -> None:
    """Print ready-made calls of the endpoint: curl and the OpenAI SDK.

    \b
    gpuplan client specs/70b.yaml
    """
    from planner.explain.client import client_snippets
    from planner.targets import ANSWER_S

    asked = read_spec(spec, overrides, target)
    running = None if offline else open_target(asked.target).observe(asked.name, asked.environment, ANSWER_S)
    if running is None:
        tell(f"{asked.name}: its URL is known once it is deployed; put it in place of $URL.")
    click.echo(client_snippets(asked, running.url if running and running.url else "$URL"))
