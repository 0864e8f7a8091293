"""A local folder as a Checkpoint: config.json, what stands beside it, and the headers of its safetensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.errors import ModelError
from planner.model.headers import LENGTH_BYTES, TensorInfo, header_length, parse_header, total_bytes
from planner.model.identity import Checkpoint, Source
from planner.model.json_files import (
    CONFIG,
    HF_QUANT_CONFIG,
    INDEX,
    MOST_CONFIG_BYTES,
    MOST_INDEX_BYTES,
    SINGLE,
    index_total_bytes,
    parse_json,
    shard_names,
)
from planner.model.tensor_runs import tensor_runs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from planner.model.tensor_runs import TensorRun


MISTRALS_OWN = "params.json"  # Mistral's format, which vLLM reads too (config_format mistral)


def read_folder(
    folder: Path, repo: str, revision: str | None = None, source: Source = "path", *, whole: bool = True
) -> Checkpoint:
    """What a folder says of a model. Weights may be absent; with ``whole`` a part of them may not.

    Raises ModelError (exit 6) for a folder without config.json and for malformed files.
    """
    if not folder.is_dir():
        what = "a file; name its folder" if folder.exists() else "no such folder"
        raise ModelError(f"model.path: {folder}: {what}. Type the folder that holds config.json, relative to the spec.")
    config = _read_json(folder / CONFIG)
    if config is None:
        found = f"{MISTRALS_OWN} alone, which the planner does not read" if (folder / MISTRALS_OWN).exists() else ""
        raise ModelError(
            f"model.path: {folder}: no config.json in it{found and f', but {found}'}. Type the folder that holds it, "
            f"or fetch it: hf download {repo} config.json --local-dir {folder}"
        )
    checkpoint_bytes, tensors, warnings = _weights(folder, whole)
    return Checkpoint(
        repo=repo,
        source=source,
        config=config,
        revision=revision,
        hf_quant_config=_read_json(folder / HF_QUANT_CONFIG),
        checkpoint_bytes=checkpoint_bytes,
        warnings=warnings,
        tensors=tensors,
    )


def read_header(path: Path) -> tuple[tuple[TensorInfo, ...], bool]:
    """The tensors of one safetensors file, and whether their data follow; nothing past the header is read.

    A file may end with its header, kept to plan from; one that breaks off later is refused.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            start = file.read(LENGTH_BYTES)
            if start.startswith(b"version "):
                raise ModelError(f"{path}: a git-lfs pointer, not the file. Run `git lfs pull` in its folder.")
            length = header_length(start, size, str(path))
            bare = size == LENGTH_BYTES + length
            return parse_header(file.read(length), None if bare else size, str(path)), not bare
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}). Type a folder that you may read.") from error


def _weights(folder: Path, whole: bool) -> tuple[int | None, tuple[TensorRun, ...], tuple[str, ...]]:
    """Their bytes, the tensors, warnings: from the files' headers, else what the index claims, else nothing."""
    index = _read_json(folder / INDEX, MOST_INDEX_BYTES)
    if index is None:
        names = [SINGLE] if (folder / SINGLE).is_file() else sorted(path.name for path in folder.glob("*.safetensors"))
    else:
        names = list(shard_names(index, str(folder / INDEX)))
    missing = [name for name in names if not (folder / name).is_file()]
    if whole and missing and len(missing) < len(names):
        raise ModelError(
            f"{folder}: {len(missing)} of the {len(names)} files that {INDEX} names are missing, "
            f"such as {missing[0]}. Finish the download, or leave only config.json and the index."
        )
    if missing or not names:
        return (index_total_bytes(index) if index else None), (), ()
    headers = [read_header(folder / name) for name in names]
    tensors = tuple(tensor for header, _ in headers for tensor in header)
    _check_unique(tensors, folder)
    return total_bytes(tensors), tensor_runs(tensors), _bare_warning(folder, [has_data for _, has_data in headers])


def _bare_warning(folder: Path, has_data: Sequence[bool]) -> tuple[str, ...]:
    bare = has_data.count(False)
    if not bare:
        return ()
    return (
        f"model.path: {bare} of {len(has_data)} safetensors files in {folder} end with their headers: "
        "they can be planned from but not served. Fetch the weights before deploying.",
    )


def _check_unique(tensors: tuple[TensorInfo, ...], folder: Path) -> None:
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise ModelError(
                f"{folder}: two safetensors files hold {tensor.name}. Keep the files of one checkpoint only."
            )
        seen.add(tensor.name)


def _read_json(path: Path, most_bytes: int = MOST_CONFIG_BYTES) -> dict[str, Any] | None:
    """A JSON file's mapping, None where there is none."""
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise ModelError(f"{path}: not a file. Type a folder whose {path.name} is one.")
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}). Type a folder that you may read.") from error
    if len(data) > most_bytes:
        raise ModelError(f"{path}: larger than {most_bytes // 2**20} MiB, so not a model's file.")
    return parse_json(data, str(path))
