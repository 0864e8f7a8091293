"""Quantities: kinds of values that are numbers. Decimal only, finite, and in range."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from planner.spec.kinds import Kind
from planner.spec.problems import shown

if TYPE_CHECKING:
    from planner.spec.node import Node
    from planner.spec.problems import Problems

INTEGER = r"[+-]?(0|[1-9][0-9]*)"
DECIMAL = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
THOUSANDS = r"([0-9]{1,6}) ?([kKmM])i?"
GROUPED = r"[0-9]{1,3}([_,' ][0-9]{3})+"
PERCENT = r"[0-9]{1,3}(\.[0-9]{1,3})? ?%"
MOST_DIGITS = 15


def whole(low: int, high: int, example: int, *words: str) -> Kind:
    """A whole number from low to high, or one of the words."""

    def read(node: Node, key: str, problems: Problems) -> int | str | None:
        written = node.value
        if written in words:
            return str(written)
        if not (node.plain and isinstance(written, str) and re.fullmatch(INTEGER, written)):
            or_word = f" (or {words[0]})" if words else ""
            advice = _whole_advice(node) or _number_advice(node, f"{example}{or_word}")
            problems.add(node.place, key, f"{shown(node)} is not a whole number; {advice}")
            return None
        if len(written) <= MOST_DIGITS and low <= int(written) <= high:
            return int(written)
        problems.add(node.place, key, f"{_short(written)} is out of range; type {low} to {high}")
        return None

    number_schema: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high}
    schema = {"anyOf": [number_schema, {"enum": list(words)}]} if words else number_schema
    return Kind(read, schema, " or ".join([f"{low} to {high}", *(f"`{word}`" for word in words)]))


def number(low: float, high: float, example: float, *, above_low: bool = False) -> Kind:
    """A number from low (or above it) to high."""

    def read(node: Node, key: str, problems: Problems) -> float | None:
        written = _decimal(node, key, problems, example)
        if written is None:
            return None
        value = float(written)
        if (low < value or (low == value and not above_low)) and value <= high:
            return int(written) if re.fullmatch(INTEGER, written) else value
        problems.add(node.place, key, f"{_short(written)} is out of range; type {_range(low, high, above_low)}")
        return None

    least = "exclusiveMinimum" if above_low else "minimum"
    return Kind(read, {"type": "number", least: low, "maximum": high}, _range(low, high, above_low))


def money(high: int, example: int) -> Kind:
    """Dollars above 0, kept as the decimal that was written."""

    def read(node: Node, key: str, problems: Problems) -> Any:
        from decimal import Decimal

        written = _decimal(node, key, problems, example)
        if written is None:
            return None
        value = Decimal(written)
        if 0 < value <= high:
            return value
        problems.add(node.place, key, f"{_short(written)} is out of range; type {_range(0, high, above_low=True)}")
        return None

    schema = {"type": "number", "exclusiveMinimum": 0, "maximum": high}
    return Kind(read, schema, _range(0, high, above_low=True))


def _decimal(node: Node, key: str, problems: Problems, example: float) -> str | None:
    """The number's text if it is a plain, finite decimal."""
    if (
        node.plain
        and isinstance(node.value, str)
        and re.fullmatch(DECIMAL, node.value)
        and len(node.value) <= MOST_DIGITS * 2
    ):
        return node.value
    problems.add(node.place, key, f"{shown(node)} is not a number; {_number_advice(node, f'{example}')}")
    return None


def _whole_advice(node: Node) -> str | None:
    """The whole number that was meant by 4k, 4_096, 4,096, 4096.0, 4e3 or 010."""
    written = node.value if isinstance(node.value, str) else ""
    if amount := re.fullmatch(THOUSANDS, written):
        count, power = int(amount[1]), 1 if amount[2] in "kK" else 2
        return f"type {count * 1000**power} or {count * 1024**power}"
    bare = re.sub(r"[_,' ]", "", written) if re.fullmatch(GROUPED, written) else written
    if (node.plain or bare != written) and re.fullmatch(DECIMAL, bare) and abs(float(bare)) < 10**MOST_DIGITS:
        return f"type {float(bare):.0f}" if float(bare).is_integer() else None
    return None


def _number_advice(node: Node, example: str) -> str:
    """What to type instead of something that is no number."""
    written = node.value if isinstance(node.value, str) else ""
    if not node.plain and re.fullmatch(DECIMAL, written):
        return "take away the quotes"
    if re.fullmatch(PERCENT, written):
        return f"type {float(written.rstrip('% ')) / 100:g}"
    return f"type for example {example}"


def _short(written: str) -> str:
    return written if len(written) <= MOST_DIGITS * 2 else f"{written[:12]}… ({len(written)} digits)"


def _range(low: float, high: float, above_low: bool) -> str:
    return f"above {low:g}, up to {high:.12g}" if above_low else f"{low:g} to {high:.12g}"
