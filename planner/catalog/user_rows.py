"""User rows: a person's own GPUs, prices and models from YAML (or JSON), in the schema of the shipped rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.catalog.row_kinds import KINDS, REQUIRED
from planner.spec.problems import Problems, did_you_mean, quoted, shown
from planner.spec.source import compose, read_source

if TYPE_CHECKING:
    from pathlib import Path

    from planner.spec.node import Node

    Row = dict[str, Any]
    Rows = dict[str, dict[str, Row]]

NAME_FIELDS = {"gpus": "name", "offers": "gpu", "rates": "name", "models": "repo"}


def add_user_rows(rows: Rows, path: Path, target: str) -> None:
    """Put the file's rows into ``rows``; a row of a known name keeps what it does not say.

    Raises SpecError with every problem as ``file:line:column: key: what is wrong; what to type``.
    """
    problems = Problems()
    root = compose(read_source(str(path)), str(path), problems)
    if root is not None and not root.is_null:
        _add_parts(rows, root, target, problems)
    if problems:
        raise problems.error()


def _add_parts(rows: Rows, root: Node, target: str, problems: Problems) -> None:
    if not isinstance(root.value, dict):
        problems.add(root.place, "file", f"{shown(root)} is not a mapping; type gpus:, offers:, rates: or models:")
        return
    for part, (place, _) in root.value.items():
        if part not in KINDS:
            problems.add(place, quoted(part)[1:-1], _unknown(part, KINDS))
    for part in KINDS:  # GPUs before the offers that name them
        if part in root.value:
            _add_part(rows, part, root.value[part][1], target, problems)


def _add_part(rows: Rows, part: str, node: Node, target: str, problems: Problems) -> None:
    if not isinstance(node.value, list):
        if not node.is_null:
            problems.add(node.place, part, f"{shown(node)} is not a list; type one row after each -")
        return
    seen: set[str] = set()
    for index, child in enumerate(node.value):
        key = f"{part}[{index}]"
        row = _read_row(rows, part, child, key, problems)
        if row is None:
            continue
        name = row[NAME_FIELDS[part]]
        if name in seen:
            problems.add(child.place, key, f"{name} has two rows; keep one")
        seen.add(name)
        if row.pop("target", "modal") == target or part not in {"offers", "rates"}:
            rows[part][name] = row
        if part == "offers":
            _check_offer(rows, row, child, key, problems)


def _read_row(rows: Rows, part: str, node: Node, key: str, problems: Problems) -> Row | None:
    """The row over the one of the same name, if any; None after a problem."""
    if not isinstance(node.value, dict):
        problems.add(node.place, key, f"{shown(node)} is not a mapping; type its keys, indented alike")
        return None
    kinds = KINDS[part]
    given: Row = {}
    for field, (place, child) in node.value.items():
        if field in kinds:
            given[field] = kinds[field].read(child, f"{key}.{field}", problems)
        else:
            problems.add(place, f"{key}.{quoted(field)[1:-1]}", _unknown(field, kinds))
    known = rows[part].get(str(given.get(NAME_FIELDS[part])), {})
    missing = [field for field in REQUIRED[part] if field not in given and field not in known]
    if missing:
        problems.add(node.place, key, f"missing: {', '.join(missing)}")
    return None if problems.touch(key) else {**known, **given}


def _check_offer(rows: Rows, row: Row, node: Node, key: str, problems: Problems) -> None:
    row.setdefault("planned_as", row["gpu"])
    gpu = rows["gpus"].get(row["planned_as"])
    if gpu is None:
        near = did_you_mean(row["planned_as"], rows["gpus"])
        advice = f"did you mean {near}?" if near else "add a row under gpus: for it"
        problems.add(node.place, key, f"{row['planned_as']} is not a GPU of the catalogue; {advice}")
    elif gpu.get("vendor") == "amd":
        problems.add(node.place, key, f"{row['planned_as']} is an AMD GPU; the rules here are those of NVIDIA GPUs")


def _unknown(word: str, names: Any) -> str:
    near = did_you_mean(word, names)
    return f"unknown key, did you mean {near}?" if near else f"unknown key; the keys are {', '.join(names)}"
