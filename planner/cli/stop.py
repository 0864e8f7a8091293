"""gpuplan stop."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from planner.cli.launching import before_asking, confirm, open_target, read_spec
from planner.cli.options import JSON, SET, SPEC, TARGET
from planner.cli.paint import tell
from planner.errors import EXIT_LAUNCH

if TYPE_CHECKING:
    from planner.deployment.running import Running, Underway


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
    from planner.deployment.running import clock
    from planner.deployment.undo import prove_stopped
    from planner.targets import ANSWER_S

    asked = read_spec(spec, overrides, target)
    provider = open_target(asked.target)
    with before_asking(yes=yes):
        running = provider.observe(asked.name, asked.environment, ANSWER_S)
        found = provider.underway(asked.name, asked.environment, ANSWER_S)
    deploying = found if found and found.alive else None
    if deploying:
        tell(
            f"{asked.name}: {deploying.who} is deploying it since {clock(deploying.since)}. "
            "That is told to end too: it publishes nothing more, or ends at once what it has published."
        )
    if running or deploying:
        what = f" (version {running.version}) and all its containers" if running else ""
        if not confirm(f"Stop {asked.name}{what}?", yes=yes):
            tell("Nothing was stopped.")
            sys.exit(EXIT_LAUNCH)
    if deploying:
        provider.tell_stop(asked.name, asked.environment)
    if running:
        prove_stopped(provider, running)
    if as_json:
        document = {"schema_version": 1, "name": asked.name, "stopped": running is not None}
        click.echo(json.dumps({**document, "told_to_end": deploying and deploying.who}))
        return
    click.echo(f"{asked.name}: {_done(asked.target, running, deploying)}")


def _done(target: str, running: Running | None, deploying: Underway | None) -> str:
    stopped = f"stopped. {target.capitalize()} lists neither the app nor a container of it."
    if not running:
        stopped = "nothing runs under this name" + (" yet." if deploying else ".")
    look = f" Look with `gpuplan status` when the deploy by {deploying.who} has ended." if deploying else ""
    return stopped + look
