"""Where an app can run. A target is one module of plain functions in TARGETS and one folder of templates."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from planner.deployment.running import Progress, Recorded, Running, Stop, Survey, Underway
    from planner.release import Release
    from planner.verify import Proof

    Say = Callable[[Progress], None]

ANSWER_S = 20.0  # for one look at a provider
TARGETS = {"modal": "planner.targets.modal", "local": "planner.targets.local"}


class Log(Protocol):
    """A log that is read as it grows."""

    def read(self) -> list[str]:
        """Lines since the last read; none where the log cannot be read."""

    def close(self) -> None:
        """Stop reading."""


class Target(Protocol):
    """What a target's module has. Every function raises LaunchError where the provider refuses or does not answer."""

    def survey(self, release: Release, timeout_s: float = ANSWER_S) -> Survey:
        """What runs, and all that stands in the way of launching. Starts nothing."""

    def observe(self, name: str, environment: str | None, timeout_s: float) -> Running | None:
        """What runs under this name; None where nothing does."""

    def glance(self, name: str, environment: str | None, timeout_s: float) -> Running | None:
        """The same by as little as possible: version and state, for undoing."""

    def lock(
        self, name: str, environment: str | None, lease_s: float, say: Say, *, break_lock: bool
    ) -> AbstractContextManager[Callable[[], Stop | None]]:
        """Held while one deploy of the app is under way; another is refused. ``say`` hears of a lock that stays.

        What it gives tells whether somebody stopped the app meanwhile (``tell_stop``).
        """

    def underway(self, name: str, environment: str | None, timeout_s: float) -> Underway | None:
        """The deploy that holds the app's lock; None where none does."""

    def tell_stop(self, name: str, environment: str | None) -> None:
        """Leave word for the deploy that holds the lock that its app is stopped."""

    def fetch_weights(self, release: Release, folder: Path, say: Say, timeout_s: float) -> str | None:
        """Put the model in place without a GPU; the commit, where the target knows of commits."""

    def launch(self, release: Release, folder: Path, say: Say, timeout_s: float) -> None:
        """Publish the files in ``folder`` as the app's new version; returns when the provider has it."""

    def rescale(self, running: Running, release: Release) -> Proof:
        """Set how many containers there may be, without a new version."""

    def root(self, release: Release) -> str:
        """What the engine must report as the path it serves from, or the end of it."""

    def remember(self, running: Running, release: Release, *, proven: bool) -> None:
        """Record which release this version is, and whether it answered as planned."""

    def recorded(self, name: str, environment: str | None) -> dict[int, Recorded]:
        """What was recorded of the app's versions, by number."""

    def count_containers(self, running: Running) -> Running:
        """The same with the number of containers that run now."""

    def log_lines(self, name: str, environment: str | None, *, follow: bool) -> Iterator[str]:
        """The log of what runs, oldest first."""

    def open_log(self, running: Running) -> Log:
        """The log of this version while a launch waits; the caller closes it."""

    def rollback(self, running: Running, version: int, say: Say) -> None:
        """Make an earlier version the current one."""

    def stop(self, running: Running) -> None:
        """End the app and all its containers."""

    def left(self, running: Running, timeout_s: float) -> list[str]:
        """What of a stopped app still runs, in words; empty when nothing does."""


def find_target(name: str) -> Target:
    """The module of a target, loaded when it is used."""
    return cast("Target", importlib.import_module(TARGETS[name]))
