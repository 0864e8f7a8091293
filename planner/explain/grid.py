"""A plain table in monospace: columns as wide as their widest cell, numbers to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[str, ...]


def grid(header: Row, rows: Sequence[Row], left: frozenset[int] = frozenset({0}), indent: str = "  ") -> list[str]:
    """Lines of an aligned table; ``left`` names the columns that hold words."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(row: Row) -> str:
        cells = (
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return (indent + "  ".join(cells)).rstrip()

    return [line(header), *(line(row) for row in rows)]
