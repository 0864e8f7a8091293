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
    if tightest.available_kv_bytes <= 0 and engine.num_gpu_blocks_override is None:
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


def check_asked_pool(
    candidate: Candidate, engine: EngineConfig, memories: Sequence[Memory], pools: Sequence[int]
) -> Refusal | None:
    """A KV cache of an asked size must lie on the GPU beside everything else, requested share or not."""
    if engine.kv_cache_memory_bytes is None and engine.num_gpu_blocks_override is None:
        return None
    flag = "kv-cache-memory-bytes" if engine.num_gpu_blocks_override is None else "num-gpu-blocks-override"
    memory, pool = max(zip(memories, pools, strict=True), key=lambda stage: stage[0].held_bytes + stage[1])
    needed = memory.held_bytes + pool
    if needed <= memory.total_bytes:
        return None
    return Refusal(
        CODE,
        f"engine.extra_args.{flag} asks for {_gib(pool)} of KV cache, but {_gib(memory.held_bytes)} of the "
        f"{_gib(memory.total_bytes)} of each {candidate.sold_as} are taken: CUDA out of memory. Ask for less.",
        needed,
        memory.total_bytes,
    )


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
