"""Sections: a mapping read into one frozen struct, key by key, with every problem of every key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import NODEFAULT, Struct

from planner.spec.kinds import Kind
from planner.spec.problems import Problems, did_you_mean, quoted, shown
from planner.spec.source import START

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from planner.spec.node import Node, Place

    Keys = tuple["Key", ...]


class Key(Struct, frozen=True):
    """One key of a section: how its value is read, what it means, and its value where it is left out."""

    name: str
    kind: Kind
    doc: str
    default: Any

    @property
    def is_required(self) -> bool:
        return self.default is NODEFAULT


def keys(cls: type[Struct], described: Mapping[str, tuple[Kind, str]]) -> Keys:
    """The keys of the section that ``cls`` holds, each with the default that its field has."""
    optional = dict(zip(reversed(cls.__struct_fields__), reversed(cls.__struct_defaults__), strict=False))
    return tuple(Key(name, *described[name], _plain(optional.get(name, NODEFAULT))) for name in cls.__struct_fields__)


def _plain(default: Any) -> Any:
    """msgspec keeps an empty mapping as the function that makes one."""
    return default.factory() if hasattr(default, "factory") else default


def section(cls: Any, keys: Keys) -> Kind:
    """A mapping with ``keys``, which an instance of ``cls`` holds."""

    def read(node: Node, key: str, problems: Problems) -> Any:
        return read_section(cls, keys, node, key, problems)

    return Kind(read, {"type": "object"}, "section", keys)


def read_section(cls: Any, keys: Keys, node: Node, key: str, problems: Problems) -> Any:
    """An instance of ``cls``; a field whose value has a problem is None. None if the node is no mapping."""
    if not isinstance(node.value, dict):
        problems.add(node.place, key or "file", f"{shown(node)} is not a mapping; type {_mapping(keys, node, key)}")
        return None
    known = {entry.name: entry for entry in keys}
    for name, (place, _) in node.value.items():
        if name not in known:
            problems.add(place, join(key, quoted(name)[1:-1] or "(empty)"), unknown_key(keys, key, name))
    values = {}
    for name, entry in known.items():
        place, child = node.value.get(name, (node.place, None))
        values[name] = _read_key(entry, join(key, name), place, child, problems)
    return cls(**values)


def _read_key(entry: Key, path: str, place: Place, child: Node | None, problems: Problems) -> Any:
    if child is not None and not child.is_null:
        return entry.kind.read(child, path, problems)
    if entry.is_required:
        problems.add(place, path, f"{'missing' if child is None else 'no value'}; type {entry.name}: {_sample(entry)}")
        return None
    return entry.default


def join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def every_key(keys: Keys, key: str = "") -> Iterator[tuple[str, Key]]:
    """Every key with its full path, sections before what they hold."""
    for entry in keys:
        path = join(key, entry.name)
        yield path, entry
        yield from every_key(entry.kind.section, path)


def unknown_key(keys: Keys, key: str, name: str) -> str:
    """What to type instead: a near key of this section, the key's real section, or what the section takes."""
    from planner.spec.keys import SPEC

    siblings = [entry.name for entry in keys]
    if near := did_you_mean(name, siblings):
        return f"unknown key, did you mean {near}?"
    elsewhere = {path.rpartition(".")[2]: path for path, _ in reversed(list(every_key(SPEC)))}
    if near := did_you_mean(name, elsewhere):
        return f"unknown key, did you mean {elsewhere[near]}?"
    return f"unknown key; {key or 'a spec'} takes {', '.join(siblings)}"


def _sample(entry: Key) -> str:
    return "{repo: org/name}" if entry.kind.section else str(entry.kind.json_schema["examples"][0])


def _mapping(keys: Keys, node: Node, key: str) -> str:
    """What to type in place of a value that is no mapping: what was meant if it is the first key's value."""
    if not key:
        return START
    first, problems = keys[0], Problems()
    if first.is_required and isinstance(node.value, str):
        read = first.kind.read(node, join(key, first.name), problems)
        if read is not None and not problems:
            return f"{key}: {{{first.name}: {node.value}}}"
    return f"keys such as {first.name}: below it, indented"
