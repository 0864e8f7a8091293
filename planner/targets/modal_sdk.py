"""Modal through its Python SDK: looks and small changes, each with our own time limit."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from planner.deployment.running import Recorded, Running
from planner.errors import LaunchError
from planner.release import Release, read_release, release_values

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
SERVER = "Engine"  # the class in the rendered app
WEIGHTS_VOLUME = "gpuplan-weights"
LOCKS = "gpuplan-locks"
CONNECT_TIMEOUT_S = 5.0
KEPT_VERSIONS = 50
TO_LOG_IN = "Log in with `modal setup`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET."


def within(timeout_s: float, what: str, work: Coroutine[Any, Any, T]) -> T:
    """Run it; whatever goes wrong is a LaunchError that says what was being done."""
    import modal

    async def bounded() -> T:
        return await asyncio.wait_for(work, timeout_s)

    try:
        return asyncio.run(bounded())
    except TimeoutError:
        raise LaunchError(f"modal: {what}: no answer in {timeout_s:g} s. Try again, or see status.modal.com.") from None
    except modal.exception.AuthError as error:
        raise LaunchError(f"modal: {what}: {first_line(error)} {TO_LOG_IN}") from None
    except (modal.exception.Error, OSError) as error:
        raise LaunchError(f"modal: {what}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """The error's first line as a sentence, or its type where it says nothing."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
    return text if text.endswith((".", "!", "?")) else text + "."


def connect_problem(timeout_s: float = CONNECT_TIMEOUT_S) -> str | None:
    """Why the account cannot be reached, or None. The client itself would try for a minute."""
    from modal.config import config

    has_token = any(os.environ.get(name) or config.get(name.lower().removeprefix("modal_")) for name in TOKENS)
    if not has_token:
        return f"modal: no token. {TO_LOG_IN}"
    server = urlsplit(str(config.get("server_url")))
    port = server.port or (443 if server.scheme == "https" else 80)
    try:
        with socket.create_connection((server.hostname or "", port), timeout_s):
            return None
    except OSError as error:
        return f"modal: {server.hostname}:{port} cannot be reached ({error}). Check the network, then try again."


TOKENS = ("MODAL_TOKEN_ID", "MODAL_OAUTH_REFRESH_TOKEN", "MODAL_OAUTH_CLIENT_ID")


async def look_up(name: str, environment: str | None) -> Running | None:
    """The deployed app: version, state, the server's GPUs and URL, and its record."""
    running: Running | None
    running, server, records = await asyncio.gather(
        glance(name, environment), _server(name, environment), read_records(name, environment)
    )
    if running is None:
        return None
    recorded = recorded_versions(records).get(running.version or 0)
    return replace(
        running,
        url=(server.server_url or None) if server else None,
        gpus=tuple((str(gpu), int(count)) for gpu, count in server.gpus) if server else (),
        release=recorded.release if recorded else None,
    )


async def glance(name: str, environment: str | None) -> Running | None:
    """The deployed app's version and state, by one request."""
    import modal

    try:
        app = await modal.App.lookup.aio(name, environment_name=environment)
    except modal.exception.NotFoundError:
        return None
    info = await app.info.aio()
    life = info.lifecycle
    if life.state.value != "deployed":
        return None
    return Running(
        name=name,
        environment=environment,
        version=life.version,
        state=life.state.value,
        url=None,
        gpus=(),
        deployed_at=life.deployed_at.isoformat() if life.deployed_at else None,
        provider_id=str(info.app_id),
    )


async def _server(name: str, environment: str | None) -> Any:
    import modal

    try:
        return await modal.Server.from_name(name, SERVER, environment_name=environment).info.aio()
    except modal.exception.NotFoundError:
        return None  # not an app of ours: it has no such server


async def rescale(
    running: Running, min_containers: int, max_containers: int, scaledown_window_s: int
) -> tuple[int, int, int]:
    """Set the autoscaler of what runs; the numbers that Modal has afterwards."""
    import modal

    server = modal.Server.from_name(running.name, SERVER, environment_name=running.environment)
    settings = await server.autoscaler.update.aio(
        min_containers=min_containers, max_containers=max_containers, scaledown_window=scaledown_window_s
    )
    return int(settings.min_containers or 0), int(settings.max_containers or 0), int(settings.scaledown_window or 0)


def recorded_versions(records: dict[str, Any]) -> dict[int, Recorded]:
    """The records of this generator's own kind, by version."""
    found = {}
    for version, record in records.items():
        try:
            found[int(version)] = Recorded(int(version), read_release(record["release"]), bool(record["proven"]))
        except (KeyError, TypeError, ValueError):
            continue  # recorded by another version of gpuplan
    return found


def _weights(environment: str | None, *, create: bool = False) -> Any:
    import modal

    return modal.Volume.from_name(WEIGHTS_VOLUME, environment_name=environment, create_if_missing=create)


async def read_file(path: str, environment: str | None) -> bytes | None:
    """A file of the weights Volume, None where it is not there."""
    import modal

    try:
        pieces = [piece async for piece in _weights(environment).read_file.aio(path)]
    except (FileNotFoundError, modal.exception.NotFoundError, modal.exception.UnimplementedError):
        return None
    return b"".join(pieces)


async def read_records(name: str, environment: str | None) -> dict[str, Any]:
    """Version -> recorded values; empty where nothing was recorded."""
    text = await read_file(f"deployments/{name}.json", environment)
    try:
        records = json.loads(text or b"{}")
    except ValueError:
        return {}
    return records if isinstance(records, dict) else {}


async def write_record(running: Running, release: Release, *, proven: bool) -> None:
    """Add this version's release to the app's records."""
    records = await read_records(running.name, running.environment)
    records[str(running.version)] = {"release": release_values(release), "proven": proven}
    newest = sorted(records, key=int)[-KEPT_VERSIONS:]
    text = json.dumps({version: records[version] for version in newest})
    volume = _weights(running.environment, create=True)
    async with volume.batch_upload.aio(force=True) as batch:
        batch.put_file(BytesIO(text.encode()), f"deployments/{running.name}.json")


async def snapshot_present(release: Release) -> bool:
    """Whether a checked snapshot of the planned commit is in the Volume."""
    if release.revision is None:
        return False
    text = await read_file(f"{release.repo}@{release.revision}/gpuplan-snapshot.json", release.environment)
    try:
        record = json.loads(text or b"{}")
    except ValueError:
        return False
    return bool(record.get("repo") == release.repo and record.get("revision") == release.revision)


async def secret_problem(name: str, key: str, environment: str | None) -> str | None:
    """What is wrong with a secret, or None."""
    import modal

    try:
        await modal.Secret.from_name(name, environment_name=environment, required_keys=[key]).hydrate.aio()
    except modal.exception.NotFoundError:
        return f"secrets: Modal has no secret {name}. Create it: modal secret create {name} {key}=..."
    except modal.exception.InvalidError as error:
        return f"secrets: {name} lacks {key} ({first_line(error)}) Add it: modal secret create --force {name} {key}=..."
    return None


async def stop_app(provider_id: str) -> None:
    """End the app and its containers."""
    import modal

    await (await modal.App.lookup.aio(provider_id)).stop.aio()


def take_lock(key: str, holder: str, environment: str | None) -> Coroutine[Any, Any, str | None]:
    """Write our name under the key if no one's is there; who holds it otherwise."""

    async def take() -> str | None:
        locks = _locks(environment)
        if await locks.put.aio(key, holder, skip_if_exists=True):
            return None
        return str(await locks.get.aio(key, ""))

    return take()


async def drop_lock(key: str, environment: str | None) -> None:
    """Take whatever stands under the key away."""
    await _locks(environment).pop.aio(key, None)


def _locks(environment: str | None) -> Any:
    import modal

    return modal.Dict.from_name(LOCKS, environment_name=environment, create_if_missing=True)
