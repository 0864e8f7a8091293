"""The plan: every option and every rejection for one spec, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from datetime import date

    from planner.candidates import Candidate
    from planner.cost import Cost
    from planner.engine import EngineConfig
    from planner.memory.account import Memory, Stage
    from planner.memory.kv_cache import KvCache
    from planner.model.facts import ModelFacts
    from planner.model.identity import Checkpoint
    from planner.rejection import Rejection
    from planner.spec import Spec
    from planner.throughput import Throughput
    from planner.workload import Workload


class Option(Struct, frozen=True):
    """One valid configuration with everything that is known of it."""

    candidate: Candidate
    engine: EngineConfig
    stages: tuple[Stage, ...]
    memory: Memory
    kv_cache: KvCache
    throughput: Throughput
    cost: Cost
    longest_context_tokens: int  # the longest max_model_len this option would still start with
    highest_concurrency: int  # requests of the workload's tokens that it holds at once, to the end of their answers
    warnings: tuple[str, ...] = ()


class Plan(Struct, frozen=True):
    """Options best first by the objective, rejections in candidate order."""

    spec: Spec
    checkpoint: Checkpoint
    facts: ModelFacts
    workload: Workload
    parameters: int  # what the engine loads: no MTP blocks, tied weights once
    options: tuple[Option, ...]
    rejections: tuple[Rejection, ...]
    warnings: tuple[str, ...]
    prices_as_of: date | None  # None: no price is dated

    @property
    def chosen(self) -> Option | None:
        return self.options[0] if self.options else None
