"""Who holds the lock of an app: one process of one machine, as it stands on the lock."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from pathlib import Path

from msgspec import Struct
from msgspec.structs import asdict

from planner.deployment.running import Stop, Underway
from planner.targets import local_process

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

    @property
    def underway(self) -> Underway:
        return Underway(self.who, self.since, self.until, alive=not is_dead(self))


class ToldStop(Struct, frozen=True):
    """Somebody told the deploy that held a lock (its whole text) that its app is stopped."""

    who: str
    at: float
    holder: str


def myself(lease_s: float) -> Holder:
    """This process, for ``lease_s`` from now on."""
    now = time.time()
    return Holder(my_name(), now, now + lease_s, _machine(), os.getpid(), local_process.start_time(os.getpid()))


def my_name() -> str:
    """As in ann@laptop (process 7)."""
    return f"{_user()}@{socket.gethostname()} (process {os.getpid()})"


def read_holder(text: str) -> Holder:
    """Who stands on a lock; what cannot be read has run out."""
    import msgspec

    try:
        return msgspec.json.decode(text, type=Holder)
    except msgspec.DecodeError:
        return Holder("someone", 0.0, 0.0)


def text_of(value: Holder | ToldStop) -> str:
    """As it is written on the lock, or beside it."""
    return json.dumps(asdict(value))


def stop_told(text: str | None, mine: Holder) -> Stop | None:
    """What stands beside the lock, where it was said to this holder."""
    import msgspec

    try:
        told = msgspec.json.decode(text, type=ToldStop) if text else None
    except msgspec.DecodeError:
        return None
    return Stop(told.who, told.at) if told and told.holder == text_of(mine) else None


def is_dead(holder: Holder) -> bool:
    """Whether it was a process of this machine that is no more."""
    on_this_machine = holder.machine is not None and holder.machine == _machine()
    return on_this_machine and local_process.start_time(holder.pid) != holder.started_at


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
