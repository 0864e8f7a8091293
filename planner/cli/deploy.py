"""gpuplan deploy."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from planner.cli.completing import complete_specs
from planner.cli.launching import ProgressLine, Ttl, before_asking, confirm, decide, end_on_terminate, open_target
from planner.cli.options import JSON, TARGET, Finite, planning
from planner.cli.paint import paint, tell
from planner.errors import EXIT_LAUNCH, LaunchError

if TYPE_CHECKING:
    from pathlib import Path

    from planner.cli.launching import Decided
    from planner.deployment.difference import Difference
    from planner.deployment.launch import Outcome
    from planner.deployment.running import Running, Survey
    from planner.release import Release


@click.command()
@click.argument("spec_or_plan", shell_complete=complete_specs)
@planning
@JSON
@TARGET
@click.option("--dry-run", is_flag=True, help="Show the plan and what would be launched; touch nothing, ask nobody.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Launch and return: nothing is verified.")
@click.option("--timeout", "timeout_s", type=Finite(min=1), metavar="SECONDS", help="For the whole launch.")
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
    decided = decide(spec_or_plan, **asked)
    _show_plan(decided, as_json=as_json)
    if dry_run:
        _dry_run(decided, as_json=as_json)
        return
    with before_asking(yes=yes):
        survey, difference = _compare(decided, as_json=as_json)
    same = survey.running is not None and difference.effect == "none"
    if same and (no_wait or (survey.running and survey.running.proven is not False)):
        if as_json:
            _print_json(decided, difference, None, survey.running)
        return
    if same:
        tell("It was launched and never verified: that is done now.")
    if not confirm(_question(decided), yes=yes):
        tell("Nothing was launched.")
        sys.exit(EXIT_LAUNCH)
    try:
        outcome = _launch(decided, survey, difference, no_wait, timeout_s, break_lock)
    except KeyboardInterrupt:  # before it began, or when it had ended
        name = decided.release.name
        raise LaunchError(f"{name}: interrupted. What runs, if anything, tells `gpuplan status`.") from None
    if as_json:
        _print_json(decided, difference, outcome, survey.running if same else None)
    else:
        _print_outcome(outcome)


def _compare(decided: Decided, *, as_json: bool) -> tuple[Survey, Difference]:
    """Look at the provider, tell what stands in the way (exit 7), show what would change."""
    from planner.deployment.difference import make_difference
    from planner.deployment.preflight import preflight
    from planner.deployment.undo import untouched
    from planner.explain.deployment import explain_difference

    release = decided.release
    with untouched():
        survey = preflight(decided.planned.plan, release, open_target(release.target).survey(release))
    _show_survey(survey)
    difference = make_difference(survey.running, release)
    paint(explain_difference(difference, survey.running, local=release.target == "local"), err=as_json)
    return survey, difference


def _launch(
    decided: Decided, survey: Survey, difference: Difference, no_wait: bool, timeout_s: float | None, break_lock: bool
) -> Outcome:
    from planner.deployment.launch import Settings, default_timeout_s, deploy, prove_running, rescale

    release, target = decided.release, open_target(decided.release.target)
    end_on_terminate()
    settings = Settings(work_folder(release), not no_wait, timeout_s, break_lock)
    if survey.running and difference.effect == "in place":
        return rescale(target, release, survey.running, settings, ProgressLine())
    if survey.running and difference.effect == "none":
        return prove_running(target, survey.running, settings, ProgressLine())
    tell(f"Time limit: {timeout_s or default_timeout_s(release):,.0f} s.")
    return deploy(target, release, survey, settings, ProgressLine())


def work_folder(release: Release) -> Path:
    """Where the files of a launch are kept, to be looked at afterwards; nothing secret is in them."""
    import platformdirs

    return platformdirs.user_cache_path("gpuplan") / "apps" / release.name / release.plan_id


def _show_plan(decided: Decided, *, as_json: bool) -> None:
    from planner.explain.text import explain_plan, warning_lines

    plan = decided.planned.plan
    paint(explain_plan(plan, ()), err=as_json)
    paint(warning_lines(plan), err=True)
    for reason in decided.stale:
        tell(f"The saved plan is stale. {reason}")


def _show_survey(survey: Survey) -> None:
    from planner.explain.text import wrapped_warnings

    paint(wrapped_warnings(survey.warnings), err=True)
    for problem in survey.problems:
        tell(problem)
    if survey.problems:
        raise LaunchError("Nothing was launched.")


def _question(decided: Decided) -> str:
    release = decided.release
    stale = "although the saved plan is stale " if decided.stale else ""
    return f"Launch {release.gpu_count}×{release.gpu} at ${float(release.usd_per_hour):.2f} per hour {stale}?".replace(
        " ?", "?"
    )


def _dry_run(decided: Decided, *, as_json: bool) -> None:
    from planner.explain.deployment import release_document
    from planner.explain.json import option_document
    from planner.render import render_release

    release = decided.release
    files = render_release(release)
    if as_json:
        document = {
            "schema_version": 1,
            "dry_run": True,
            "launched": False,
            "verified": False,
            "release": release_document(release),
            "option": option_document(decided.option),
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    click.echo(
        f"Dry run: {', '.join(files)} would be launched on {release.target} as {release.name}. "
        "Nothing was touched, nobody was asked; `gpuplan diff` compares with what runs."
    )


def _print_outcome(outcome: Outcome) -> None:
    from planner.explain.deployment import explain_outcome

    paint(explain_outcome(outcome))


def _print_json(
    decided: Decided, difference: Difference, outcome: Outcome | None, running: Running | None = None
) -> None:
    from planner.explain.deployment import difference_document, proof_documents, release_document, running_document
    from planner.explain.json import option_document

    document = {
        "schema_version": 1,
        "launched": outcome is not None and running is None,
        "verified": bool(outcome and outcome.proofs),
        "running": running_document(outcome.running if outcome else running),
        "release": release_document(outcome.release if outcome else decided.release),
        "option": option_document(decided.option),
        "difference": difference_document(difference),
        "proofs": proof_documents(outcome.proofs) if outcome else [],
    }
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
