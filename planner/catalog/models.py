"""Models: one small JSON file each, named org--name.json, read when the model is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.json import decode

from planner.model.identity import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent / "models"


def load_model(repo: str) -> Checkpoint | None:
    """The shipped facts of org/name, spelled as on the hub. None where there are none."""
    path = FOLDER / f"{repo.replace('/', '--')}.json"
    try:
        row = decode(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, OSError):
        return None
    return checkpoint_from(row)


def shipped_names() -> tuple[str, ...]:
    """Every repository that is shipped."""
    return tuple(path.stem.replace("--", "/", 1) for path in FOLDER.glob("*--*.json"))


def checkpoint_from(row: Mapping[str, Any]) -> Checkpoint:
    """A row as the value that the rest of the planner reads."""
    return Checkpoint(
        repo=row["repo"],
        source="catalogue",
        config=row["config"],
        revision=row.get("revision"),
        hf_quant_config=row.get("hf_quant_config"),
        checkpoint_bytes=row.get("checkpoint_bytes"),
        gated=row.get("gated", False),
    )
