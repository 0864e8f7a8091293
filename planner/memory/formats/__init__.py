"""Bytes of one module on tensor-parallel rank 0 after vLLM's process_weights_after_loading, format by format.

Each function returns the storages of the module, in bytes, unrounded: the allocator rounds each up to 512.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.errors import ModelError
from planner.memory.formats.shard import expert_shard, linear_shard
from planner.memory.formats.unquantized import unquantized_experts, unquantized_linear

if TYPE_CHECKING:
    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.model.facts import Experts, Linear
    from planner.model.quantization import Scheme


def linear_tensors(
    linear: Linear, scheme: Scheme | None, dtype: str, gpu: Gpu, engine: EngineConfig, tp: int
) -> tuple[int, ...]:
    """Storages of one linear layer on rank 0, biases included; ``dtype``: of what is not quantized."""
    del gpu, engine
    shard = linear_shard(linear, tp)
    if scheme is None:
        return unquantized_linear(shard, linear.dtype or dtype)
    raise ModelError(f"quantization: {scheme.method} is not understood.")


def expert_tensors(
    experts: Experts, scheme: Scheme | None, dtype: str, gpu: Gpu, engine: EngineConfig, tp: int, ep_size: int
) -> tuple[int, ...]:
    """Storages of one layer's routed experts on rank 0. ``ep_size``: ranks that share the experts, 1 without."""
    del gpu, engine
    shard = expert_shard(experts, tp, ep_size)
    if scheme is None:
        return unquantized_experts(shard, dtype)
    raise ModelError(f"quantization: {scheme.method} is not understood.")
