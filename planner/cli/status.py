"""gpuplan status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from planner.cli.launching import open_target, read_spec
from planner.cli.options import JSON, SET, SPEC, TARGET

if TYPE_CHECKING:
    from planner.deployment.running import Running

HEALTH_S = 10.0


@click.command()
@SPEC
@SET
@TARGET
@JSON
def status(spec: str, *, overrides: tuple[str, ...], target: str | None, as_json: bool) -> None:
    """Show what runs: state, version, GPUs, containers, dollars per hour, the plan.

    \b
    gpuplan status specs/70b.yaml
    gpuplan status specs/70b.yaml --json
    """
    from planner.cli.paint import paint
    from planner.explain.deployment import explain_status, explain_underway, running_document, underway_document
    from planner.targets import ANSWER_S

    asked = read_spec(spec, overrides, target)
    provider = open_target(asked.target)
    running = provider.observe(asked.name, asked.environment, ANSWER_S)
    underway = provider.underway(asked.name, asked.environment, ANSWER_S)
    if running is not None:
        running = provider.count_containers(running)
    healthy = _health(running)
    if as_json:
        document = {
            "schema_version": 1,
            "endpoint": healthy,
            "running": running_document(running),
            "deploying": underway_document(underway),
        }
        click.echo(json.dumps(document, indent=2))
        return
    if running is None:
        click.echo(f"{asked.name}: nothing runs under this name.")
    else:
        paint(explain_status(running, healthy))
    if underway and (underway.alive or (running and not running.proven)):
        click.echo(explain_underway(underway))


def _health(running: Running | None) -> str:
    """Asks only where a container is warm: a request would start one, and be paid for."""
    from planner.deployment.access import auth_headers
    from planner.verify import UnansweredError, ask

    if running is None or running.url is None:
        return "none"
    if not running.containers:
        return "asleep: the first request starts a container"
    try:
        ask(running.url, "/health", auth_headers(), timeout_s=HEALTH_S)
    except UnansweredError as error:
        return f"does not answer ({error})"
    return "healthy"
