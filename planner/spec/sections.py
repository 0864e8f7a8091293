"""Sections: a mapping read into one frozen dataclass, key by key, with every problem of every key."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any

from planner.spec.kinds import Kind
from planner.spec.problems import did_you_mean, quoted, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.spec.node import Node, Place
    from planner.spec.problems import Problems


def section(cls: Any) -> Kind:
    """A mapping whose keys are the fields of ``cls``."""

    def read(node: Node, key: str, problems: Problems) -> Any:
        return read_section(cls, node, key, problems)

    return Kind(read, {"type": "object"}, "section", cls)


def read_section(cls: Any, node: Node, key: str, problems: Problems) -> Any:
    """An instance of ``cls``; a field whose value has a problem is None. None if the node is no mapping."""
    if not isinstance(node.value, dict):
        problems.add(node.place, key or "file", f"{shown(node)} is not a mapping; type {_example(cls)}")
        return None
    known = {entry.name: entry for entry in fields(cls)}
    for name, (place, _) in node.value.items():
        if name not in known:
            problems.add(place, join(key, quoted(name)[1:-1] or "(empty)"), unknown_key(cls, key, name))
    values = {}
    for name, entry in known.items():
        place, child = node.value.get(name, (node.place, None))
        values[name] = _read_field(entry, join(key, name), place, child, problems)
    return cls(**values)


def _read_field(entry: Field[Any], path: str, place: Place, child: Node | None, problems: Problems) -> Any:
    if child is not None and not child.is_null:
        return entry.metadata["kind"].read(child, path, problems)
    if is_required(entry):
        problems.add(place, path, f"{'missing' if child is None else 'no value'}; type {entry.name}: {_sample(entry)}")
        return None
    return default_of(entry)


def is_required(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def default_of(entry: Field[Any]) -> Any:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def every_key(cls: Any, key: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """Every key with its full path, sections before what they hold."""
    for entry in fields(cls):
        path = join(key, entry.name)
        yield path, entry
        if entry.metadata["kind"].section:
            yield from every_key(entry.metadata["kind"].section, path)


def unknown_key(cls: Any, key: str, name: str) -> str:
    """What to type instead: a near key of this section, the key's real section, or what the section takes."""
    from planner.spec.schema import Spec

    siblings = [entry.name for entry in fields(cls)]
    if near := did_you_mean(name, siblings):
        return f"unknown key, did you mean {near}?"
    elsewhere = {path.rpartition(".")[2]: path for path, _ in reversed(list(every_key(Spec)))}
    if near := did_you_mean(name, elsewhere):
        return f"unknown key, did you mean {elsewhere[near]}?"
    return f"unknown key; {key or 'a spec'} takes {', '.join(siblings)}"


def _sample(entry: Field[Any]) -> str:
    kind = entry.metadata["kind"]
    return "{repo: org/name}" if kind.section else str(kind.json_schema["examples"][0])


def _example(cls: Any) -> str:
    first = fields(cls)[0]
    return f"keys such as {first.name}: below it, indented"
