"""DeepGEMM's scales on Blackwell: of FP8 blocks one int32 for each row and 512 columns, up to 0.8 % of the weights.

kernels/linear/scaled_mm/deep_gemm.py and fused_moe/oracle/fp8.py choose it; third_party/deep_gemm
transform_sf_into_required_layout packs four exponents (UE8M0) into an int32 and repeats them for every row of a block.
A Hopper GPU keeps the checkpoint's scales.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.memory.formats.float8 import refined_block
from planner.memory.formats.place import DATACENTER_BLACKWELL, RTX_BLACKWELL, kernel_generation
from planner.memory.formats.shard import expert_shard, linear_shard
from planner.memory.formats.tiles import ceil_div, round_up
from planner.model.facts import Experts, Linear
from planner.model.quantization.scheme import FP8_BLOCK

if TYPE_CHECKING:
    from planner.memory.weights import Rank
    from planner.model.facts import Module
    from planner.model.quantization import Scheme

Storages = tuple[int, ...]
EXCLUDED = ("qwen3_5_text", "qwen3_5_moe_text")  # utils/deep_gemm.py _DEEPGEMM_BLACKWELL_EXCLUDED_MODEL_TYPES
METHODS = ("fp8", "compressed-tensors")
ROWS, COLUMNS = 64, 128  # utils/deep_gemm.py should_use_deepgemm_for_fp8_linear
PACKED_COLUMNS, PACKED_BYTES, PACKED_ROWS = 4 * 128, 4, 4  # rows: TMA reads 16 bytes at least


def started_storages(rank: Rank, module: Module, scheme: Scheme | None, storages: Storages) -> Storages:
    """``storages`` of a module, weights and scales first, as a start on the GPU leaves them."""
    if scheme is None or scheme.storage != "fp8" or scheme.granularity != "block" or not _takes_blocks(rank, scheme):
        return storages
    if isinstance(module, Linear):
        shard = linear_shard(module, rank.tp)
        if shard.out_features % ROWS or shard.in_features % COLUMNS:
            return storages
        return (storages[0], _packed(1, shard.out_features, shard.in_features), *storages[2:])
    if not isinstance(module, Experts) or _has_experts_of_its_own(rank):
        return storages
    experts = expert_shard(module, rank.tp, rank.ep_size)
    if refined_block(experts, FP8_BLOCK) != FP8_BLOCK:
        return storages
    w13 = _packed(experts.count, experts.intermediate * experts.gates, experts.hidden)
    return (*storages[:2], w13, _packed(experts.count, experts.hidden, experts.intermediate), *storages[4:])


def _takes_blocks(rank: Rank, scheme: Scheme) -> bool:
    generation = kernel_generation(rank.gpu.compute_capability)
    blackwell = generation == RTX_BLACKWELL or generation in DATACENTER_BLACKWELL
    known = scheme.method in METHODS and (scheme.block or FP8_BLOCK) == FP8_BLOCK
    return blackwell and known and rank.dtype == "bfloat16" and rank.facts.model_type not in EXCLUDED


def _has_experts_of_its_own(rank: Rank) -> bool:
    """FlashInfer's TRT-LLM kernels come before DeepGEMM on B200 and B300, and take the checkpoint's scales."""
    return rank.gpu.compute_capability // 10 * 10 == DATACENTER_BLACKWELL.start and rank.engine.flashinfer


def _packed(count: int, rows: int, columns: int) -> int:
    return count * round_up(rows, PACKED_ROWS) * ceil_div(columns, PACKED_COLUMNS) * PACKED_BYTES
