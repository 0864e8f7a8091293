"""The spec reference: every key, what it takes, its default and what it means, as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.spec.keys import SPEC
from planner.spec.sections import every_key

if TYPE_CHECKING:
    from planner.spec.sections import Key

HEAD = """\
# The spec

Only `name` and `model.repo` are required. Unknown keys are errors. Sizes and times carry their unit in the key. This
page is written from the keys themselves; a test keeps it so.

| key | takes | default | meaning |
| --- | --- | --- | --- |
"""


def reference() -> str:
    """docs/spec.md."""
    return HEAD + "".join(_row(path, entry) for path, entry in every_key(SPEC))


def _row(path: str, entry: Key) -> str:
    kind = entry.kind
    takes = "" if kind.section else kind.values.replace("|", "\\|")
    return f"| `{path}` | {takes} | {_default(entry)} | {entry.doc} |\n"


def _default(entry: Key) -> str:
    if entry.is_required:
        return "required"
    default = entry.default
    if entry.kind.section or default is None or default in ((), {}):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
