"""Hub cache: what the hub said of a commit never changes, so it is kept as one file per commit and asked for once."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.catalog.folders import cache_folder
from planner.model.identity import Checkpoint
from planner.model.tensor_runs import TensorRun

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 2  # of the files below; another number is read as nothing
FIELDS = ("config", "hf_quant_config", "checkpoint_bytes", "gated")


def load_cached(repo: str, commit: str) -> Checkpoint | None:
    """What the hub said of this commit, if it was asked before."""
    row = _read(_folder(repo) / f"{commit}.json")
    if not row or row.get("repo") != repo or not isinstance(row.get("config"), dict):
        return None
    try:
        return Checkpoint(
            repo=repo,
            source="hub",
            revision=commit,
            **{field: row[field] for field in FIELDS},
            tensors=tuple(_run(*one) for one in row["tensors"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def save_cached(checkpoint: Checkpoint) -> None:
    """Keep what was read of a commit; a cache that cannot be written is no failure."""
    row = {field: getattr(checkpoint, field) for field in FIELDS}
    tensors = [(one.pattern, one.dtype, one.shape, one.layers, one.per_layer) for one in checkpoint.tensors]
    row |= {"format": FORMAT, "repo": checkpoint.repo, "tensors": tensors}
    _write(_folder(checkpoint.repo) / f"{checkpoint.revision}.json", row)


def _run(pattern: str, dtype: str, shape: list[int], layers: list[int | None], per_layer: int) -> TensorRun:
    return TensorRun(pattern, dtype, tuple(shape), tuple(layers), per_layer)


def load_commit(repo: str, revision: str) -> str | None:
    """The commit that a branch or tag stood for when the hub was last asked."""
    commit = (_read(_folder(repo) / "revisions.json") or {}).get(revision)
    return commit if isinstance(commit, str) else None


def save_commit(repo: str, revision: str, commit: str) -> None:
    """Remember what a branch or tag stands for, for use without network."""
    path = _folder(repo) / "revisions.json"
    known = _read(path) or {}
    if known.get(revision) != commit:
        _write(path, {**known, "format": FORMAT, revision: commit})


def with_gated(checkpoint: Checkpoint, gated: bool) -> Checkpoint:
    """The same facts under the hub's newest word on gating, which is no property of the commit."""
    return checkpoint if checkpoint.gated == gated else replace(checkpoint, gated=gated)


def _folder(repo: str) -> Path:
    return cache_folder() / "hub" / repo.replace("/", "--")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = path.read_bytes()
        import json  # a plan that finds nothing here starts without it

        row = json.loads(content)
    except (OSError, ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and row.get("format") == FORMAT else None


def _write(path: Path, row: dict[str, Any]) -> None:
    """Whole or not at all: other processes may be reading."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        import json
        import tempfile  # costs more than the rest of an offline plan's reading

        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(row, file, separators=(",", ":"))
        os.replace(temporary, path)
