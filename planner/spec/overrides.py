"""Overrides: `--set key=value`, laid over the nodes of a spec before it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.spec.node import Node, Place
from planner.spec.problems import Problems, quoted
from planner.spec.source import compose

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACE = Place("--set")
FLAGS = ("engine", "extra_args")  # what stands behind is one flag, dots and all


def with_overrides(root: Node, overrides: Sequence[str], problems: Problems) -> Node:
    """The tree with every ``key=value`` in its place; the last of several for one key wins."""
    for override in overrides:
        key, equals, value = override.partition("=")
        path = _path(key.strip())
        if not equals or not all(path):
            problems.add(PLACE, quoted(key)[1:-1] or "key", "no value; type key=value, as in gpu.counts=[2]")
        elif node := _value(value, ".".join(path), problems):
            root = _replaced(root, path, node)
    return root


def _path(key: str) -> tuple[str, ...]:
    parts = tuple(key.split("."))
    return (*FLAGS, ".".join(parts[2:])) if parts[:2] == FLAGS and len(parts) > 2 else parts


def _value(text: str, key: str, problems: Problems) -> Node | None:
    """The value as YAML: a scalar, [a list] or {a: mapping}; nothing at all leaves the key out."""
    found = Problems()
    node = compose(text, "--set", found)
    for message in found.messages():
        problems.add(PLACE, key, message)
    return _placed(node) if node else None


def _placed(node: Node) -> Node:
    """The node as if all of it had been written at the option."""
    if isinstance(node.value, list):
        return replace(node, place=PLACE, value=[_placed(item) for item in node.value])
    if isinstance(node.value, dict):
        return replace(
            node, place=PLACE, value={key: (PLACE, _placed(child)) for key, (_, child) in node.value.items()}
        )
    return replace(node, place=PLACE)


def _replaced(node: Node, path: tuple[str, ...], value: Node) -> Node:
    """The mapping with ``value`` at ``path``; what stood there, or is no mapping on the way, gives way."""
    entries = dict(node.value) if isinstance(node.value, dict) else {}
    first, *rest = path
    below = entries[first][1] if first in entries else Node({}, PLACE)
    place = entries[first][0] if rest and first in entries else PLACE
    entries[first] = (place, _replaced(below, tuple(rest), value) if rest else value)
    return Node(entries, node.place if isinstance(node.value, dict) else PLACE)
