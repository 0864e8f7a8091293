"""extra_args: `vllm serve` flags beyond the spec's keys, and the flags that a key already stands for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from planner.spec.kinds import Kind
from planner.spec.problems import looks_secret, quoted, shown
from planner.spec.quantities import INTEGER

if TYPE_CHECKING:
    from planner.spec.node import Node
    from planner.spec.problems import Problems

    FlagValue = str | int | bool | tuple[str | int, ...] | None

FLAG = r"[A-Za-z0-9][A-Za-z0-9._+-]*"

# Flags of vLLM 0.33.0 (engine/arg_utils.py, entrypoints/common/cli_args.py) and the key that stands for each.
# vLLM's parser takes underscores for dashes, and any unambiguous beginning of a flag.
KEY_OF_FLAG = {
    "model": "model.repo",
    "served-model-name": "model.repo",
    "revision": "model.revision",
    "dtype": "model.dtype",
    "trust-remote-code": "model.trust_remote_code",
    "quantization": "model.quantization",
    "q": "model.quantization",
    "max-model-len": "engine.max_model_len",
    "max-num-seqs": "engine.max_num_seqs",
    "max-num-batched-tokens": "engine.max_num_batched_tokens",
    "kv-cache-dtype": "engine.kv_cache_dtype",
    "gpu-memory-utilization": "engine.gpu_memory_utilization",
    "device-memory-utilization": "engine.gpu_memory_utilization",
    "enforce-eager": "engine.enforce_eager",
    "enable-prefix-caching": "engine.enable_prefix_caching",
    "enable-expert-parallel": "engine.enable_expert_parallel",
    "ep": "engine.enable_expert_parallel",
    "tensor-parallel-size": "gpu.tensor_parallel_size",
    "tp": "gpu.tensor_parallel_size",
    "pipeline-parallel-size": "gpu.pipeline_parallel_size",
    "pp": "gpu.pipeline_parallel_size",
    "data-parallel-size": "scaling.max_containers",
    "dp": "scaling.max_containers",
    "nnodes": "gpu.counts",
    "node-rank": "gpu.counts",
    "headless": "gpu.counts",
    "host": "target",
    "port": "target",
    "uds": "target",
    "api-key": "secrets.api_key",
    "hf-token": "secrets.huggingface",
    "config": "engine.extra_args",
}
SHORTEST_BEGINNING = 4  # characters; no flag of vLLM's own is so long and the beginning of one of these
SECRET_FLAGS = {"api-key", "hf-token"}


def serve_flags() -> Kind:
    """A mapping of flag to value, list or true."""
    scalar = {"type": ["string", "number", "boolean"]}
    schema = {
        "type": "object",
        "propertyNames": {"pattern": f"^{FLAG}$", "not": {"enum": sorted(KEY_OF_FLAG)}},
        "additionalProperties": {"anyOf": [scalar, {"type": "array", "items": scalar, "minItems": 1}]},
    }
    return Kind(read_flags, schema, "mapping of flag to a value, a list or `true`")


def read_flags(node: Node, key: str, problems: Problems) -> dict[str, FlagValue] | None:
    """Flag (without dashes) to its value; whole numbers become int, every other value stays as it is written."""
    if not isinstance(node.value, dict):
        problems.add(node.place, key, f"{shown(node)} is not a mapping; type flags below it, as in seed: 7")
        return None
    flags: dict[str, FlagValue] = {}
    for flag, (place, child) in node.value.items():
        path = f"{key}.{flag}" if re.fullmatch(FLAG, flag) else f"{key}.{quoted(flag)}"
        if message := _refusal(flag):
            problems.add(place, path, message)
        elif flag.replace("_", "-") in (known.replace("_", "-") for known in flags):
            problems.add(place, path, "the same flag twice, with - and with _; keep one")
        else:
            flags[flag] = _value(child, path, problems)
    return flags


def _refusal(flag: str) -> str | None:
    """Why this flag may not stand here."""
    if flag.startswith("-"):
        return f"flags stand without dashes; type {quoted(flag.lstrip('-'))[1:-1]}"
    if not re.fullmatch(FLAG, flag):
        return "is no flag; type a vllm serve flag without dashes, as in seed: 7"
    bare = flag.replace("_", "-").lower().removeprefix("no-")
    known = bare if bare in KEY_OF_FLAG else _completed(bare)
    if known is None:
        return None
    if known in SECRET_FLAGS:
        return f"a secret never stands on a command line; type {KEY_OF_FLAG[known]}: the name of a secret"
    if known == "config":
        return "a file of flags cannot be planned; type its flags here, one by one"
    if known in {"host", "port", "uds"}:
        return "where the engine listens is the target's to choose; leave it out"
    if known != bare:
        return f"vLLM reads this as the beginning of {known}; type {KEY_OF_FLAG[known]} instead"
    return f"the key {KEY_OF_FLAG[known]} stands for this flag; type it there"


def _completed(beginning: str) -> str | None:
    """The flag with a key that argparse would complete this beginning to."""
    longer = [known for known in KEY_OF_FLAG if len(beginning) >= SHORTEST_BEGINNING and known.startswith(beginning)]
    return longer[0] if longer else None


def _value(node: Node, path: str, problems: Problems) -> FlagValue:
    if isinstance(node.value, list):
        if not node.value:
            problems.add(node.place, path, "the list is empty; type at least one value, or leave the flag out")
        return tuple(_scalar(item, f"{path}[{index}]", problems) for index, item in enumerate(node.value))
    if node.plain and str(node.value).lower() == "true":
        return True
    if node.plain and str(node.value).lower() == "false":
        name = path.removeprefix("engine.extra_args.")
        problems.add(node.place, path, f"a flag is true or left out; type no-{name}: true to switch it off")
        return None
    return _scalar(node, path, problems)


def _scalar(node: Node, path: str, problems: Problems) -> str | int:
    written = node.value
    if not isinstance(written, str):
        problems.add(node.place, path, f"{shown(node)} cannot be a flag's value; type JSON in single quotes")
    elif node.is_null:
        problems.add(node.place, path, "no value; type true for a flag that takes none")
    elif looks_secret(written):
        problems.add(node.place, path, "this looks like a secret's value; type it nowhere but at the provider")
    elif any(ord(character) < 32 and character not in "\n\t" for character in written):
        problems.add(node.place, path, "holds a control character; type the value without it")
    elif node.plain and re.fullmatch(INTEGER, written) and len(written) < 20:
        return int(written)
    return written if isinstance(written, str) else ""
