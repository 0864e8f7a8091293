"""The steps of a launch: lock, weights, publish, wait, prove; and what is taken back when one of them fails."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from planner.deployment.locked import App, locked
from planner.deployment.prove import hold, prove
from planner.deployment.running import Progress
from planner.deployment.undo import LOOK_S, take_back
from planner.errors import LaunchError, VerifyError, plain_words
from planner.render import download_timeout_s, render_release

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from planner.deployment.locked import Held
    from planner.deployment.running import Running, Survey
    from planner.release import Release
    from planner.targets import Say, Target
    from planner.verify import Proof

BUILD_S = 1_800.0  # the first build of an image pulls about 10 GB
UNDO_S = 240.0  # the lock outlasts the time limit by this
QUEUE_S = 600.0  # for a GPU to become free, on top of the start-up time


class Outcome(Struct, frozen=True):
    """A launch that went well. ``proofs`` is empty where nothing was verified."""

    running: Running
    release: Release
    proofs: tuple[Proof, ...]
    seconds: float


class Settings(Struct, frozen=True):
    """How to launch."""

    folder: Path  # where the files are written
    wait: bool = True
    timeout_s: float | None = None  # for everything; None: from the model's size
    break_lock: bool = False


def deploy(target: Target, release: Release, survey: Survey, settings: Settings, say: Say) -> Outcome:
    """Launch and prove. Raises LaunchError (with what was left behind) or VerifyError; an interrupt is the first."""
    started = time.monotonic()
    deadline = started + (settings.timeout_s or default_timeout_s(release))
    before, running = survey.running, None
    with _locked(target, release, before, deadline - started, settings, say) as held:
        try:
            release = _with_weights(target, release, survey, settings, held.between(say), deadline)
            held.check()
            running = _publish(target, release, settings, held.between(say), deadline)
            held.check()
            proofs = prove(target, release, running, say, deadline) if settings.wait else ()
        except LaunchError as error:
            if why := held.why_stopped():  # then the version before is not wanted back
                raise LaunchError(f"{why} {_undo_once(target, release, None, running, say)}") from None
            kind = VerifyError if isinstance(error, VerifyError) else LaunchError
            raise kind(f"{error}\n{_undo_once(target, release, before, running, say)}") from None
        except KeyboardInterrupt:
            raise LaunchError(
                f"{release.name}: interrupted. {_undo_once(target, release, before, running, say)}"
            ) from None
        except Exception:  # a bug, which keeps its traceback
            say(Progress("undo", _undo_once(target, release, before, running, say)))
            raise
    return Outcome(running, release, tuple(proofs), time.monotonic() - started)


def _undo_once(target: Target, release: Release, before: Running | None, ours: Running | None, say: Say) -> str:
    """Undo; an interrupt (after one that led here, a second) ends that too, and what is left is not known."""
    try:
        return take_back(target, release, before, ours, say)
    except KeyboardInterrupt:
        return (
            "Interrupted while that was undone: something may be left running. "
            f"Look with `gpuplan status`, end it with `gpuplan stop`, for the app {release.name}."
        )


def rescale(target: Target, release: Release, running: Running, settings: Settings, say: Say) -> Outcome:
    """Change only how many containers there are; those that run go on. Raises LaunchError, VerifyError."""
    started = time.monotonic()
    with _locked(target, release, running, LOOK_S, settings, say):
        try:
            proofs = [target.rescale(running, release)]
            hold(proofs, release)
            target.remember(running, release, proven=running.proven is not False)
        except LaunchError as error:
            raise type(error)(f"{error} {_goes_on(running)}") from None
        except KeyboardInterrupt:
            raise LaunchError(f"{release.name}: interrupted. {_goes_on(running)}") from None
    return Outcome(replace(running, release=release), release, tuple(proofs), time.monotonic() - started)


def prove_running(target: Target, running: Running, settings: Settings, say: Say) -> Outcome:
    """Prove what was launched and never verified (--no-wait, a killed deploy). Raises LaunchError, VerifyError."""
    started = time.monotonic()
    release = running.release
    if release is None:
        raise LaunchError(f"{running.name}: version {running.version} was not recorded, so there is nothing to prove.")
    limit_s = settings.timeout_s or default_timeout_s(release)
    with _locked(target, release, running, limit_s, settings, say) as held:
        stays = f"Version {running.version} is left as it was: end it with `gpuplan stop` or `gpuplan rollback`."
        try:
            proofs = prove(target, release, running, say, started + limit_s)
        except LaunchError as error:
            raise type(error)(held.why_stopped() or f"{error}\n{stays}") from None
        except KeyboardInterrupt:
            raise LaunchError(f"{release.name}: interrupted. {stays}") from None
    return Outcome(replace(running, proven=True), release, tuple(proofs), time.monotonic() - started)


def _goes_on(running: Running) -> str:
    return f"Version {running.version} serves as before; deploy again to set its number of containers."


def _locked(
    target: Target, release: Release, before: Running | None, limit_s: float, settings: Settings, say: Say
) -> AbstractContextManager[Held]:
    app = App(target, release.name, release.environment)
    return locked(app, before, limit_s + UNDO_S, say, break_lock=settings.break_lock)


def default_timeout_s(release: Release) -> float:
    """Download, image, a free GPU and the start-up, each with its own limit."""
    return download_timeout_s(release.weights_bytes or 0) + BUILD_S + QUEUE_S + release.startup_timeout_s


def write_files(release: Release, folder: Path) -> list[Path]:
    """The rendered files of a release in a folder that is made for them."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in render_release(release).items():
            path = folder / name
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise LaunchError(f"{folder}: the files to launch cannot be written ({plain_words(error)}).") from None
    return written


def _with_weights(
    target: Target, release: Release, survey: Survey, settings: Settings, say: Say, deadline: float
) -> Release:
    """The release with its commit, which is in place when this returns."""
    write_files(release, settings.folder)
    if survey.weights_present:
        say(Progress("weights", f"{release.local_path or target.root(release)} is in place already"))
        return release
    commit = target.fetch_weights(release, settings.folder, say, _remaining(deadline, release))
    if commit is None or commit == release.revision:
        return release
    if release.revision is not None:
        raise VerifyError(f"{release.name}: weights: planned was commit {release.revision}, fetched was {commit}.")
    pinned = replace(release, revision=commit)
    write_files(pinned, settings.folder)
    return pinned


def _publish(target: Target, release: Release, settings: Settings, say: Say, deadline: float) -> Running:
    target.launch(release, settings.folder, say, _remaining(deadline, release))
    running = target.observe(release.name, release.environment, LOOK_S)
    if running is None:
        raise LaunchError(f"{release.name}: was published, but the provider does not list it.")
    target.remember(running, release, proven=False)
    return replace(running, release=release)


def _remaining(deadline: float, release: Release) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise LaunchError(f"{release.name}: the time limit is over. Give more with --timeout.")
    return remaining
