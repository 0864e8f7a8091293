"""Kinds of values: how each is read from a node, and what the JSON Schema says of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from planner.spec.problems import did_you_mean, looks_secret, quoted, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from planner.spec.node import Node
    from planner.spec.problems import Problems

    Read = Callable[[Node, str, Problems], Any]
    Advice = Callable[[str], str | None]

# Patterns stay text: `re` compiles and keeps those that a spec really needs, most never are.
TRUTH = {"true", "false", "yes", "no", "on", "off"}
# What YAML 1.1 readers turn into something else than text: numbers of every kind, times, dates, infinities.
NOT_TEXT = (
    r"(?i)[+-]?[0-9][0-9_,:]*(\.[0-9_]*)?(e[+-]?[0-9]+)?|0[xob][0-9a-f_]+|[+-]?\.inf|\.nan"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*"
)
DATE = r"[0-9]{4}-[0-9]"
LONG_RANDOM = r"(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9+/=]{32,}"  # W&B keys are 40 hex digits
VALUE_SEEN = "this looks like a secret's value, which must never stand in a spec"

SPELLINGS = {
    **dict.fromkeys(("true", "yes", "on", "1", "y", "enabled"), "true"),
    **dict.fromkeys(("false", "no", "off", "0", "n", "disabled"), "false"),
}
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


class Kind(Struct, frozen=True):
    """``read`` gives the value, or None after it has put what is wrong into the problems."""

    read: Read
    json_schema: Mapping[str, Any]
    values: str  # in words, for the reference
    section: tuple[Any, ...] = ()  # the keys of a mapping with keys of its own


def flag() -> Kind:
    """true or false, and none of YAML's other spellings."""

    def read(node: Node, key: str, problems: Problems) -> bool | None:
        if node.plain and str(node.value).lower() in {"true", "false"}:
            return str(node.value).lower() == "true"
        meant = SPELLINGS.get(node.value.lower(), "true or false") if isinstance(node.value, str) else "true or false"
        problems.add(node.place, key, f"{shown(node)} is not true or false; type {meant}, without quotes")
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


def text(pattern: str, what: str, example: str, advice: Advice | None = None) -> Kind:
    """Text that the whole of ``pattern`` matches; ``advice`` says what to type instead of something else."""

    def read(node: Node, key: str, problems: Problems) -> str | None:
        if message := _not_text(node, example) or unfit(node, str(node.value)):
            problems.add(node.place, key, message)
            return None
        return str(node.value)

    def unfit(node: Node, written: str) -> str | None:
        fits, read_as = re.fullmatch(pattern, written), read_otherwise(written) if node.plain else None
        if fits and not read_as:
            return None
        better = written if fits else advice(written) if advice else None
        if read_as and better:
            quotes = better.strip('"')
            return f'YAML reads {written} as {read_as}; type "{quotes}", in quotes'
        return f"{shown(node)} is not {what}; type {better or f'for example {example}'}"

    return Kind(read, {"type": "string", "pattern": f"^(?:{pattern})$", "examples": [example]}, what)


def secret_name(example: str) -> Kind:
    """The name of a secret. What stands there is never repeated: it may be the secret itself."""
    pattern = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"

    def read(node: Node, key: str, problems: Problems) -> str | None:
        written = node.value if isinstance(node.value, str) else ""
        if looks_secret(written) or re.fullmatch(LONG_RANDOM, written):
            problems.add(node.place, key, f"{VALUE_SEEN}; type the name of a secret, for example {example}")
        elif not re.fullmatch(pattern, written) or (node.plain and read_otherwise(written)):
            problems.add(node.place, key, f"this is not a secret's name; type for example {example}")
        else:
            return written
        return None

    return Kind(read, {"type": "string", "pattern": f"^{pattern}$", "examples": [example]}, "a secret's name")


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


def _not_text(node: Node, example: str) -> str | None:
    """Why a node is no text that may stand in a spec."""
    written = node.value
    if not isinstance(written, str):
        return f"{shown(node)} is not text; type for example {example}"
    if looks_secret(written):
        return f"{VALUE_SEEN}; type for example {example}"
    if not written.isprintable():
        bad = next(character for character in written if not character.isprintable())
        return f"holds the character U+{ord(bad):04X}, which cannot be printed; type it without"
    return None


def read_otherwise(word: str) -> str | None:
    """What YAML 1.1 readers make of a word without quotes; None where they read text."""
    if word.lower() in TRUTH:
        return "true or false"
    if word[:1] in "+-.0123456789" and re.fullmatch(NOT_TEXT, word):
        return "a date" if re.match(DATE, word) else "a number"
    return None


def _as_list(node: Node, example: str) -> str:
    return f"[{quoted(node.value)[1:-1]}]" if isinstance(node.value, str) and node.value else f"for example {example}"
