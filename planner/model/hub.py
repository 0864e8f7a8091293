"""The hub: which commit a revision is, and what its files say. Reads config files and headers, never weights."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.errors import ModelError
from planner.model.headers import LENGTH_BYTES, TensorInfo, header_length, parse_header, total_bytes
from planner.model.hub_http import AbsentError, HubUnreachableError, endpoint, explained, fetch, within
from planner.model.identity import Checkpoint
from planner.model.json_files import (
    CONFIG,
    HF_QUANT_CONFIG,
    INDEX,
    MOST_CONFIG_BYTES,
    MOST_INDEX_BYTES,
    SINGLE,
    parse_json,
    shard_names,
)
from planner.model.tensor_runs import tensor_runs

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[str], None]

RESOLVE_SECONDS = 4.0  # for the one request that every online plan makes
CONFIG_SECONDS = 10.0  # for the small files of a commit that is new here
HEADER_SECONDS = 60.0  # for the headers of all its weights
HEADER_CONNECTIONS = 8
NO_SUCH_CALL = {404, 405, 501}  # answers of a mirror to a call that it does not have
FIRST_BYTES = 100_000  # holds 97 % of the hub's headers in one request (huggingface_hub's own figure)


class Resolved(Struct, frozen=True):
    """A revision of a repository as the hub sees it now."""

    commit: str
    gated: bool = False
    files: frozenset[str] | None = None  # None: the server lists none, so files are asked for one by one


def resolve(repo: str, revision: str) -> Resolved:
    """The commit that a branch, tag or commit stands for. One request, RESOLVE_SECONDS at most.

    Raises AbsentError, GatedError and HubUnreachableError, each a ModelError.
    """
    return within(RESOLVE_SECONDS, lambda: _resolve(repo, revision))


def _resolve(repo: str, revision: str) -> Resolved:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi(endpoint=endpoint()).model_info(repo, revision=revision, timeout=RESOLVE_SECONDS)
    except (TypeError, KeyError, AttributeError, ValueError):  # an answer, but not the hub's
        return _resolve_by_file(repo, revision)
    except Exception as error:
        if type(error) is HfHubHTTPError and error.response.status_code in NO_SUCH_CALL:
            return _resolve_by_file(repo, revision)
        raise explained(error, repo, revision) from error
    if not info.sha:
        return _resolve_by_file(repo, revision)
    files = frozenset(file.rfilename for file in info.siblings) if info.siblings else None
    return Resolved(info.sha, bool(info.gated), files)


def _resolve_by_file(repo: str, revision: str) -> Resolved:
    """Mirrors that serve files alone tell the commit in a header."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repo, CONFIG, revision=revision, endpoint=endpoint())
    try:
        metadata = get_hf_file_metadata(url, timeout=RESOLVE_SECONDS, endpoint=endpoint())
    except Exception as error:
        raise explained(error, repo, revision) from error
    if not metadata.commit_hash:
        raise HubUnreachableError(f"{endpoint()} names no commit for {repo} at {revision}")
    return Resolved(metadata.commit_hash)


def download_checkpoint(repo: str, resolved: Resolved, progress: Progress | None = None) -> Checkpoint:
    """What the files of one commit say. Raises ModelError for malformed files; late headers leave a warning."""
    deadline = time.monotonic() + CONFIG_SECONDS
    config = _download_json(repo, resolved, CONFIG, deadline)
    if config is None:
        raise AbsentError(
            f"model.repo: {repo}: no config.json at {resolved.commit[:12]}, so it is no model that vLLM loads by name. "
            "Type the repository of its safetensors (GGUF and LoRA repositories name it as their base model); "
            "Mistral's params.json alone is not read."
        )
    quant = _download_json(repo, resolved, HF_QUANT_CONFIG, deadline)
    tensors, warnings = _download_tensors(repo, resolved, progress)
    return Checkpoint(
        repo=repo,
        source="hub",
        config=config,
        revision=resolved.commit,
        hf_quant_config=quant,
        checkpoint_bytes=None if tensors is None else total_bytes(tensors),
        gated=resolved.gated,
        warnings=warnings,
        tensors=tensor_runs(tensors or ()),
    )


def _download_json(
    repo: str, resolved: Resolved, name: str, deadline: float, most_bytes: int = MOST_CONFIG_BYTES
) -> dict[str, object] | None:
    """A small file's mapping; None where the commit has no such file."""
    if resolved.files is not None and name not in resolved.files:
        return None
    where = f"{repo}@{resolved.commit[:12]}/{name}"
    try:
        body = fetch(repo, resolved.commit, name, most_bytes, deadline=deadline)
    except AbsentError:
        if resolved.files is not None and name == CONFIG:
            raise
        return None
    if body.file_bytes is not None and body.file_bytes > most_bytes:
        raise ModelError(f"{where}: larger than {most_bytes // 2**20} MiB, so not a model's file.")
    if body.file_bytes is not None and len(body.data) < body.file_bytes:
        raise HubUnreachableError(f"{endpoint()} broke off after {len(body.data):,} bytes of {name} of {repo}")
    return parse_json(body.data, where)


def _download_tensors(
    repo: str, resolved: Resolved, progress: Progress | None
) -> tuple[list[TensorInfo] | None, tuple[str, ...]]:
    """All tensors; None where there are no files, and None and a warning where the hub is too slow for headers."""
    deadline = time.monotonic() + HEADER_SECONDS
    try:
        names = _weight_files(repo, resolved, deadline)
        if progress and len(names) > 1:
            progress(f"Reading the headers of {len(names)} safetensors files of {repo} ...")
        headers = _download_headers(repo, resolved.commit, names, deadline)
    except HubUnreachableError as error:
        warning = f"model.repo: the sizes of {repo}'s weights are unknown: {error}; the plan stands on its config.json"
        return None, (warning,)
    return ([tensor for header in headers for tensor in header] if names else None), ()


def _download_headers(repo: str, commit: str, names: tuple[str, ...], deadline: float) -> list[tuple[TensorInfo, ...]]:
    """The headers of all files, some at a time; the first failure ends it."""
    pool = ThreadPoolExecutor(HEADER_CONNECTIONS)
    try:
        return list(pool.map(lambda name: download_header(repo, commit, name, deadline), names))
    finally:
        pool.shutdown(cancel_futures=True)


def _weight_files(repo: str, resolved: Resolved, deadline: float) -> tuple[str, ...]:
    index = _download_json(repo, resolved, INDEX, deadline, MOST_INDEX_BYTES)
    if index is not None:
        names = shard_names(index, where := f"{repo}@{resolved.commit[:12]}/{INDEX}")
        if absent := [name for name in names if resolved.files is not None and name not in resolved.files]:
            raise ModelError(
                f"{where} names {absent[0]}, which is not there. "
                "Type a commit whose upload is complete as model.revision."
            )
        return names
    if resolved.files is None:
        return (SINGLE,)
    if SINGLE in resolved.files:
        return (SINGLE,)
    return tuple(sorted(name for name in resolved.files if name.endswith(".safetensors") and "/" not in name))


def download_header(repo: str, commit: str, name: str, deadline: float) -> tuple[TensorInfo, ...]:
    """The tensors of one safetensors file: its first bytes, and one more range where the header is longer."""
    where = f"{repo}@{commit[:12]}/{name}"
    body = fetch(repo, commit, name, FIRST_BYTES, deadline=deadline)
    length = header_length(body.data, body.file_bytes, where)
    text = body.data[LENGTH_BYTES : LENGTH_BYTES + length]
    if len(text) < length:
        rest = fetch(repo, commit, name, length - len(text), begin=LENGTH_BYTES + len(text), deadline=deadline)
        text += rest.data
    if len(text) < length:
        raise HubUnreachableError(
            f"{endpoint()} broke off after {len(text):,} of {length:,} bytes of a header in {name}"
        )
    return parse_header(text, body.file_bytes, where)
