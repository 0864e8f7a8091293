"""One change of an app at a time, and of what was looked at: the lock, and a last look inside it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.deployment.undo import LOOK_S, untouched
from planner.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.deployment.running import Running
    from planner.targets import Say, Target


class App(Struct, frozen=True):
    """An app at a provider, by its name."""

    target: Target
    name: str
    environment: str | None


@contextmanager
def locked(app: App, before: Running | None, lease_s: float, say: Say, *, break_lock: bool) -> Iterator[None]:
    """Held by us alone, while what runs is still what was compared. Raises LaunchError, also for an interrupt."""
    with ExitStack() as held:
        with untouched():
            held.enter_context(app.target.lock(app.name, app.environment, lease_s, say, break_lock=break_lock))
            _expect(app, before)
        yield


def _expect(app: App, before: Running | None) -> None:
    """Refuse where someone else changed what runs since it was compared."""
    now = app.target.glance(app.name, app.environment, LOOK_S)
    was, found = ((one.version, one.provider_id) if one else (None, None) for one in (before, now))
    if was != found:
        raise LaunchError(
            f"{app.name}: it was changed since it was compared (version {was[0] or 'none'}, "
            f"now {found[0] or 'none'}). Look again to see the difference."
        )
