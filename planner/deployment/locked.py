"""One change of an app at a time, and of what was looked at: the lock, a last look inside it, and word of a stop."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.deployment.running import clock
from planner.deployment.undo import LOOK_S, untouched
from planner.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from planner.deployment.running import Progress, Running, Stop
    from planner.targets import Say, Target

ASK_EVERY_S = 30.0


class App(Struct, frozen=True):
    """An app at a provider, by its name."""

    target: Target
    name: str
    environment: str | None


class Held:
    """A lock that is held. Whoever stops the app meanwhile leaves word, since no lock keeps one from ending a bill."""

    def __init__(self, name: str, stopped: Callable[[], Stop | None]) -> None:
        self._name = name
        self._stopped = stopped
        self._asked_at = time.monotonic()

    def check(self) -> None:
        """Raises LaunchError where somebody stopped the app, or where that cannot be seen."""
        self._asked_at = time.monotonic()
        if stop := self._stopped():
            raise LaunchError(self._words(stop))

    def why_stopped(self) -> str | None:
        """The sentence, where somebody stopped the app and that can be seen."""
        with suppress(LaunchError):
            if stop := self._stopped():
                return self._words(stop)
        return None

    def between(self, say: Say) -> Say:
        """``say`` that asks from time to time: lines of progress come while weights are fetched, an image built."""

        def heard(progress: Progress) -> None:
            say(progress)
            if time.monotonic() - self._asked_at >= ASK_EVERY_S:
                self._asked_at = time.monotonic()
                if why := self.why_stopped():
                    raise LaunchError(why)

        return heard

    def _words(self, stop: Stop) -> str:
        return f"{self._name}: {stop.who} stopped it at {clock(stop.at)}."


@contextmanager
def locked(app: App, before: Running | None, lease_s: float, say: Say, *, break_lock: bool) -> Iterator[Held]:
    """Held by us alone, while what runs is still what was compared. Raises LaunchError, also for an interrupt."""
    with ExitStack() as held:
        with untouched():
            lock = app.target.lock(app.name, app.environment, lease_s, say, break_lock=break_lock)
            stopped = held.enter_context(lock)
            _expect(app, before)
        yield Held(app.name, stopped)


def _expect(app: App, before: Running | None) -> None:
    """Refuse where someone else changed what runs since it was compared."""
    now = app.target.glance(app.name, app.environment, LOOK_S)
    was, found = ((one.version, one.provider_id) if one else (None, None) for one in (before, now))
    if was != found:
        raise LaunchError(
            f"{app.name}: it was changed since it was compared (version {was[0] or 'none'}, "
            f"now {found[0] or 'none'}). Look again to see the difference."
        )
