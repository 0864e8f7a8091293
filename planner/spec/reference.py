"""The spec reference: every key, what it takes, its default and what it means, as Markdown."""

from __future__ import annotations

from typing import Any

from planner.spec.schema import Spec
from planner.spec.sections import default_of, every_key, is_required

HEAD = """\
# The spec

Only `name` and `model.repo` are required. Unknown keys are errors. Sizes and times carry their unit in the key. This
page is written from the keys themselves; a test keeps it so.

| key | takes | default | meaning |
| --- | --- | --- | --- |
"""


def reference() -> str:
    """docs/spec.md."""
    return HEAD + "".join(_row(path, entry) for path, entry in every_key(Spec))


def _row(path: str, entry: Any) -> str:
    kind = entry.metadata["kind"]
    takes = "" if kind.section else kind.values.replace("|", "\\|")
    return f"| `{path}` | {takes} | {_default(entry)} | {entry.metadata['doc']} |\n"


def _default(entry: Any) -> str:
    if is_required(entry):
        return "required"
    default = default_of(entry)
    if entry.metadata["kind"].section or default is None or default in ((), {}):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
