"""A plan as the JSON that scripts rely on; keys are added, never renamed or dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from planner.explain.money import cost_lines_document, month_document, sweet_spot_document
from planner.sweet_spot import find_sweet_spot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from planner.hints import Hint
    from planner.month import Month
    from planner.plan import Option, Plan
    from planner.rejection import Rejection

SCHEMA_VERSION = 1


def plan_document(plan: Plan, hints: Sequence[Hint] = (), month: Month | None = None) -> dict[str, Any]:
    """The whole plan as plain values, options best first."""
    checkpoint = plan.checkpoint
    options = [option_document(option) for option in plan.options]
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "repo": checkpoint.repo,
            "revision": checkpoint.revision,
            "parameters": plan.parameters,
            "checkpoint_bytes": checkpoint.checkpoint_bytes,
            "architecture": plan.facts.architecture,
            "source": checkpoint.source,
        },
        "chosen": options[0] if options else None,
        "options": options,
        "rejected": [rejection_document(rejection) for rejection in plan.rejections],
        "workload": to_builtins(plan.workload),
        "objective": plan.spec.objective,
        "sweet_spot": sweet_spot_document(find_sweet_spot(plan.options)),
        "month": month_document(month),
        "hints": [to_builtins(hint) for hint in hints],
        "warnings": list(plan.warnings),
        "prices_as_of": plan.prices_as_of.isoformat() if plan.prices_as_of else None,
    }


def option_document(option: Option) -> dict[str, Any]:
    """One valid configuration."""
    candidate, memory, cache, cost = option.candidate, option.memory, option.kv_cache, option.cost
    return {
        "gpu": candidate.sold_as,
        "count": candidate.count,
        "nodes": 1,
        "tensor_parallel_size": candidate.tensor_parallel_size,
        "pipeline_parallel_size": candidate.pipeline_parallel_size,
        "usd_per_hour": float(cost.usd_per_hour),
        "gpu_usd_per_hour": float(cost.gpu_usd_per_hour),
        "usd_per_million_output_tokens": float(cost.usd_per_million_output_tokens),
        "usd_per_million_input_tokens": optional_float(cost.usd_per_million_input_tokens),
        "usd_per_request": optional_float(cost.usd_per_request),
        "cost_lines": cost_lines_document(cost.lines),
        "stages": [to_builtins(stage) for stage in option.stages],
        "memory": to_builtins(memory),
        "kv_cache": to_builtins(cache),
        "throughput": to_builtins(option.throughput),
        "engine": _engine_document(option),
        "longest_context_tokens": option.longest_context_tokens,
        "highest_concurrency": option.highest_concurrency,
    }


def rejection_document(rejection: Rejection) -> dict[str, Any]:
    """One configuration that cannot be used, and why."""
    document: dict[str, Any] = to_builtins(rejection)
    return document


def _engine_document(option: Option) -> dict[str, Any]:
    engine = option.engine
    return {
        "version": ".".join(map(str, engine.version)),
        "dtype": engine.dtype,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "kv_cache_dtype": engine.kv_cache_dtype,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "enforce_eager": engine.enforce_eager,
        "quantization": engine.quantization,
    }


def optional_float(amount: Decimal | None) -> float | None:
    """Null stays null."""
    return None if amount is None else float(amount)
