"""The deploy lock at Modal: a key in a Dict, put only where none is, with who holds it and until when."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.deployment.interrupts import held_back
from planner.deployment.running import Progress
from planner.errors import LaunchError
from planner.targets import local_process, modal_sdk, modal_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.targets import Say

ANSWER_S = 20.0  # for one request
ATTEMPTS = 3
PAUSE_S = 0.5
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")


class Holder(Struct, frozen=True):
    """Who holds a lock. ``machine``, ``pid`` and ``started_at`` name one process for ever; None where unknown."""

    who: str
    since: float  # seconds since 1970, as is ``until``
    until: float
    machine: str | None = None
    pid: int = 0
    started_at: float | None = None


@contextmanager
def lock(name: str, environment: str | None, lease_s: float, say: Say, *, break_lock: bool = False) -> Iterator[None]:
    """Held while the block runs. Raises LaunchError where a live deploy holds it.

    It runs out in case its holder was killed; on the holder's own machine that is seen at once.
    """
    now = time.time()
    mine = _myself(now, now + lease_s)
    try:
        _take(name, environment, mine, break_lock=break_lock)
    except KeyboardInterrupt:  # it may have arrived
        _drop(name, environment, mine, say)
        raise
    try:
        yield
    finally:
        _drop(name, environment, mine, say)


def _take(name: str, environment: str | None, mine: Holder, *, break_lock: bool) -> None:
    """Put our name on it. Raises LaunchError where it is a live deploy's."""
    for _ in range(2):
        held = modal_sdk.within(
            ANSWER_S, "taking the deploy lock", modal_store.take_lock(name, _text_of(mine), environment)
        )
        if held is None or held == _text_of(mine):  # the latter: our own first try arrived, its answer did not
            return
        other = read_holder(held)
        if not break_lock and other.until > mine.since and not is_dead(other):
            raise LaunchError(_refusal(name, other))
        modal_sdk.within(ANSWER_S, "dropping an old lock", modal_store.drop_lock(name, held, environment))
    raise LaunchError(f"{name}: another deploy took the lock in the same moment. Deploy again.")


def read_holder(text: str) -> Holder:
    """Who stands on a lock; what cannot be read has run out."""
    import msgspec

    try:
        return msgspec.json.decode(text, type=Holder)
    except msgspec.DecodeError:
        return Holder("someone", 0.0, 0.0)


def is_dead(holder: Holder) -> bool:
    """Whether it was a process of this machine that is no more."""
    on_this_machine = holder.machine is not None and holder.machine == _machine()
    return on_this_machine and local_process.start_time(holder.pid) != holder.started_at


def _refusal(name: str, other: Holder) -> str:
    since, until = (time.strftime("%H:%M", time.gmtime(at)) for at in (other.since, other.until))
    return (
        f"{name}: {other.who} is deploying it since {since} UTC. Wait until that ends ({until} UTC at the latest), "
        "or pass --break-lock if it is dead."
    )


def _drop(name: str, environment: str | None, mine: Holder, say: Say) -> None:
    """Tried a few times, since the provider may just have failed; what happened before matters more than this.

    So does Ctrl-C: what it would have stopped has ended.
    """
    for attempt in range(ATTEMPTS):
        try:
            with held_back():
                work = modal_store.drop_lock(name, _text_of(mine), environment)
                modal_sdk.within(ANSWER_S, "dropping the deploy lock", work)
        except LaunchError as error:
            failure = error
            time.sleep(PAUSE_S * (attempt + 1))
        else:
            return
    until = time.strftime("%H:%M", time.gmtime(mine.until))
    say(Progress("lock", f"{failure} From other machines, deploy {name} with --break-lock until {until} UTC."))


def _myself(since: float, until: float) -> Holder:
    who = f"{_user()}@{socket.gethostname()} (process {os.getpid()})"
    return Holder(who, since, until, _machine(), os.getpid(), local_process.start_time(os.getpid()))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


def _machine() -> str | None:
    """This boot of this machine, and the process numbers' own space in it; None where the kernel does not tell."""
    try:
        return f"{BOOT_ID.read_text(encoding='ascii').strip()} {PID_NAMESPACE.readlink()}"
    except OSError:
        return None


def _text_of(holder: Holder) -> str:
    from msgspec.structs import asdict

    return json.dumps(asdict(holder))
