"""The deploy lock at Modal: a key in a Dict, put only where none is, with who holds it and until when."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from planner.deployment.interrupts import held_back
from planner.deployment.running import Progress, clock
from planner.errors import LaunchError
from planner.targets import modal_sdk, modal_store
from planner.targets.lock_holder import ToldStop, is_dead, my_name, myself, read_holder, stop_told, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from planner.deployment.running import Stop, Underway
    from planner.targets import Say
    from planner.targets.lock_holder import Holder

ANSWER_S = 20.0  # for one request
ATTEMPTS = 3
PAUSE_S = 0.5


@contextmanager
def lock(
    name: str, environment: str | None, lease_s: float, say: Say, *, break_lock: bool = False
) -> Iterator[Callable[[], Stop | None]]:
    """Held while the block runs. Raises LaunchError where a live deploy holds it.

    It runs out in case its holder was killed; on the holder's own machine that is seen at once.
    """
    mine = myself(lease_s)
    try:
        _take(name, environment, mine, break_lock=break_lock)
    except KeyboardInterrupt:  # it may have arrived
        _drop(name, environment, mine, say)
        raise
    try:
        yield lambda: _told(name, environment, mine)
    finally:
        _drop(name, environment, mine, say)


def underway(name: str, environment: str | None, timeout_s: float = ANSWER_S) -> Underway | None:
    """Who stands on the lock, unless that has run out."""
    text = modal_sdk.within(timeout_s, "looking at the deploy lock", modal_store.read_lock(name, environment))
    holder = read_holder(text) if text else None
    return holder.underway if holder and holder.until > time.time() else None


def tell_stop(name: str, environment: str | None) -> None:
    """Write beside the lock, for its holder to find, that the app is stopped."""
    what = "telling the deploy that is under way"
    if text := modal_sdk.within(ANSWER_S, what, modal_store.read_lock(name, environment)):
        told = text_of(ToldStop(my_name(), time.time(), text))
        modal_sdk.within(ANSWER_S, what, modal_store.write_stop(name, told, environment))


def _told(name: str, environment: str | None, mine: Holder) -> Stop | None:
    what = "looking whether it was stopped"
    return stop_told(modal_sdk.within(ANSWER_S, what, modal_store.read_stop(name, environment)), mine)


def _take(name: str, environment: str | None, mine: Holder, *, break_lock: bool) -> None:
    """Put our name on it. Raises LaunchError where it is a live deploy's."""
    for _ in range(2):
        held = modal_sdk.within(
            ANSWER_S, "taking the deploy lock", modal_store.take_lock(name, text_of(mine), environment)
        )
        if held is None or held == text_of(mine):  # the latter: our own first try arrived, its answer did not
            return
        other = read_holder(held)
        if not break_lock and other.until > mine.since and not is_dead(other):
            raise LaunchError(_refusal(name, other))
        modal_sdk.within(ANSWER_S, "dropping an old lock", modal_store.drop_lock(name, held, environment))
    raise LaunchError(f"{name}: another deploy took the lock in the same moment. Deploy again.")


def _refusal(name: str, other: Holder) -> str:
    return (
        f"{name}: {other.who} is deploying it since {clock(other.since)}. Wait until that ends "
        f"({clock(other.until)} at the latest), or pass --break-lock if it is dead."
    )


def _drop(name: str, environment: str | None, mine: Holder, say: Say) -> None:
    """Tried a few times, since the provider may just have failed; what happened before matters more than this.

    So does Ctrl-C: what it would have stopped has ended.
    """
    for attempt in range(ATTEMPTS):
        try:
            with held_back():
                work = modal_store.drop_lock(name, text_of(mine), environment)
                modal_sdk.within(ANSWER_S, "dropping the deploy lock", work)
        except LaunchError as error:
            failure = error
            time.sleep(PAUSE_S * (attempt + 1))
        else:
            return
    until = clock(mine.until)
    say(Progress("lock", f"{failure} From other machines, deploy {name} with --break-lock until {until}."))
