"""What is kept at Modal beside the app: checked weights in a Volume, records of what was launched, deploy locks.

Records are read on every look and must be quick: they lie in a Dict, whose entries Modal drops after a week in which
nobody looks, and in the Volume, where they stay.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

from planner.deployment.running import Recorded
from planner.release import Release, read_release, release_values

if TYPE_CHECKING:
    from planner.deployment.running import Running

WEIGHTS_VOLUME = "gpuplan-weights"
NOTES = "gpuplan-deployments"
KEPT_VERSIONS = 50


async def snapshot_present(release: Release) -> bool:
    """Whether a checked snapshot of the planned commit is in the Volume; its record is written after the last check."""
    import modal

    if release.revision is None:
        return False
    record = f"{release.repo}@{release.revision}/gpuplan-snapshot.json"
    try:
        return bool(await _volume(release.environment).listdir.aio(record))
    except (modal.exception.NotFoundError, modal.exception.UnimplementedError):
        return False


async def read_records(name: str, environment: str | None) -> dict[str, Any]:
    """Version -> recorded values; empty where nothing was recorded."""
    text = await read_note(_records_key(name), environment) or await _kept_records(name, environment)
    try:
        records = json.loads(text or "{}")
    except ValueError:
        return {}
    return records if isinstance(records, dict) else {}


async def write_record(running: Running, release: Release, *, proven: bool) -> None:
    """Add this version's release to the app's records."""
    records = await read_records(running.name, running.environment)
    records[str(running.version)] = {"release": release_values(release), "proven": proven}
    newest = sorted(records, key=int)[-KEPT_VERSIONS:]
    text = json.dumps({version: records[version] for version in newest})
    async with _volume(running.environment, create=True).batch_upload.aio(force=True) as batch:
        batch.put_file(BytesIO(text.encode()), _records_path(running.name))
    await _notes(running.environment, create=True).put.aio(_records_key(running.name), text)


def recorded_versions(records: dict[str, Any]) -> dict[int, Recorded]:
    """The records of this generator's own kind, by version."""
    found = {}
    for version, record in records.items():
        try:
            found[int(version)] = Recorded(int(version), read_release(record["release"]), bool(record["proven"]))
        except (KeyError, TypeError, ValueError):
            continue  # recorded by another version of gpuplan
    return found


async def read_note(key: str, environment: str | None) -> str | None:
    """What stands under a key of the Dict, None where nothing does."""
    import modal

    try:
        note = await _notes(environment).get.aio(key)
    except (modal.exception.NotFoundError, modal.exception.UnimplementedError):
        return None
    return note if isinstance(note, str) else None


async def take_lock(name: str, holder: str, environment: str | None) -> str | None:
    """Write our name on the app's lock if nobody's is there; whose is, otherwise."""
    notes = _notes(environment, create=True)
    if await notes.put.aio(_lock_key(name), holder, skip_if_exists=True):
        return None
    return str(await notes.get.aio(_lock_key(name), ""))


async def read_lock(name: str, environment: str | None) -> str | None:
    """Whose name is on the app's lock; None where nobody's is."""
    return await read_note(_lock_key(name), environment)


async def write_stop(name: str, told: str, environment: str | None) -> None:
    """Leave word for the deploy that is under way; that of an earlier stop goes."""
    await _notes(environment, create=True).put.aio(_stop_key(name), told)


async def read_stop(name: str, environment: str | None) -> str | None:
    """The last word that was left for a deploy of the app."""
    return await read_note(_stop_key(name), environment)


async def drop_lock(name: str, holder: str, environment: str | None) -> None:
    """Take this holder's name off the lock; another's, who came since, stays."""
    notes = _notes(environment, create=True)
    try:
        held = await notes.get.aio(_lock_key(name))
    except Exception:  # whatever it is: a lock that stays would be in the way, and this one is most likely ours
        held = holder
    if held == holder:
        await notes.pop.aio(_lock_key(name), None)


async def _kept_records(name: str, environment: str | None) -> str | None:
    import modal

    try:
        pieces = [piece async for piece in _volume(environment).read_file.aio(_records_path(name))]
    except (FileNotFoundError, modal.exception.NotFoundError, modal.exception.UnimplementedError):
        return None
    return b"".join(pieces).decode(errors="replace")


def _records_key(name: str) -> str:
    return f"records/{name}"


def _records_path(name: str) -> str:
    return f"deployments/{name}.json"


def _lock_key(name: str) -> str:
    return f"lock/{name}"


def _stop_key(name: str) -> str:
    return f"stop/{name}"


def _volume(environment: str | None, *, create: bool = False) -> Any:
    import modal

    return modal.Volume.from_name(WEIGHTS_VOLUME, environment_name=environment, create_if_missing=create)


def _notes(environment: str | None, *, create: bool = False) -> Any:
    import modal

    return modal.Dict.from_name(NOTES, environment_name=environment, create_if_missing=create)
