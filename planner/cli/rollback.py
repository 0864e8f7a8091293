"""gpuplan rollback."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from planner.cli.launching import (
    ProgressLine,
    before_asking,
    confirm,
    end_on_terminate,
    open_target,
    read_spec,
)
from planner.cli.options import JSON, SET, SPEC, TARGET, Finite
from planner.cli.paint import paint, tell
from planner.errors import EXIT_LAUNCH, LaunchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.deployment.restore import Restored
    from planner.deployment.running import Recorded, Running
    from planner.targets import Target


@click.command()
@SPEC
@click.argument("version", type=click.IntRange(min=1), required=False)
@SET
@TARGET
@JSON
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Roll back and return: nothing is verified.")
@click.option("--timeout", "timeout_s", type=Finite(min=1), metavar="SECONDS", help="For the whole rollback.")
@click.option("--break-lock", is_flag=True, help="Go on although a deploy of this app seems to run.")
def rollback(
    spec: str,
    version: int | None,
    *,
    overrides: tuple[str, ...],
    target: str | None,
    as_json: bool,
    yes: bool,
    no_wait: bool,
    timeout_s: float | None,
    break_lock: bool,
) -> None:
    """Make an earlier version the current one, wait until it answers, and prove its model.

    Without VERSION: the newest version with another plan that answered as planned.

    \b
    gpuplan rollback specs/70b.yaml
    gpuplan rollback specs/70b.yaml 3 --yes
    """
    from planner.deployment.difference import make_difference
    from planner.deployment.restore import Patience, restore
    from planner.explain.deployment import explain_difference, proof_documents, running_document
    from planner.targets import ANSWER_S

    asked = read_spec(spec, overrides, target)
    provider = open_target(asked.target)
    with before_asking(yes=yes):
        running = provider.observe(asked.name, asked.environment, ANSWER_S)
        recorded = provider.recorded(asked.name, asked.environment)
    if running is None:
        raise LaunchError(f"{asked.name}: nothing runs under this name, so there is nothing to roll back.")
    wanted = version or version_before(running, recorded)
    past = recorded.get(wanted)
    if problem := version_problem(running, wanted, past):
        raise LaunchError(f"{asked.name}: {problem} Nothing was changed.")
    if past:
        local = asked.target == "local"
        paint(explain_difference(make_difference(running, past.release), running, local=local), err=True)
        if not no_wait:
            with before_asking(yes=yes):
                _show_obstacles(provider, past)
    if not (past and past.proven):
        tell(f"Version {wanted} was never seen to answer as planned.")
    if not confirm(f"Roll {asked.name} back from version {running.version} to {wanted}?", yes=yes):
        tell("Nothing was changed.")
        sys.exit(EXIT_LAUNCH)
    end_on_terminate()
    patience = Patience(not no_wait, timeout_s, break_lock)
    restored = restore(provider, running, wanted, past, patience, ProgressLine())
    if as_json:
        document = {
            "schema_version": 1,
            "rolled_back_to": wanted,
            "verified": bool(restored.proofs),
            "running": running_document(restored.running),
            "proofs": proof_documents(restored.proofs),
        }
        click.echo(json.dumps(document))
    else:
        _print_restored(restored, wanted, past)


def _show_obstacles(provider: Target, past: Recorded) -> None:
    """What would keep that version from starting or from being verified; no reason not to try, this may be urgent."""
    from planner.explain.text import wrapped_warnings

    survey = provider.survey(past.release)
    missing = () if survey.weights_present else (f"The weights of version {past.version} are not in place any more.",)
    paint(wrapped_warnings((*survey.problems, *missing, *survey.warnings)), err=True)


def _print_restored(restored: Restored, wanted: int, past: Recorded | None) -> None:
    from planner.explain.deployment import explain_restored

    paint(explain_restored(restored.running, wanted, restored.proofs, is_recorded=past is not None))


def version_problem(running: Running, wanted: int, past: Recorded | None) -> str | None:
    """Why that version cannot be the next one."""
    now = running.version or 0
    if wanted >= now:
        return f"there is no version {wanted} to go back to, version {now} runs."
    ends = past.release.expires_at if past else None
    if ends and datetime.fromisoformat(ends) <= datetime.now(UTC):
        return f"version {wanted} ended at {ends} (--ttl); deploy its spec again."
    return None


def version_before(running: Running, recorded: Mapping[int, Recorded]) -> int:
    """The newest other plan that was proven, else the newest other plan, else the number before."""
    now = running.version or 0
    plan_id = running.release.plan_id if running.release else None
    others = [past for number, past in recorded.items() if number < now and past.release.plan_id != plan_id]
    proven = [past.version for past in others if past.proven] or [past.version for past in others]
    if proven:
        return max(proven)
    if now <= 1:
        raise LaunchError(f"{running.name}: version {now} is the first, there is none to roll back to.")
    return now - 1
