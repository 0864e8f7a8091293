"""gpuplan deploy."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from planner.cli.launching import TARGET, ProgressLine, Ttl, confirm, decide, end_on_terminate, open_target
from planner.cli.options import JSON, planning
from planner.errors import EXIT_LAUNCH

if TYPE_CHECKING:
    from pathlib import Path

    from planner.cli.launching import Decided
    from planner.deployment.difference import Difference
    from planner.deployment.running import Survey
    from planner.release import Release


@click.command()
@click.argument("spec_or_plan")
@planning
@JSON
@TARGET
@click.option("--dry-run", is_flag=True, help="Show the plan and what would be launched; touch nothing, ask nobody.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Launch and return: nothing is verified.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), metavar="SECONDS", help="For the whole launch.")
@click.option("--ttl", type=Ttl(), metavar="TIME", help="The app stops itself after 30m, 2h, 3d.")
@click.option("--break-lock", is_flag=True, help="Go on although another deploy of this app seems to run.")
def deploy(
    spec_or_plan: str,
    *,
    as_json: bool,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    timeout_s: float | None,
    break_lock: bool,
    **asked: Any,
) -> None:
    """Launch the plan, wait until it answers, and prove that it is the planned model.

    \b
    gpuplan deploy specs/70b.yaml
    gpuplan deploy plan.json --yes --timeout 3600
    gpuplan deploy specs/7b.yaml --ttl 2h --dry-run
    """
    from planner.cli.paint import paint
    from planner.deployment.difference import make_difference
    from planner.deployment.launch import Settings, default_timeout_s, rescale
    from planner.deployment.launch import deploy as launch
    from planner.deployment.preflight import preflight
    from planner.explain.deployment import explain_difference, explain_outcome

    decided = decide(spec_or_plan, **asked)
    release = decided.release
    _show_plan(decided, as_json=as_json)
    if dry_run:
        _dry_run(decided, as_json=as_json)
        return
    target = open_target(release.target)
    survey = preflight(decided.planned.plan, release, target.survey(release))
    _show_survey(survey)
    running = survey.running
    difference = make_difference(running.release if running else None, release, first=running is None)
    paint(explain_difference(difference, running, local=release.target == "local"), err=as_json)
    if running and running.release and difference.effect == "none":
        _done(decided, difference, as_json=as_json)
        return
    if not confirm(_question(decided), yes=yes):
        click.echo("Nothing was launched.", err=True)
        sys.exit(EXIT_LAUNCH)
    end_on_terminate()
    settings = Settings(work_folder(release), not no_wait, timeout_s, break_lock)
    click.echo(f"Time limit: {timeout_s or default_timeout_s(release):,.0f} s.", err=True)
    if running and difference.effect == "in place":
        outcome = rescale(target, release, running, settings)
    else:
        outcome = launch(target, release, survey, settings, ProgressLine())
    if as_json:
        _done(decided, difference, as_json=True, outcome=outcome)
    else:
        paint(explain_outcome(outcome))


def work_folder(release: Release) -> Path:
    """Where the files of a launch are kept, to be looked at afterwards; nothing secret is in them."""
    import platformdirs

    return platformdirs.user_cache_path("gpuplan") / "apps" / release.name / release.plan_id


def _show_plan(decided: Decided, *, as_json: bool) -> None:
    from planner.cli.paint import paint
    from planner.explain.text import explain_plan, warning_lines

    plan = decided.planned.plan
    paint(explain_plan(plan, ()), err=as_json)
    paint(warning_lines(plan), err=True)
    for reason in decided.stale:
        click.echo(f"The saved plan is stale. {reason}", err=True)


def _show_survey(survey: Survey) -> None:
    for warning in survey.warnings:
        click.echo(f"warning: {warning}", err=True)
    for problem in survey.problems:
        click.echo(problem, err=True)
    if survey.problems:
        click.echo("Nothing was launched.", err=True)
        sys.exit(EXIT_LAUNCH)


def _question(decided: Decided) -> str:
    release = decided.release
    stale = "although the saved plan is stale " if decided.stale else ""
    return f"Launch {release.gpu_count}×{release.gpu} at ${float(release.usd_per_hour):.2f} per hour {stale}?".replace(
        " ?", "?"
    )


def _dry_run(decided: Decided, *, as_json: bool) -> None:
    from planner.explain.deployment import release_document
    from planner.render import render_release

    files = render_release(decided.release)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "dry_run": True, "release": release_document(decided.release)}))
        return
    click.echo(
        f"Dry run: {', '.join(files)} would be launched on {decided.release.target} as {decided.release.name}. "
        "Nothing was touched, nobody was asked; `gpuplan diff` compares with what runs."
    )


def _done(decided: Decided, difference: Difference, *, as_json: bool, outcome: Any = None) -> None:
    from planner.explain.deployment import difference_document, proof_documents, release_document, running_document
    from planner.explain.json import option_document

    if not as_json:
        return
    document = {
        "schema_version": 1,
        "launched": outcome is not None,
        "verified": bool(outcome and outcome.proofs),
        "running": running_document(outcome.running) if outcome else None,
        "release": release_document(outcome.release if outcome else decided.release),
        "option": option_document(decided.option),
        "difference": difference_document(difference),
        "proofs": proof_documents(outcome.proofs) if outcome else [],
    }
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
