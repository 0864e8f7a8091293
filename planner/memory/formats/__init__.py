"""Bytes of one module on tensor-parallel rank 0 after vLLM's process_weights_after_loading, format by format.

Each function returns the storages of the module, in bytes, unrounded: the allocator rounds each up to 512. Counted is
what stays with the module. Not counted here: what an allocator's block holds beyond the request, DeepGEMM's scales on
Blackwell (memory/deep_gemm.py adds them for a start on the GPU), and Humming, which 0.33.0 prefers to Marlin on Hopper
where it is installed and which pads to tiles of 256 × 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.memory.formats.place import HOPPER, V0_33, place_of
from planner.memory.formats.shard import LinearShard, expert_shard, linear_shard
from planner.memory.formats.unquantized import unquantized_experts, unquantized_linear
from planner.model.facts import ITEMSIZE_BYTES

if TYPE_CHECKING:
    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.memory.formats.place import Place
    from planner.memory.formats.shard import ExpertShard
    from planner.model.facts import Experts, Linear
    from planner.model.quantization import Scheme


def linear_tensors(
    linear: Linear, scheme: Scheme | None, dtype: str, gpu: Gpu, engine: EngineConfig, tp: int
) -> tuple[int, ...]:
    """Storages of one linear layer on rank 0, biases included; ``dtype``: of what is not quantized."""
    shard = linear_shard(linear, tp)
    place = place_of(gpu, engine, dtype)
    if scheme is None:
        return unquantized_linear(shard, plain_dtype(linear, dtype, place))
    storages = shard_tensors(shard, scheme, place)
    if not linear.absorbed:
        return storages
    # MLA keeps W_UV and W_UK_T, cut from the dequantized kv_b_proj, beside a quantized weight
    # (layers/attention/mla_attention.py MLAAttention.process_weights_after_loading).
    return (*storages, *absorbed_copies(shard, dtype))


def plain_dtype(linear: Linear, dtype: str, place: Place) -> str:
    """The format of an unquantized layer; router kernels exist on 9.0 and 10.x (fused_moe/router/gate_linear.py)."""
    if linear.fp32_router and place.capability != HOPPER and not place.is_datacenter_blackwell:
        return "float32"
    return linear.dtype or dtype


def shard_tensors(shard: LinearShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """Storages of one quantized shard: linear layers, and heads that the checkpoint quantizes."""
    if scheme.storage in ("fp8", "mxfp8"):
        from planner.memory.formats.float8 import float8_linear

        return float8_linear(shard, scheme, place)
    if scheme.storage in ("nvfp4", "mxfp4"):
        from planner.memory.formats.float4 import float4_linear

        return float4_linear(shard, scheme, place)
    from planner.memory.formats.integer import int8_linear, packed_linear

    return int8_linear(shard, scheme, place) if scheme.storage == "int8" else packed_linear(shard, scheme, place)


def absorbed_copies(shard: LinearShard, dtype: str) -> tuple[int, ...]:
    """W_UV and W_UK_T: together the elements of kv_b_proj, in the model's dtype."""
    return (shard.out_features * shard.in_features * ITEMSIZE_BYTES[dtype],)


def expert_tensors(
    experts: Experts, scheme: Scheme | None, dtype: str, gpu: Gpu, engine: EngineConfig, tp: int, ep_size: int
) -> tuple[int, ...]:
    """Storages of one layer's routed experts on rank 0. ``ep_size``: ranks that share the experts, 1 without."""
    place = place_of(gpu, engine, dtype)
    shard = expert_shard(_with_least_rows(experts, place, tp, ep_size), tp, ep_size)
    return unquantized_experts(shard, place) if scheme is None else _quantized_experts(shard, scheme, place)


def _with_least_rows(experts: Experts, place: Place, tp: int, ep_size: int) -> Experts:
    if place.rules < V0_33 or ep_size > 1 or tp == 1 or experts.intermediate_size // tp >= experts.least_rows:
        return experts
    return replace(experts, intermediate_size=experts.least_rows * tp)


def _quantized_experts(shard: ExpertShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    if scheme.storage in ("fp8", "mxfp8"):
        from planner.memory.formats.float8 import float8_experts

        return float8_experts(shard, scheme, place)
    if scheme.storage in ("nvfp4", "mxfp4"):
        from planner.memory.formats.float4 import mxfp4_experts, nvfp4_experts

        return (nvfp4_experts if scheme.storage == "nvfp4" else mxfp4_experts)(shard, scheme, place)
    from planner.memory.formats.integer import int8_experts, packed_experts

    return int8_experts(shard) if scheme.storage == "int8" else packed_experts(shard, scheme, place)


def head_tensors(
    rows: int, hidden_size: int, scheme: Scheme, dtype: str, gpu: Gpu, engine: EngineConfig
) -> tuple[int, ...]:
    """An lm_head that the checkpoint quantizes: ``rows`` of the padded vocabulary on this rank."""
    shard = LinearShard(hidden_size, (rows,), hidden_size, rows, bias=False)
    return shard_tensors(shard, scheme, place_of(gpu, engine, dtype))
