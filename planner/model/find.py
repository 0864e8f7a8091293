"""find_checkpoint: a spec's model from its folder, the hub, the cache or the catalogue, whichever may answer."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.errors import ModelError
from planner.model.hub_cache import load_cached, load_commit, save_cached, save_commit, with_gated

if TYPE_CHECKING:
    from collections.abc import Callable

    from planner.catalog import Catalog
    from planner.model.identity import Checkpoint
    from planner.spec.schema import ModelSpec

COMMIT = re.compile(r"[0-9a-f]{40}")
TRUE = {"1", "ON", "YES", "TRUE"}  # huggingface_hub's constants.ENV_VARS_TRUE_VALUES


def find_checkpoint(
    model: ModelSpec,
    catalog: Catalog,
    *,
    offline: bool,
    base_dir: Path,
    progress: Callable[[str], None] | None = None,
) -> Checkpoint:
    """The model's facts: ``model.path``, else the user's own row, else the hub or, offline, what is kept here.

    Raises ModelError (exit 6) with what to do.
    """
    if model.path is not None:
        from planner.model.folder import read_folder

        commit = model.revision if COMMIT.fullmatch(model.revision) else None
        return read_folder(base_dir / Path(model.path).expanduser(), model.repo, commit)
    if own := catalog.own_models.get(model.repo):
        return _at_revision(own, model.revision)
    if offline or hub_is_off():
        return _find_offline(model, catalog)
    return _find_online(model, catalog, progress)


def hub_is_off() -> bool:
    """Whether the environment forbids the hub, by huggingface_hub's own variables."""
    return (os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or "").upper() in TRUE


def _find_online(model: ModelSpec, catalog: Catalog, progress: Callable[[str], None] | None) -> Checkpoint:
    if COMMIT.fullmatch(model.revision) and (cached := load_cached(model.repo, model.revision)):
        return cached
    from planner.model.hub import download_checkpoint, resolve
    from planner.model.hub_http import AbsentError, GatedError, HubUnreachableError

    commit = None
    try:
        resolved = resolve(model.repo, model.revision)
        commit = resolved.commit
        if commit != model.revision:
            save_commit(model.repo, model.revision, commit)
        if cached := load_cached(model.repo, commit):
            return with_gated(cached, resolved.gated)
        checkpoint = download_checkpoint(model.repo, resolved, progress)
    except AbsentError as error:
        raise ModelError(f"{error}{_near(model.repo, catalog)}") from error
    except GatedError as error:
        return _despite_gate(model, catalog, commit, error)
    except HubUnreachableError as error:
        return _despite_silence(model, catalog, commit, error)
    if not checkpoint.warnings:
        save_cached(checkpoint)
    return checkpoint


def _despite_gate(model: ModelSpec, catalog: Catalog, commit: str | None, error: ModelError) -> Checkpoint:
    """The catalogue's facts of a gated model, pinned to the commit if the hub told it."""
    found = catalog.find_model(model.repo)
    if found is None:
        raise error
    warning = f"{error} Planned from the catalogue's facts."
    return replace(found, revision=commit or found.revision, gated=True, warnings=(*found.warnings, warning))


def _despite_silence(model: ModelSpec, catalog: Catalog, commit: str | None, error: ModelError) -> Checkpoint:
    """What is kept here, with a warning that the hub was not heard."""
    try:
        found = _find_offline(model, catalog)
    except ModelError:
        raise ModelError(
            f"model.repo: {model.repo}: {error}, and neither the catalogue nor a cache has it. "
            f"Try again, or set model.path to a folder with its config.json.{_near(model.repo, catalog)}"
        ) from error
    place = "the catalogue" if found.source == "catalogue" else "an earlier answer"
    warning = f"model.repo: {error}; planned from {place}"
    return replace(found, revision=commit or found.revision, warnings=(*found.warnings, warning))


def _find_offline(model: ModelSpec, catalog: Catalog) -> Checkpoint:
    """An earlier answer of the hub, the catalogue, or huggingface_hub's cache, the most exact first."""
    pinned = model.revision if COMMIT.fullmatch(model.revision) else load_commit(model.repo, model.revision)
    if pinned and (cached := load_cached(model.repo, pinned)):
        return cached
    shipped = catalog.find_model(model.repo)
    if shipped and shipped.revision is not None and shipped.revision == model.revision:
        return shipped
    if (snapshot := _snapshot(model)) and (shipped is None or COMMIT.fullmatch(model.revision)):
        from planner.model.folder import read_folder

        return read_folder(snapshot, model.repo, snapshot.name, "hub", whole=False)
    if shipped:
        return _at_revision(shipped, model.revision)
    raise ModelError(
        f"model.repo: {model.repo}: not in the catalogue and never fetched here, and offline nothing can be asked."
        f"{_near(model.repo, catalog)} Plan once without --offline (and HF_HUB_OFFLINE), "
        "or set model.path to a folder with its config.json."
    )


def _at_revision(row: Checkpoint, revision: str) -> Checkpoint:
    """A catalogue row for the revision asked for. Only ``main`` is what a row without a commit describes."""
    if revision in {"main", row.revision}:
        return row
    of = f"commit {row.revision[:12]}" if row.revision else "main"
    warning = f"model.revision: the catalogue's facts of {row.repo} are those of {of}, not checked against {revision}"
    commit = revision if COMMIT.fullmatch(revision) else None
    return replace(row, revision=commit, warnings=(*row.warnings, warning))


def _snapshot(model: ModelSpec) -> Path | None:
    """The folder of this revision in huggingface_hub's cache, by its documented layout (importing it takes 0.1 s)."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    folder = hub / f"models--{model.repo.replace('/', '--')}"
    try:
        commit = (folder / "refs" / model.revision).read_text().strip()
    except (OSError, ValueError):
        commit = model.revision
    snapshot = folder / "snapshots" / commit
    return snapshot if COMMIT.fullmatch(commit) and (snapshot / "config.json").is_file() else None


def _near(repo: str, catalog: Catalog) -> str:
    from planner.spec.problems import did_you_mean

    near = did_you_mean(repo, catalog.model_names())
    return f" Did you mean {near}?" if near and near != repo else ""
