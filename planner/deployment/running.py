"""What is known of a deployment, as values."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from planner.release import Release


class Running(Struct, frozen=True):
    """One version of an app at a provider. ``release`` is what was recorded of it; None where nothing was."""

    name: str
    environment: str | None
    version: int | None
    state: str  # the provider's word: "deployed", "stopped", ...
    url: str | None
    gpus: tuple[tuple[str, int], ...]  # type and count of one container, as the provider has it
    deployed_at: str | None = None  # ISO 8601
    containers: int | None = None
    release: Release | None = None
    provider_id: str = ""
    devices: tuple[int, ...] = ()  # nvidia-smi's numbers of the GPUs, on this machine
    proven: bool | None = None  # whether it answered as planned; None where nothing was recorded


class Recorded(Struct, frozen=True):
    """A version that gpuplan launched; ``proven``: it answered as planned."""

    version: int
    release: Release
    proven: bool


class Survey(Struct, frozen=True):
    """One look at the provider before anything is launched: what runs, and everything that stands in the way."""

    running: Running | None
    weights_present: bool
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Underway(Struct, frozen=True):
    """A deploy that holds the app's lock, or held it when it was killed: then it is not ``alive``."""

    who: str
    since: float  # seconds since 1970, as is ``until``
    until: float
    alive: bool


class Stop(Struct, frozen=True):
    """Who stopped an app while a deploy of it was under way, and when (seconds since 1970)."""

    who: str
    at: float


def clock(at: float) -> str:
    """A moment as 13:02 UTC."""
    return time.strftime("%H:%M UTC", time.gmtime(at))


def utc(at: float) -> str:
    """A moment in ISO 8601."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


class Progress(Struct, frozen=True):
    """One line of a launch. ``phase`` is one of PHASES; ``transient`` lines may be overwritten on a terminal."""

    phase: str
    text: str
    transient: bool = False


def weights_progress(done_bytes: int, total_bytes: int) -> Progress:
    """Bytes in place and bytes in all, in GB, or in MB where there is less than one."""
    unit, size = ("GB", 1e9) if total_bytes >= 1e9 else ("MB", 1e6)
    return Progress("weights", f"{done_bytes / size:.1f} of {total_bytes / size:.1f} {unit}", transient=True)


PHASES = ("lock", "weights", "image", "deploy", "engine", "graphs", "ready", "proof", "undo")
