"""Kinds of values: how each is read from a node, and what the JSON Schema says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.spec.problems import did_you_mean, looks_secret, quoted, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from planner.spec.node import Node
    from planner.spec.problems import Problems

    Read = Callable[[Node, str, Problems], Any]

# Patterns stay text: `re` compiles and keeps those that a spec really needs, most never are.
INTEGER = r"[+-]?(0|[1-9][0-9]*)"
DECIMAL = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
TRUTH = {"true", "false", "yes", "no", "on", "off", "y", "n"}
# What YAML 1.1 readers turn into something else than text: numbers of every kind, times, dates, infinities.
NOT_TEXT = r"(?i)[+-]?[0-9][0-9_,:]*(\.[0-9_]*)?(e[+-]?[0-9]+)?|0[xob][0-9a-f_]+|\d{4}-\d\d?-\d\d?|[+-]?\.inf|\.nan"
THOUSANDS = r"([0-9]{1,6}) ?([kKmM])i?"
MOST_DIGITS = 15

NICKNAMES = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp32": "float32",
    "float": "float32",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "none": "auto",
    "cost": "usd_per_hour",
    "price": "usd_per_hour",
    "throughput": "usd_per_million_tokens",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """``read`` gives the value, or None after it has put what is wrong into the problems."""

    read: Read
    json_schema: Mapping[str, Any]
    values: str  # in words, for the reference
    section: Any = None  # the dataclass of a mapping with keys of its own


def flag() -> Kind:
    """true or false, and none of YAML's other spellings."""

    def read(node: Node, key: str, problems: Problems) -> bool | None:
        if node.plain and str(node.value).lower() in {"true", "false"}:
            return str(node.value).lower() == "true"
        problems.add(node.place, key, f"{shown(node)} is not true or false; type true or false, without quotes")
        return None

    return Kind(read, {"type": "boolean"}, "`true` or `false`")


def choice(*options: str) -> Kind:
    """One of a few words."""

    def read(node: Node, key: str, problems: Problems) -> str | None:
        if node.value in options:
            return str(node.value)
        listed = ", ".join(options)
        near = None
        if isinstance(node.value, str):
            nickname = NICKNAMES.get(node.value.lower())
            near = nickname if nickname in options else did_you_mean(node.value, options)
        advice = f"did you mean {near}?" if near else f"type {options[0]}"
        problems.add(node.place, key, f"{shown(node)} is not one of {listed}; {advice}")
        return None

    return Kind(read, {"enum": list(options)}, ", ".join(f"`{option}`" for option in options))


def whole(low: int, high: int, example: int, *words: str) -> Kind:
    """A whole number from low to high, or one of the words."""

    def read(node: Node, key: str, problems: Problems) -> int | str | None:
        written = node.value
        if written in words:
            return str(written)
        if not (node.plain and isinstance(written, str) and re.fullmatch(INTEGER, written)):
            also = f" (or {words[0]})" if words else ""
            problems.add(node.place, key, f"{shown(node)} is not a whole number; {_number_advice(node, example)}{also}")
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


def text(pattern: str, what: str, example: str, *, commits: bool = False) -> Kind:
    """Text that the whole of ``pattern`` matches; ``commits``: it may be a commit, which looks like some keys."""

    def read(node: Node, key: str, problems: Problems) -> str | None:
        message = _not_text(node, example) or _not_clean(node, commits=commits)
        if not message and not re.fullmatch(pattern, str(node.value)):
            message = f"{shown(node)} is not {what}; type for example {example}"
        if message:
            problems.add(node.place, key, message)
            return None
        return str(node.value)

    return Kind(read, {"type": "string", "pattern": f"^(?:{pattern})$", "examples": [example]}, what)


def secret_name(example: str) -> Kind:
    """The name of a secret; anything that looks like a secret's value is refused and never repeated."""
    return text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "a secret's name", example)


def each(item: Kind, example: str) -> Kind:
    """A list of at least one, none twice."""

    def read(node: Node, key: str, problems: Problems) -> tuple[Any, ...] | None:
        if not isinstance(node.value, list):
            problems.add(node.place, key, f"{shown(node)} is not a list; type {_as_list(node, example)}")
            return None
        if not node.value:
            problems.add(node.place, key, f"the list is empty; type for example {example}, or leave the key out")
        values = []
        for index, child in enumerate(node.value):
            value = item.read(child, f"{key}[{index}]", problems)
            if value is not None and value in values:
                problems.add(child.place, f"{key}[{index}]", f"{value} is listed twice; type it once")
            values.append(value)
        return tuple(values)

    schema = {"type": "array", "items": dict(item.json_schema), "minItems": 1, "uniqueItems": True}
    return Kind(read, schema, f"list of {item.values}")


def _decimal(node: Node, key: str, problems: Problems, example: float) -> str | None:
    """The number's text if it is a plain, finite decimal."""
    if (
        node.plain
        and isinstance(node.value, str)
        and re.fullmatch(DECIMAL, node.value)
        and len(node.value) <= MOST_DIGITS * 2
    ):
        return node.value
    problems.add(node.place, key, f"{shown(node)} is not a number; {_number_advice(node, example)}")
    return None


def _number_advice(node: Node, example: float) -> str:
    """What to type instead of something that is no number."""
    written = node.value
    if not isinstance(written, str):
        return f"type for example {example}"
    if not node.plain and re.fullmatch(DECIMAL, written):
        return "take away the quotes"
    if amount := re.fullmatch(THOUSANDS, written):
        count, power = int(amount[1]), 1 if amount[2] in "kK" else 2
        return f"type {count * 1000**power} or {count * 1024**power}"
    if re.fullmatch(r"[0-9]+(\.[0-9]+)? ?%", written):
        return f"type {float(written.rstrip('% ')) / 100:g}"
    return f"type for example {example}"


def _not_text(node: Node, example: str) -> str | None:
    if not isinstance(node.value, str):
        return f"{shown(node)} is not text; type for example {example}"
    if node.plain and (node.value.lower() in TRUTH or node.is_null or re.fullmatch(NOT_TEXT, node.value)):
        read_as = "true or false" if node.value.lower() in TRUTH else "a number or a date"
        return f'YAML reads {node.value[:40]} as {read_as}; type "{node.value[:40]}", in quotes'
    return None


def _not_clean(node: Node, *, commits: bool) -> str | None:
    written = str(node.value)
    if looks_secret(written) and not (commits and re.fullmatch(r"[0-9a-f]{40}", written)):
        return "this looks like a secret's value, which must never stand in a spec; type the name of a secret"
    if bad := next((character for character in written if not character.isprintable()), None):
        return f"holds the character U+{ord(bad):04X}, which cannot be printed; type it without"
    return None


def _as_list(node: Node, example: str) -> str:
    return f"[{quoted(node.value)[1:-1]}]" if isinstance(node.value, str) and node.value else f"for example {example}"


def _short(written: str) -> str:
    return written if len(written) <= MOST_DIGITS * 2 else f"{written[:12]}… ({len(written)} digits)"


def _range(low: float, high: float, above_low: bool) -> str:
    return f"above {low:g}, up to {high:.12g}" if above_low else f"{low:g} to {high:.12g}"
