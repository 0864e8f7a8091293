"""Node: what stands at one place of a spec, before its meaning is known."""

from __future__ import annotations

from msgspec import Struct


class Place(Struct, frozen=True):
    """Where something was written: ``label:line:column``, counted from 1, or ``label`` alone for an option."""

    label: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.label}:{self.line}:{self.column}" if self.line else self.label


class Node(Struct, frozen=True):
    """A scalar's text, a list of nodes, or a mapping of key to (where the key stands, node)."""

    value: str | list[Node] | dict[str, tuple[Place, Node]]
    place: Place
    plain: bool = False  # a scalar without quotes
    size: int = 1  # nodes in it, aliases counted as often as they are used

    @property
    def is_null(self) -> bool:
        return self.plain and self.value in {"", "~", "null", "Null", "NULL"}
