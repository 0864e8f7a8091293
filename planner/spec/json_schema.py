"""The JSON Schema of the spec, for editors: the same keys, kinds and texts that the reader uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.spec.keys import SPEC

if TYPE_CHECKING:
    from planner.spec.sections import Key, Keys

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """A JSON Schema document of ``Spec``; keys in the order in which the reference has them."""
    return {"$schema": DIALECT, "title": "gpuplan spec", **_section_schema(SPEC)}


def _section_schema(keys: Keys) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [entry.name for entry in keys if entry.is_required],
        "properties": {entry.name: _key_schema(entry) for entry in keys},
    }


def _key_schema(entry: Key) -> dict[str, Any]:
    described = {"description": entry.doc}
    if entry.kind.section:
        return {**_section_schema(entry.kind.section), **described}
    schema = {**entry.kind.json_schema, **described}
    if not entry.is_required and isinstance(entry.default, str | int | float | bool):
        schema["default"] = entry.default
    return schema
