"""Flags of extra_args that change memory: what they ask for, which are refused, and which a plan leaves out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GIB = 2**30
SIZE = r"(\d+(?:\.\d+)?)([kKmMgGtT]?)"
# vllm/utils/argparse_utils.py human_readable_int: small letters are decimal, large ones binary
SUFFIXES = {"": 1, **{letter: 1000**power for power, letter in enumerate("kmgt", 1)}}
SUFFIXES |= {letter: 1024**power for power, letter in enumerate("KMGT", 1)}

# Flags that change memory or speed in ways that are not planned, and what they bring.
UNCOUNTED = {
    "speculative-config": "what a draft model or prediction layers need and gain",
    "enable-lora": "room for LoRA adapters",
    "hf-overrides": "another config.json",
    "prefill-context-parallel-size": "the split of prompts over GPUs",
    "compilation-config": "another set of CUDA graphs",
    "cudagraph-capture-sizes": "another set of CUDA graphs",
    "offload-group-size": "fetching layers from CPU memory",
    "offload-backend": "fetching layers from CPU memory",
    "kv-transfer-config": "a buffer for the KV connector",
    "kv-offloading-size": "a second KV cache in CPU memory",
    "enable-eplb": "room for copies of experts",
    "enable-dbo": "a second batch in flight",
    "limit-mm-per-prompt": "another encoder budget",
}
COUNTED_WITHOUT_SPEED = {
    "cpu-offload-gb": "its weights are read over PCIe in every step",
    "decode-context-parallel-size": "attention then exchanges results in every layer",
}


def flag_value(flags: Mapping[str, Any], name: str) -> Any:
    """A flag by its name with dashes, however it is written; None where it is absent."""
    if not flags:  # most specs, and asked for thousands of times in a plan
        return None
    return flags.get(name, flags.get(name.replace("-", "_")))


def number_flag(flags: Mapping[str, Any], name: str) -> int | None:
    """A whole number, with vLLM's k, m, g, t or K, M, G, T behind it; None where the flag is absent or no number."""
    value = flag_value(flags, name)
    found = re.fullmatch(SIZE, str(value).strip()) if value is not None and not isinstance(value, bool) else None
    return int(float(found[1]) * SUFFIXES[found[2]]) if found else None


def gib_flag(flags: Mapping[str, Any], name: str) -> int:
    """A number of GiB, in bytes; 0 where the flag is absent or no number."""
    try:
        return int(float(flag_value(flags, name) or 0) * GIB)
    except (TypeError, ValueError):
        return 0


def switched(flags: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """A boolean flag, its --no- form, or the default."""
    names = {flag.replace("_", "-") for flag in flags}
    if f"no-{name}" in names:
        return False
    return True if name in names else default


def flag_warnings(flags: Mapping[str, Any]) -> Iterator[str]:
    """Flags that reach the engine but not, or not wholly, the plan."""
    for name, brings in UNCOUNTED.items():
        if flag_value(flags, name) is not None:
            yield f"engine.extra_args.{name}: passed to the engine as it is; {brings} is in no figure of this plan."
    for name, why in COUNTED_WITHOUT_SPEED.items():
        if flag_value(flags, name) is not None:
            yield f"engine.extra_args.{name}: its memory is planned, its speed is not: {why}. Expect less."
