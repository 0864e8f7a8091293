"""Modal through its Python SDK: looks and small changes, each with our own time limit."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from msgspec.structs import replace

from planner.deployment.running import Running
from planner.errors import LaunchError, plain_words
from planner.targets.modal_store import read_records, recorded_versions

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
SERVER = "Engine"  # the class in the rendered app
CONNECT_TIMEOUT_S = 5.0
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
    except Exception as error:
        if not is_the_providers(error):
            raise
        raise LaunchError(f"modal: {what}: {first_line(error)}") from None
    finally:
        work.close()  # an interrupt may have come before it began, and Python would warn of that


def is_the_providers(error: Exception) -> bool:
    """Whether it tells of the provider or the way to it; a cut connection comes through as grpclib's own."""
    import modal

    return isinstance(error, (modal.exception.Error, OSError)) or type(error).__module__.startswith("grpclib")


def first_line(error: BaseException) -> str:
    """The error's first line as a sentence, or its type where it says nothing."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
    return text if text.endswith((".", "!", "?")) else text + "."


def connect_problem(timeout_s: float = CONNECT_TIMEOUT_S) -> str | None:
    """Why the account cannot be reached, or None. The client itself would try for a minute."""
    try:
        from modal.config import config
    except Exception as error:  # its own, of a module that is not there yet: the file is read while it is imported
        if not type(error).__module__.startswith("modal."):
            raise
        words = " ".join(str(error).split())
        return f"modal: {words} Mend that file or remove it, then log in with `modal setup`."
    has_token = any(os.environ.get(name) or config.get(name.lower().removeprefix("modal_")) for name in TOKENS)
    if not has_token:
        return f"modal: no token. {TO_LOG_IN}"
    url = str(config.get("server_url"))
    try:
        server = urlsplit(url)
        port = server.port or (443 if server.scheme == "https" else 80)
    except ValueError:
        server, port = urlsplit(""), 0
    if not server.hostname:
        return f"modal: MODAL_SERVER_URL (or server_url in its configuration) is {url!r}, which is no URL. Unset it."
    try:
        with socket.create_connection((server.hostname, port), timeout_s):
            return None
    except OSError as error:
        why = plain_words(error)
        return f"modal: {server.hostname}:{port} cannot be reached ({why}). Check the network, then try again."


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
        proven=recorded.proven if recorded else None,
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


async def secret_problem(name: str, key: str, environment: str | None) -> str | None:
    """What is wrong with a secret, or None."""
    import modal

    try:
        await modal.Secret.from_name(name, environment_name=environment, required_keys=[key]).hydrate.aio()
    except modal.exception.NotFoundError:
        return f"secrets: Modal has no secret {name}. Create it: modal secret create {name} {key}=..."
    except modal.exception.InvalidError as error:
        if key not in str(error):
            return f"secrets: {name} cannot be looked at: {first_line(error)}"
        return f"secrets: {name} lacks {key} ({first_line(error)}) Add it: modal secret create --force {name} {key}=..."
    return None


async def stop_app(provider_id: str) -> None:
    """End the app and its containers."""
    import modal

    await (await modal.App.lookup.aio(provider_id)).stop.aio()
