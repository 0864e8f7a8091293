"""After a failure: the version before serves again, or nothing runs; and a sentence that says which."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from planner.deployment.difference import DEAD
from planner.deployment.running import Progress
from planner.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.deployment.running import Running
    from planner.release import Release
    from planner.targets import Say, Target

LOOK_S = 20.0
ATTEMPTS = 3
PAUSE_S = 1.0
STOPPED_WITHIN_S = 60.0
UNTOUCHED = "Nothing was changed."


@contextmanager
def untouched() -> Iterator[None]:
    """What goes wrong in here, or interrupts it, does so before anything was changed; and says so."""
    try:
        yield
    except KeyboardInterrupt:
        raise LaunchError(f"Interrupted. {UNTOUCHED}") from None
    except LaunchError as error:
        raise type(error)(f"{error} {UNTOUCHED}") from None


def take_back(target: Target, release: Release, before: Running | None, ours: Running | None, say: Say) -> str:
    """Undo what was published since ``before``; tries a few times, since the provider may just have failed.

    ``ours`` is the version that was published, where that is known: what someone else launched after it stays.
    """
    say(Progress("undo", "looking at what was left", transient=True))
    launched = ours  # somebody may have stopped it, and its containers go on for a while
    for attempt in range(ATTEMPTS):
        try:
            now = target.glance(release.name, release.environment, LOOK_S)
            if ours and now and _is_anothers(now, ours, attempt):
                return f"Version {now.version}, which someone else launched, is left as it is."
            launched = now or launched  # stopped by an earlier attempt, its containers may go on
            return _put_back(target, now, before, say) if before else _end(target, launched)
        except LaunchError as error:
            failure = error
            time.sleep(PAUSE_S * (attempt + 1))
    return (
        f"What is left behind could not be seen or undone ({failure}) "
        f"Look with `gpuplan status`, end it with `gpuplan stop`, for the app {release.name}."
    )


def _is_anothers(now: Running, ours: Running, attempts: int) -> bool:
    """Newer than ours and what our own ``attempts`` at a rollback can have made of it."""
    return (now.version or 0) > (ours.version or 0) + attempts


def _end(target: Target, launched: Running | None) -> str:
    if launched is not None:
        prove_stopped(target, launched)
    return "Nothing is left running."


def _put_back(target: Target, now: Running | None, before: Running, say: Say) -> str:
    if now is None:
        return f"Version {before.version} does not run any more."
    if before.state == DEAD:
        return _end(target, now)
    if (now.version, now.state) == (before.version, before.state):
        return f"Version {before.version} serves as before."
    after = bring_back(target, now, before.version or 0, say)
    if after.gpus != before.gpus:
        raise LaunchError(f"{before.name}: version {before.version} came back with other GPUs.")
    if before.release is not None:
        target.remember(after, before.release, proven=before.proven is not False)
    return f"Rolled back: version {after.version} is version {before.version} again."


def bring_back(target: Target, now: Running, version: int, say: Say) -> Running:
    """Roll back, and see that the provider has it as a new version."""
    target.rollback(now, version, say)
    after = target.observe(now.name, now.environment, LOOK_S)
    if after is None or after.version == now.version:
        raise LaunchError(f"{now.name}: version {version} did not come back.")
    return after


def prove_stopped(target: Target, running: Running) -> None:
    """Stop it, and return only when the provider lists neither the app nor a container of it."""
    deadline = time.monotonic() + STOPPED_WITHIN_S
    pause, asked = 0.1, False
    while True:
        again = target.glance(running.name, running.environment, LOOK_S)
        gone = again is None or again.provider_id != running.provider_id
        if not (gone or asked):
            target.stop(running)
            asked = True
            continue
        left = target.left(running, LOOK_S) if gone else ["the app itself"]
        if not left:
            return
        if time.monotonic() > deadline:
            raise LaunchError(f"{running.name}: asked to stop, but still there: {', '.join(left)}.")
        time.sleep(pause)
        pause = min(2.0, pause * 2)
