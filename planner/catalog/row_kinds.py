"""Row kinds: what may stand in each field of a user's own row. The tests hold the shipped rows to the same."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import TYPE_CHECKING, Any

from planner.catalog.rates import RATE_NAMES
from planner.spec.keys import REPO
from planner.spec.kinds import Kind, choice, each, flag, text
from planner.spec.problems import shown
from planner.spec.quantities import money, number, whole

if TYPE_CHECKING:
    from planner.spec.node import Node
    from planner.spec.problems import Problems

WORDS = r"[^\x00-\x1f]{1,400}"
TFLOPS = (0.1, 1e6, 989.0)


def or_null(kind: Kind) -> Kind:
    """The kind, or null for "it has none"."""

    def read(node: Node, key: str, problems: Problems) -> Any:
        return None if node.is_null else kind.read(node, key, problems)

    return Kind(read, {"anyOf": [dict(kind.json_schema), {"type": "null"}]}, f"{kind.values}, or null")


def day() -> Kind:
    """A date as it is written in rows: 2026-10-08."""

    def read(node: Node, key: str, problems: Problems) -> str | None:
        try:
            return date.fromisoformat(str(node.value)).isoformat()
        except ValueError:
            problems.add(node.place, key, f"{shown(node)} is not a date; type for example 2026-10-08")
            return None

    return Kind(read, {"type": "string", "format": "date"}, "a date")


def commit() -> Kind:
    """A commit of the hub; it has the shape of some services' keys, so it is no ``text``."""

    def read(node: Node, key: str, problems: Problems) -> str | None:
        if isinstance(node.value, str) and re.fullmatch(r"[0-9a-f]{40}", node.value):
            return node.value
        problems.add(node.place, key, f"{shown(node)} is not a 40-hex commit; type one, or leave the key out")
        return None

    return Kind(read, {"type": "string", "pattern": "^[0-9a-f]{40}$"}, "a 40-hex commit")


def dollars() -> Kind:
    """Money above 0, kept as written."""
    kind = money(1000, 1)

    def read(node: Node, key: str, problems: Problems) -> str | None:
        value = kind.read(node, key, problems)
        return None if value is None else str(value)

    return Kind(read, kind.json_schema, kind.values)


def texts() -> Kind:
    """A mapping of field to text: where each value is from."""
    line = text(WORDS, "one line of text", "data sheet of 2026-03")

    def read(node: Node, key: str, problems: Problems) -> dict[str, str] | None:
        if not isinstance(node.value, dict):
            problems.add(node.place, key, f'{shown(node)} is not a mapping; type {{"*": where the values are from}}')
            return None
        return {name: line.read(child, f"{key}.{name}", problems) for name, (_, child) in node.value.items()}

    return Kind(read, {"type": "object", "additionalProperties": {"type": "string"}}, "field: source")


def anything() -> Kind:
    """A mapping taken as it is, such as a config.json."""

    def read(node: Node, key: str, problems: Problems) -> Any:
        if isinstance(node.value, dict):
            return plain_value(node)
        problems.add(node.place, key, f"{shown(node)} is not a mapping; type the keys of config.json below it")
        return None

    return Kind(read, {"type": "object"}, "a mapping")


def plain_value(node: Node) -> Any:
    """Lists, mappings, numbers, truth and text as JSON would have them."""
    if isinstance(node.value, dict):
        return {name: plain_value(child) for name, (_, child) in node.value.items()}
    if isinstance(node.value, list):
        return [plain_value(child) for child in node.value]
    if not node.plain:
        return node.value
    if node.is_null:
        return None
    if node.value.lower() in {"true", "false"}:
        return node.value.lower() == "true"
    try:
        return json.loads(node.value) if node.value[0] in "-0123456789" else node.value
    except ValueError:
        return node.value


WORD = text(r"[A-Za-z0-9][\w!+. -]{0,63}", "a name", "A100-80GB")
LINE = text(WORDS, "one line of text", "price list of 2026-10-08")
SPEED = number(*TFLOPS)

KINDS: dict[str, dict[str, Kind]] = {
    "gpus": {
        "name": WORD,
        "architecture": WORD,
        "compute_capability": whole(50, 200, 90),
        "device_name": LINE,
        "vendor": choice("nvidia", "amd"),
        "marketed_gb": whole(1, 4096, 80),
        "total_bytes": whole(2**30, 2**42, 85_017_493_504),
        "memory_bandwidth_gbps": number(10, 100_000, 3350),
        "memory_kind": choice("hbm", "gddr"),
        "l2_mb": or_null(number(0.1, 10_000, 50)),
        "sms": or_null(whole(1, 10_000, 132)),
        "bf16_tflops": or_null(SPEED),
        "fp16_tflops": SPEED,
        "fp8_tflops": or_null(SPEED),
        "fp4_tflops": or_null(SPEED),
        "int8_tops": or_null(SPEED),
        "link": choice("nvlink", "pcie"),
        "link_gbps_per_direction": number(1, 10_000, 450),
        "peer_to_peer": flag(),
        "sources": texts(),
    },
    "offers": {
        "gpu": WORD,
        "planned_as": WORD,
        "usd_per_second": dollars(),
        "counts_sold": each(whole(1, 8, 1), "[1, 2, 4, 8]"),
        "as_of": day(),
        "source": LINE,
        "listed": flag(),
        "negotiated": flag(),
        "note": LINE,
        "target": choice("modal", "local"),
    },
    "rates": {
        "name": choice(*RATE_NAMES),
        "value": dollars(),
        "as_of": day(),
        "source": LINE,
        "target": choice("modal", "local"),
    },
    "models": {
        "repo": text(REPO, "org/name", "acme/chat-7b"),
        "revision": or_null(commit()),
        "gated": flag(),
        "source": LINE,
        "hub_parameters": or_null(whole(1, 10**14, 7_000_000_000)),
        "checkpoint_bytes": or_null(whole(1, 10**15, 14_000_000_000)),
        "config": anything(),
        "hf_quant_config": anything(),
    },
}

# What a row may leave out. None of Gpu's nullable fields has to be written.
OPTIONAL: dict[str, set[str]] = {
    "gpus": {"vendor", "l2_mb", "sms", "bf16_tflops", "fp8_tflops", "fp4_tflops", "int8_tops"},
    "offers": {"planned_as", "listed", "negotiated", "note", "target"},
    "rates": {"target"},
    "models": {
        "revision",
        "gated",
        "hub_parameters",
        "checkpoint_bytes",
        "hf_quant_config",
    },
}
REQUIRED = {part: [field for field in kinds if field not in OPTIONAL[part]] for part, kinds in KINDS.items()}
