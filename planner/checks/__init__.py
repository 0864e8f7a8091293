"""Validity: one function per rule, cheapest first. Each is (facts, candidate, engine) -> Refusal or None."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
