"""A plain table in monospace: columns as wide as their widest cell, numbers to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[str, ...]


def grid(header: Row, rows: Sequence[Row], left: frozenset[int] = frozenset({0}), indent: str = "  ") -> list[str]:
    """Lines of an aligned table; ``left`` names the columns that hold words."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    line = indent + "  ".join(f"{{:{'<' if column in left else '>'}{width}}}" for column, width in enumerate(widths))
    return [line.format(*row).rstrip() for row in (header, *rows)]
