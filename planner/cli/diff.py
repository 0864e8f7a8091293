"""gpuplan diff."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from planner.cli.completing import complete_specs
from planner.cli.launching import decide, open_target
from planner.cli.options import JSON, TARGET, planning
from planner.errors import EXIT_CHANGES


@click.command()
@click.argument("spec_or_plan", shell_complete=complete_specs)
@planning
@JSON
@TARGET
@click.option("--exit-code", is_flag=True, help="Exit with 3 if something would change.")
def diff(spec_or_plan: str, *, as_json: bool, exit_code: bool, **asked: Any) -> None:
    """Compare what runs with what SPEC would launch, field by field and in dollars.

    \b
    gpuplan diff specs/70b.yaml
    gpuplan diff plan.json --exit-code
    """
    from planner.cli.paint import paint
    from planner.deployment.difference import make_difference
    from planner.explain.deployment import difference_document, explain_difference, running_document
    from planner.targets import ANSWER_S

    release = decide(spec_or_plan, **asked).release
    running = open_target(release.target).observe(release.name, release.environment, ANSWER_S)
    difference = make_difference(running, release)
    if as_json:
        document = {
            "schema_version": 1,
            "difference": difference_document(difference),
            "running": running_document(running),
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        paint(explain_difference(difference, running, local=release.target == "local"))
    if exit_code and difference.effect != "none":
        sys.exit(EXIT_CHANGES)
