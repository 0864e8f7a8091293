"""JSON files beside a checkpoint: config.json, hf_quant_config.json and the shard index."""

from __future__ import annotations

import json
from math import inf
from typing import TYPE_CHECKING, Any

from planner.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = "config.json"
HF_QUANT_CONFIG = "hf_quant_config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

MOST_CONFIG_BYTES = 16 * 2**20  # the largest seen, with a row per quantized layer, has 3 MiB
MOST_INDEX_BYTES = 128 * 2**20  # an entry per tensor; DeepSeek-V3's has 9 MiB


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """A file's mapping. Raises ModelError that says where the file breaks off."""
    try:
        value = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ModelError(f"{where}: not UTF-8 at byte {error.start}. Download the file again.") from error
    except json.JSONDecodeError as error:
        if data.startswith(b"version https://git-lfs"):
            raise ModelError(f"{where}: a git-lfs pointer, not the file. Run `git lfs pull` in its folder.") from error
        raise ModelError(
            f"{where}:{error.lineno}:{error.colno}: not JSON: {error.msg}. Download the file again."
        ) from error
    except RecursionError as error:
        raise ModelError(f"{where}: nested too deeply to be a model's file. Download the file again.") from error
    except ValueError as error:
        raise ModelError(f"{where}: a number in it has thousands of digits. Download the file again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{where}: {_named(value)}, not a mapping. Download the file again.")
    if holds_half_a_character(data, value):
        raise ModelError(f"{where}: holds half a character (\\ud800 to \\udfff). Download the file again.")
    return value


def _named(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"only {json.dumps(value)[:40]}"


def holds_half_a_character(data: bytes, value: Any) -> bool:
    """Whether JSON spells a surrogate alone, which no text may hold and nothing could print."""
    if b"\\u" not in data:
        return False
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def shard_names(index: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The files that an index names, each once. Raises ModelError for names that lead out of the folder."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{where}: no weight_map, so no file is named for any tensor. Download the file again.")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if "/" in name or "\\" in name or name.startswith(".") or not name.endswith(".safetensors"):
            raise ModelError(f"{where}: weight_map names {name[:80]!r}, which is no safetensors file beside it.")
    return tuple(names)


def index_total_bytes(index: Mapping[str, Any]) -> int | None:
    """metadata.total_size as published; DeepSeek-V3's is twice its tensors, so headers come before it."""
    metadata = index.get("metadata")
    size = metadata.get("total_size") if isinstance(metadata, dict) else None
    return int(size) if isinstance(size, int | float) and 0 < size < inf else None
