"""Going back to an earlier version: lock, roll back, wait, prove; it is not taken back, and it says what runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from planner.deployment.launch import QUEUE_S, UNDO_S
from planner.deployment.locked import App, locked
from planner.deployment.prove import hold, prove
from planner.deployment.undo import bring_back, prove_stopped
from planner.errors import LaunchError
from planner.verify import prove_gpus

if TYPE_CHECKING:
    from planner.deployment.running import Recorded, Running
    from planner.release import Release
    from planner.targets import Say, Target
    from planner.verify import Proof

COMMANDS_S = 60.0  # for the rollback itself, where nothing says how long the version takes to start


class Restored(Struct, frozen=True):
    """A version that is an earlier one again. ``proofs`` is empty where nothing was verified."""

    running: Running
    proofs: tuple[Proof, ...] = ()


class Patience(Struct, frozen=True):
    """Whether to wait for the version, and how long."""

    wait: bool = True
    timeout_s: float | None = None  # for everything; None: from the version's own start-up time
    break_lock: bool = False


def restore(
    target: Target, running: Running, wanted: int, past: Recorded | None, patience: Patience, say: Say
) -> Restored:
    """Make ``wanted`` the current version and prove what it serves against its record.

    Without a record there is nothing to prove it against. Raises LaunchError (also for an interrupt) or VerifyError;
    the message says which version runs.
    """
    limit_s = patience.timeout_s or (default_timeout_s(past.release) if past else COMMANDS_S)
    deadline = time.monotonic() + limit_s
    app = App(target, running.name, running.environment)
    with locked(app, running, limit_s + UNDO_S, say, break_lock=patience.break_lock) as held:
        after = _roll_back(target, running, wanted, past, patience, say)
        try:
            held.check()
            if past is None or not patience.wait:
                return Restored(after)
            proofs = prove(target, past.release, after, say, deadline)
        except LaunchError as error:
            if why := held.why_stopped():
                prove_stopped(target, after)
                raise LaunchError(f"{why} Nothing is left running.") from None
            raise type(error)(f"{error}\n{_stays(running, after, wanted)}") from None
        except KeyboardInterrupt:
            raise LaunchError(f"{running.name}: interrupted. {_stays(running, after, wanted)}") from None
    return Restored(replace(after, proven=True), tuple(proofs))


def default_timeout_s(release: Release) -> float:
    """A free GPU and the start-up: weights and image are there from the first time."""
    return COMMANDS_S + QUEUE_S + release.startup_timeout_s


def _roll_back(
    target: Target, running: Running, wanted: int, past: Recorded | None, patience: Patience, say: Say
) -> Running:
    """Roll back, see that it has the GPUs that were recorded, record it. Raises LaunchError with where to look."""
    look = f"Look at what runs with `gpuplan status`, for the app {running.name}."
    try:
        after = bring_back(target, running, wanted, say)
        if past is None:
            return after
        if after.gpus:
            hold([prove_gpus(after.gpus, past.release)], past.release)
        proven = past.proven and not patience.wait  # what is waited for is proven anew
        target.remember(after, past.release, proven=proven)
    except LaunchError as error:
        raise type(error)(f"{error} {look}") from None
    except KeyboardInterrupt:
        raise LaunchError(f"{running.name}: interrupted. {look}") from None
    return replace(after, release=past.release, proven=proven)


def _stays(running: Running, after: Running, wanted: int) -> str:
    """What runs now, and the two ways on from there."""
    return (
        f"Version {after.version}, which is version {wanted} again, is left as it is and is not verified: end it with "
        f"`gpuplan stop`, or go back to version {running.version} with `gpuplan rollback`, for the app {running.name}."
    )
