"""Values as Python source: the only way a value gets into a rendered file. Text stays text whatever it contains."""

from __future__ import annotations

from typing import Any

WIDTH = 88  # ruff's default: what is wider is broken, one item a line, and then stays so at any width
INDENT = "    "


def literal(value: Any, used_columns: int = 24, depth: int = 0) -> str:
    """Python source of None, bool, int, float, str, list, tuple and dict, laid out as ruff format does.

    ``used_columns`` is what stands before it on the line. Raises TypeError for any other type.
    """
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool | int | float):
        return repr(value).replace("e+", "e")  # 1e300, as ruff writes it
    if isinstance(value, list | tuple):
        brackets = "[]" if isinstance(value, list) else "()"
        items = [literal(item, len(INDENT) * (depth + 1), depth + 1) for item in value]
        return _laid_out(items, brackets, used_columns, depth, single=isinstance(value, tuple) and len(value) == 1)
    if isinstance(value, dict):
        items = [
            f"{literal(key)}: {literal(item, len(INDENT) * (depth + 1), depth + 1)}" for key, item in value.items()
        ]
        return _laid_out(items, "{}", used_columns, depth)
    raise TypeError(f"no literal for {type(value).__name__}")


def assigned(value: Any, name: str) -> str:
    """The statement ``name = value``; a text that only fits on a line of its own is put in parentheses."""
    source = literal(value, len(name) + len(" = "))
    if "\n" not in source and len(name) + len(" = ") + len(source) > WIDTH >= len(INDENT) + len(source):
        return f"{name} = (\n{INDENT}{source}\n)"
    return f"{name} = {source}"


def quoted(text: str) -> str:
    """A string literal in double quotes, or in single quotes where that needs fewer escapes."""
    double, single = text.count('"'), text.count("'")
    body = repr('"' + text)[2:-1] if single == 0 or double else repr("\"'" + text)[4:-1]
    body = body.replace("\\'", "'")
    if double > single:
        return "'" + body.replace("'", "\\'") + "'"
    return '"' + body.replace('"', '\\"') + '"'


def _laid_out(items: list[str], brackets: str, used_columns: int, depth: int, *, single: bool = False) -> str:
    """One line where it fits and nothing inside is broken; else one item a line with a trailing comma."""
    line = brackets[0] + ", ".join(items) + ("," if single else "") + brackets[1]
    nested = brackets != "()" and any(item.endswith((")", "]", "}")) for item in items)
    if used_columns + len(line) <= WIDTH and not nested and "\n" not in line:
        return line
    inner, outer = INDENT * (depth + 1), INDENT * depth
    return brackets[0] + "\n" + "".join(f"{inner}{item},\n" for item in items) + outer + brackets[1]
