"""What the local target keeps: versions of an app, which one is current, its process and its log."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict

from planner.deployment.running import Recorded
from planner.release import Release, read_release, release_values

if TYPE_CHECKING:
    from collections.abc import Mapping


class Current(Struct, frozen=True):
    """The version that was started last, and its process."""

    version: int
    pid: int
    started_at: float  # of the process, by the kernel: a later process with the same id is another
    port: int
    deployed_at: str
    gpus: tuple[tuple[str, int], ...] = ()
    devices: tuple[int, ...] = ()  # nvidia-smi's numbers of the GPUs that it was given


def app_folder(name: str) -> Path:
    """Everything of one app on this machine."""
    import platformdirs

    return Path(platformdirs.user_state_path("gpuplan")) / "local" / name


def version_folder(name: str, version: int) -> Path:
    return app_folder(name) / "versions" / str(version)


def log_path(name: str) -> Path:
    return app_folder(name) / "log.txt"


def lock_path(name: str) -> Path:
    return app_folder(name) / "lock"


def stop_path(name: str) -> Path:
    """Word for a deploy that is under way."""
    return app_folder(name) / "stop.json"


def read_text(path: Path) -> str | None:
    """None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def newest_version(name: str) -> int:
    """The highest version that was ever made; 0 where none was."""
    folder = app_folder(name) / "versions"
    return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)


def add_version(name: str, files: Path) -> int:
    """Keep the files of a launch as the next version."""
    version = newest_version(name) + 1
    shutil.copytree(files, version_folder(name, version))
    return version


def read_current(name: str) -> Current | None:
    """The version that was started last, None where the app is stopped."""
    values = _read(app_folder(name) / "current.json")
    try:
        gpus = tuple((gpu, count) for gpu, count in values["gpus"]) if values else ()
        return Current(**{**values, "gpus": gpus, "devices": tuple(values.get("devices", ()))}) if values else None
    except (KeyError, TypeError):
        return None


def read_all_current() -> dict[str, Current]:
    """Of every app on this machine that was not stopped."""
    names = [path.parent.name for path in app_folder("any").parent.glob("*/current.json")]
    return {name: current for name in names if (current := read_current(name))}


def write_current(name: str, current: Current) -> None:
    _write(app_folder(name) / "current.json", asdict(current))


def forget_current(name: str) -> None:
    (app_folder(name) / "current.json").unlink(missing_ok=True)


def write_record(name: str, version: int, release: Release, *, proven: bool) -> None:
    """Record which release a version is."""
    _write(version_folder(name, version) / "release.json", {"release": release_values(release), "proven": proven})


def read_records(name: str) -> dict[int, Recorded]:
    """Every recorded version."""
    found = {}
    for path in (app_folder(name) / "versions").glob("*/release.json"):
        values = _read(path)
        try:
            version = int(path.parent.name)
            found[version] = Recorded(version, read_release(values["release"]), bool(values["proven"]))
        except (KeyError, TypeError, ValueError):
            continue  # recorded by another version of gpuplan
    return found


def now_text() -> str:
    return datetime.now(UTC).isoformat()


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write(path: Path, values: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(values, indent=1), encoding="utf-8")
    draft.replace(path)
