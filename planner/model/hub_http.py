"""Requests to the hub through huggingface_hub's session: bounded in bytes and time, failures in plain words."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from planner.errors import ModelError, plain_words

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

READ_SECONDS = 5.0  # the longest silence of a server that is still waited for
WEB = "https://huggingface.co"  # where a person logs in and accepts licences, whatever HF_ENDPOINT is
TRANSPORTS = {"httpx", "httpx2"}  # what huggingface_hub 1 and 2 speak HTTP with
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, EMPTY_RANGE, PARTIAL = 401, 403, 404, 416, 206


class HubUnreachableError(ModelError):
    """No answer, too late an answer, or one that is not the hub's; what is known offline may do instead."""


class GatedError(ModelError):
    """The licence has not been accepted, or no token was sent."""


class AbsentError(ModelError):
    """The hub does not have it, or does not show it."""


class Body(Struct, frozen=True):
    """What came of a file: at most as many bytes as were asked for."""

    data: bytes
    file_bytes: int | None  # the whole file's size, where the server tells


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT as it is now, else huggingface_hub's own."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """The call's answer, or HubUnreachableError once the time is up: name look-ups heed no timeout of their own."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise HubUnreachableError(f"{endpoint()} did not answer within {seconds:g} s")
    value, error = outcome[0]
    if error:
        raise error
    answer: Answer = value
    return answer


def fetch(repo: str, revision: str, name: str, most_bytes: int, *, begin: int = 0, deadline: float) -> Body:
    """At most ``most_bytes`` of a file from ``begin`` on, by a range request.

    A server that ignores ranges is read up to the same point and no further. ``deadline`` is a time.monotonic().
    Raises GatedError, AbsentError, HubUnreachableError.
    """
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented there, and no __all__
        build_hf_headers,
        hf_raise_for_status,
    )

    url = hf_hub_url(repo, name, revision=revision, endpoint=endpoint())
    headers = build_hf_headers(library_name="gpuplan")
    headers |= {"Range": f"bytes={begin}-{begin + most_bytes - 1}", "Accept-Encoding": "identity"}
    timeout = min(READ_SECONDS, max(0.1, deadline - time.monotonic()))
    try:
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
            if response.status_code == EMPTY_RANGE:  # an empty file has no range
                return Body(b"", 0)
            hf_raise_for_status(response)
            skip = 0 if response.status_code == PARTIAL else begin
            data = _read(response, skip + most_bytes, deadline)
            return Body(data[skip : skip + most_bytes], _file_bytes(response))
    except Exception as error:
        raise explained(error, repo, revision, name) from error


def _read(response: Any, most_bytes: int, deadline: float) -> bytes:
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) >= most_bytes:
            break
        if time.monotonic() > deadline:
            raise TimeoutError("the answer came too slowly")
    return bytes(data)


def _file_bytes(response: Any) -> int | None:
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if response.status_code != PARTIAL:
        total = response.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None


def explained(error: Exception, repo: str, revision: str, name: str | None = None) -> Exception:
    """The failure as a ModelError with what to do; anything that is no answer of the hub comes back as it is."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return gated(repo)
    if isinstance(error, errors.RevisionNotFoundError):
        return AbsentError(
            f"model.revision: {repo} has no revision {revision}. "
            f"Type main, or one of those at {WEB}/{repo}/commits/main."
        )
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        return _refused(error.response.status_code, repo, name, error)
    if isinstance(error, (OSError, TimeoutError)) or type(error).__module__.partition(".")[0] in TRANSPORTS:
        what = f" for {name}" if name else ""
        return HubUnreachableError(f"{endpoint()} gave no answer{what} ({plain_words(error)[:120]})")
    return error


def _refused(status: int, repo: str, name: str | None, error: Exception) -> ModelError:
    from huggingface_hub import errors

    if status == NOT_FOUND and not isinstance(error, errors.RepositoryNotFoundError):
        return AbsentError(f"model.repo: {repo}: {name or 'it'} is not on the hub (404).")
    if status == FORBIDDEN:
        return gated(repo)
    if status in {UNAUTHORIZED, NOT_FOUND}:
        return AbsentError(
            f"model.repo: {repo}: not on the hub, or private ({status}). Check the spelling at {WEB}/{repo}; "
            "if it is private, or your token has expired, run `hf auth login`."
        )
    return HubUnreachableError(f"{endpoint()} answered {status}{f' for {name}' if name else ''}")


def gated(repo: str) -> GatedError:
    """What to do about a repository whose licence comes first."""
    return GatedError(
        f"model.repo: {repo}: gated; its files need an accepted licence and a token. Accept it at {WEB}/{repo}, "
        "then run `hf auth login` (or set HF_TOKEN). To deploy it, keep HF_TOKEN in a secret of the provider "
        "and name that in secrets.huggingface."
    )
