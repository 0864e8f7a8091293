"""gpuplan doctor."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import asdict

from planner.cli.completing import complete_specs
from planner.cli.options import JSON, TARGET, planning, refuse, typed
from planner.errors import EXIT_LAUNCH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from planner.cli.machine import Finding
    from planner.explain.lines import Line

WIDTH = 80
MARKS = {"ok": "ok", "missing": "--", "broken": "!!"}
STYLES = {"ok": "good", "missing": "dim", "broken": "warn"}
THING_COLUMNS = 20


@click.command()
@click.argument("spec_or_plan", required=False, shell_complete=complete_specs)
@planning
@TARGET
@JSON
def doctor(spec_or_plan: str | None, *, as_json: bool, **asked: Any) -> None:
    """Show what this machine and its accounts have, and what is missing for what.

    With SPEC_OR_PLAN also everything that would stand in the way of deploying it; exit 7 if something does.

    \b
    gpuplan doctor
    gpuplan doctor specs/70b.yaml
    gpuplan doctor specs/7b.yaml --target local
    """
    from planner.cli.paint import paint

    if spec_or_plan is None:
        unused = typed("overrides", "target", "offline", "measurements_file")
        refuse(unused, "only with a SPEC: gpuplan doctor SPEC looks at what its deploy needs.")
    findings = list(examine(asked["catalog_file"]))
    blocking = list(examine_deploy(spec_or_plan, **asked)) if spec_or_plan is not None else []
    findings += blocking
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        paint(line for finding in findings for line in _lines(finding))
    if any(finding.state == "broken" for finding in blocking):
        sys.exit(EXIT_LAUNCH)


def examine_deploy(source: str, **asked: Any) -> Iterator[Finding]:
    """What `deploy` looks at before it launches: the account, secrets, weights, a saved plan that is still true."""
    from planner.cli.launching import decide, open_target
    from planner.cli.machine import Finding
    from planner.deployment.preflight import preflight

    decided = decide(source, **asked)
    release = decided.release
    thing = f"deploy {release.name}"
    survey = preflight(decided.planned.plan, release, open_target(release.target).survey(release))
    for problem in survey.problems:
        yield Finding(thing, "broken", problem)
    for warning in (*survey.warnings, *decided.stale):
        yield Finding(thing, "missing", warning)
    if not survey.problems:
        weights = "are in place" if survey.weights_present else "will be fetched first"
        yield Finding(thing, "ok", f"nothing stands in the way on {release.target}; the weights {weights}")


def examine(catalog_file: Path | None) -> Iterator[Finding]:
    """Everything that can be told without a spec, quickest first. Starts and changes nothing."""
    from planner.cli import machine

    yield machine.find_python()
    yield from machine.find_packages()
    yield from _catalogue(catalog_file)
    yield machine.find_gpus()
    yield machine.find_modal_token()
    yield machine.find_hub_token()
    yield from machine.find_services()


def _catalogue(file: Path | None) -> Iterator[Finding]:
    """The user's own rows, and how old the prices are."""
    from datetime import UTC, datetime

    from planner.catalog import load_catalog
    from planner.catalog.folders import config_folder
    from planner.catalog.load import user_files
    from planner.catalog.price_age import price_warnings
    from planner.cli.machine import Finding
    from planner.errors import SpecError

    files = [*user_files("modal"), *([file] if file else [])]
    own = ", ".join(str(path) for path in files)
    named = f"the shipped rows and {own}" if own else f"the shipped rows; yours go into {config_folder()}/catalog.yaml"
    try:
        catalog = load_catalog(file)
    except SpecError as error:
        yield Finding("catalogue", "broken", error.problems[0], f"Mend {own}.")
        return
    yield Finding("catalogue", "ok", named)
    stale = list(price_warnings(catalog, datetime.now(UTC).date()))
    if stale:
        yield Finding("prices", "broken", stale[0].removeprefix("prices: "))
    else:
        yield Finding("prices", "ok", f"as of {catalog.prices_as_of}")


def _lines(finding: Finding) -> Iterator[Line]:
    from planner.explain.lines import Line

    indent = " " * (THING_COLUMNS + 4)
    thing = finding.thing if len(finding.thing) < THING_COLUMNS else f"{finding.thing}: "
    first = f"{MARKS[finding.state]}  {thing:<{THING_COLUMNS}}"
    for line in textwrap.wrap(f"{first}{finding.found}", WIDTH, subsequent_indent=indent):
        yield Line(line, STYLES[finding.state])
    if finding.advice:
        for line in textwrap.wrap(finding.advice, WIDTH, initial_indent=indent, subsequent_indent=indent):
            yield Line(line, "dim")
