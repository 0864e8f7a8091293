"""Validity: one function per rule, cheapest first. Each is (facts, candidate, engine) -> Refusal or None."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.checks.attention import check_attention_backend
from planner.checks.flags import check_flags
from planner.checks.formats import check_capability, check_dtype, check_format_support
from planner.checks.quantization_shard import check_quantization_shard
from planner.checks.shards import (
    check_architecture,
    check_attention_heads,
    check_dimensions,
    check_engine_support,
    check_kv_heads,
    check_max_model_len,
    check_pipeline,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from planner.candidates import Candidate
    from planner.checks.refusal import Refusal
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts

    Check = Callable[[ModelFacts, Candidate, EngineConfig], Refusal | None]

# Every code a rejection can carry, in the order in which the rules are applied.
CODES = (
    "count_not_sold",
    "attention_heads",
    "kv_heads",
    "dimension",
    "quantization_shard",
    "pipeline_unsupported",
    "engine_support",
    "dtype",
    "capability",
    "attention_backend",
    "max_model_len",
    "memory",
    "kv_cache",
    "slo",
    "budget",
)

# What needs no memory arithmetic, in the order of CODES but for the class, which vLLM looks up first; memory, kv_cache,
# slo and budget follow in judge.
CHECKS: tuple[Check, ...] = (
    check_architecture,
    check_attention_heads,
    check_kv_heads,
    check_dimensions,
    check_quantization_shard,
    check_pipeline,
    check_engine_support,
    check_flags,
    check_format_support,
    check_dtype,
    check_capability,
    check_attention_backend,
    check_max_model_len,
)
