"""memory: what must stay on a GPU leaves nothing for the KV cache, or the GPU is not free enough at start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.checks.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.memory.account import Memory

CODE = "memory"
GIB = 2**30


def check_memory(candidate: Candidate, engine: EngineConfig, memories: Sequence[Memory]) -> Refusal | None:
    """The stage that lacks most decides; ``needed`` and ``available`` are bytes of one GPU."""
    tightest = min(memories, key=lambda memory: memory.available_kv_bytes)
    if tightest.available_kv_bytes <= 0:
        return _nothing_left(candidate, engine, tightest)
    free = tightest.total_bytes - tightest.outside_bytes
    if free < tightest.requested_bytes:
        return Refusal(
            CODE,
            f"Free memory at start, {_gib(free)}, is less than the {_gib(tightest.requested_bytes)} that "
            f"gpu_memory_utilization {engine.gpu_memory_utilization:g} requests: the CUDA context and NCCL take "
            f"{_gib(tightest.outside_bytes)}. Lower engine.gpu_memory_utilization.",
            tightest.requested_bytes,
            free,
        )
    return None


def _nothing_left(candidate: Candidate, engine: EngineConfig, memory: Memory) -> Refusal:
    needed = memory.requested_bytes - memory.available_kv_bytes
    overhead = needed - memory.model_loading_bytes
    return Refusal(
        CODE,
        f"Each {candidate.sold_as} needs {_gib(needed)} ({_gib(memory.model_loading_bytes)} weights, "
        f"{_gib(overhead)} activations and runtime) before any KV cache; vLLM may take {_gib(memory.requested_bytes)} "
        f"({engine.gpu_memory_utilization:.0%} of {_gib(memory.total_bytes)}).",
        needed,
        memory.requested_bytes,
    )


def _gib(nbytes: int) -> str:
    return f"{nbytes / GIB:.2f} GiB"
