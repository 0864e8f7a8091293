"""The JSON Schema of the spec, for editors: the same keys, kinds and texts that the reader uses."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

from planner.spec.schema import Spec
from planner.spec.sections import default_of, is_required

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """A JSON Schema document of ``Spec``; keys in the order in which the reference has them."""
    return {"$schema": DIALECT, "title": "gpuplan spec", **_section_schema(Spec)}


def _section_schema(cls: Any) -> dict[str, Any]:
    entries = fields(cls)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [entry.name for entry in entries if is_required(entry)],
        "properties": {entry.name: _key_schema(entry) for entry in entries},
    }


def _key_schema(entry: Field[Any]) -> dict[str, Any]:
    kind = entry.metadata["kind"]
    described = {"description": entry.metadata["doc"]}
    if kind.section:
        return {**_section_schema(kind.section), **described}
    schema = {**kind.json_schema, **described}
    if not is_required(entry) and isinstance(default := default_of(entry), str | int | float | bool):
        schema["default"] = default
    return schema
