"""Rows of truth files, and what the planner answers to one: verdict, weights, KV layout."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msgspec.structs import replace  # noqa: E402 - runs from a checkout, installed or not

from planner.candidates import Candidate  # noqa: E402
from planner.checks import CHECKS  # noqa: E402
from planner.checks.kv_cache import check_kv_cache  # noqa: E402
from planner.engine import resolve_engine  # noqa: E402
from planner.errors import ModelError  # noqa: E402
from planner.memory.kv_cache import longest_context, plan_kv_cache, stage_layouts  # noqa: E402
from planner.memory.weights import stage_loading_bytes  # noqa: E402
from planner.model.architectures import make_facts  # noqa: E402
from planner.model.folder import read_folder  # noqa: E402

Row = dict[str, Any]
# the engine's failure -> the plan's code that says the same
SAME = {
    "heads": "attention_heads",
    "vocab": "dimension",
    "shard_width": "dimension",
    "quant_shape": "quantization_shard",
    "quant_capability": "capability",
    "kv_dtype": "attention_backend",
    "kv_fit": "kv_cache",
    "trust_remote_code": "engine_support",
    "quant_deprecated": "engine_support",
    "arch_removed": "engine_support",
    "arch_unsupported": "engine_support",
}
WIDTH_CODES = {"attention_heads", "kv_heads", "dimension"}  # where several fail, any of them is right
DTYPES = {"half": "float16"}
DERIVED = "-mkq"  # rows of a config.json without its quantization_config, so that hf_quant_config.json applies


class Models:
    """Facts by folder name, each read once."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders, self.facts = folders, {}

    def get(self, name: str, *, derived: bool = False) -> Any:
        """Raises ModelError where there is no such folder or its architecture is not understood."""
        key = (name, derived)
        if key not in self.facts:
            folder = next((one / name for one in self.folders if (one / name / "config.json").is_file()), None)
            if folder is None:
                raise ModelError(f"{name}: no config.json")
            checkpoint = read_folder(folder, name.replace("--", "/", 1))
            if derived:
                config = {key: value for key, value in checkpoint.config.items() if key != "quantization_config"}
                checkpoint = replace(checkpoint, repo=f"{checkpoint.repo}{DERIVED}", config=config)
            self.facts[key] = make_facts(checkpoint)
        return self.facts[key]

    def of(self, row: Row) -> Any:
        """The facts that a row is about."""
        return self.get(row["model"], derived=DERIVED in str(row.get("id")))


def spec_of(row: Row) -> Any:
    """The settings of a row in the spec's shape."""
    given = row.get("mbt_seqs_given", True)
    extra = {"language-model-only": True} if row.get("language_model_only") else {}
    if "-allowdep" in str(row.get("id")):
        extra["allow-deprecated-quantization"] = True
    return SimpleNamespace(
        model=SimpleNamespace(
            dtype=DTYPES.get(row.get("dtype", "auto"), row.get("dtype", "auto")),
            quantization=row.get("quantization") or "auto",
            trust_remote_code="-trust" in str(row.get("id")),
        ),
        engine=SimpleNamespace(
            version=row["vllm"],
            max_model_len=row.get("max_model_len"),
            max_num_seqs=row.get("max_num_seqs") if given else None,
            max_num_batched_tokens=row.get("max_num_batched_tokens") if given else None,
            kv_cache_dtype=row.get("kv_cache_dtype") or "auto",
            gpu_memory_utilization=row.get("gpu_memory_utilization", 0.92),
            enforce_eager=bool(row.get("enforce_eager")),
            enable_prefix_caching=False if str(row.get("id")).endswith("-nopc") else row.get("prefix_caching"),
            enable_expert_parallel=bool(row.get("ep")),
            extra_args=extra,
        ),
    )


def unreliable_fields(row: Row) -> set[str]:
    """What the row says must not be judged by it."""
    return set() if row["reliable"] else set(row["unreliable_fields"] or ())


def same_code(code: str | None, failure: str | None) -> bool:
    """Whether the plan's code says what the engine said."""
    wanted = SAME.get(str(failure), failure)
    return code == wanted or (code in WIDTH_CODES and wanted in WIDTH_CODES)


def answer_of(row: Row, facts: Any, gpu: Any) -> Any:
    """What the planner says of one row, given the row's KV bytes."""
    tp, pp = row["tp"], row["pp"]
    engine = replace(resolve_engine(spec_of(row), facts, gpu, tp, pp), flashinfer=row.get("flashinfer", "on") == "on")
    candidate = Candidate(gpu, None, tp * pp, tp, pp)
    code = next((refusal.code for check in CHECKS if (refusal := check(facts, candidate, engine))), None)
    if code and code != "max_model_len":
        return SimpleNamespace(code=code, loading=None, cache=None, layouts=())
    layouts = stage_layouts(facts, gpu, engine, tp, pp)
    available = [row["available_kv_bytes"] or 0] * pp
    cache = None
    if code is None and row["available_kv_bytes"] is not None:
        refusal = check_kv_cache(layouts, available, engine, longest_context(layouts, available, engine))
        code = refusal.code if refusal else None
        cache = plan_kv_cache(layouts, available, engine) if refusal is None else None
    loading = stage_loading_bytes(facts, gpu, engine, tp, pp)
    return SimpleNamespace(code=code, loading=loading, cache=cache, layouts=layouts)
