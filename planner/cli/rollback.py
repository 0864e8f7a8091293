"""gpuplan rollback."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from planner.cli.launching import (
    ProgressLine,
    before_asking,
    confirm,
    end_on_terminate,
    open_target,
    read_spec,
)
from planner.cli.options import JSON, SET, SPEC, TARGET
from planner.errors import EXIT_LAUNCH, LaunchError, VerifyError
from planner.verify import prove_gpus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.deployment.running import Recorded, Running
    from planner.targets import Say, Target

LEASE_S = 300.0


@click.command()
@SPEC
@click.argument("version", type=click.IntRange(min=1), required=False)
@SET
@TARGET
@JSON
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--break-lock", is_flag=True, help="Go on although a deploy of this app seems to run.")
def rollback(
    spec: str,
    version: int | None,
    *,
    overrides: tuple[str, ...],
    target: str | None,
    as_json: bool,
    yes: bool,
    break_lock: bool,
) -> None:
    """Make an earlier version the current one.

    Without VERSION: the newest version with another plan that answered as planned.

    \b
    gpuplan rollback specs/70b.yaml
    gpuplan rollback specs/70b.yaml 3 --yes
    """
    from planner.cli.paint import paint
    from planner.deployment.difference import make_difference
    from planner.deployment.locked import App, locked
    from planner.explain.deployment import explain_difference, running_document
    from planner.targets import ANSWER_S

    asked = read_spec(spec, overrides, target)
    provider = open_target(asked.target)
    with before_asking(yes=yes):
        running = provider.observe(asked.name, asked.environment, ANSWER_S)
    if running is None:
        raise LaunchError(f"{asked.name}: nothing runs under this name, so there is nothing to roll back.")
    recorded = provider.recorded(asked.name, asked.environment)
    wanted = version or version_before(running, recorded)
    past = recorded.get(wanted)
    if problem := version_problem(running, wanted, past):
        raise LaunchError(f"{asked.name}: {problem} Nothing was changed.")
    if past:
        local = asked.target == "local"
        paint(explain_difference(make_difference(running, past.release), running, local=local), err=True)
    if not (past and past.proven):
        click.echo(f"Version {wanted} was never seen to answer as planned.", err=True)
    if not confirm(f"Roll {asked.name} back from version {running.version} to {wanted}?", yes=yes):
        click.echo("Nothing was changed.", err=True)
        sys.exit(EXIT_LAUNCH)
    end_on_terminate()
    say = ProgressLine()
    with locked(App(provider, asked.name, asked.environment), running, LEASE_S, say, break_lock=break_lock):
        after = _bring_back(provider, running, wanted, past, say)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "rolled_back_to": wanted, "running": running_document(after)}))
    else:
        click.echo(f"{asked.name}: version {after.version} is version {wanted} again.")


def _bring_back(provider: Target, running: Running, wanted: int, past: Recorded | None, say: Say) -> Running:
    """Roll back, see that it is what was recorded, record it. Raises LaunchError with where to look."""
    from planner.deployment.undo import bring_back

    look = f"Look at what runs with `gpuplan status`, for the app {running.name}."
    try:
        after = bring_back(provider, running, wanted, say)
        if past:
            if after.gpus and not (seen := prove_gpus(after.gpus, past.release)).holds:
                raise VerifyError(f"{running.name}: version {after.version} has {seen.seen}, not {seen.planned}.")
            provider.remember(after, past.release, proven=past.proven)
            after = replace(after, release=past.release, proven=past.proven)
    except LaunchError as error:
        raise type(error)(f"{error} {look}") from None
    except KeyboardInterrupt:
        raise LaunchError(f"{running.name}: interrupted. {look}") from None
    return after


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
