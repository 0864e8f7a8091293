"""quantization_shard: a quantization group or block that straddles the shards of two GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.checks.refusal import Refusal
from planner.engine import V0_33
from planner.memory.formats.float8 import refined_block
from planner.memory.formats.place import HOPPER, NATIVE_FP8
from planner.memory.formats.shard import expert_shard, linear_shard
from planner.model.facts import Linear
from planner.model.quantization import quantized_modules
from planner.model.quantization.scheme import FP8_BLOCK, MX_GROUP_SIZE, NVFP4_GROUP_SIZE

if TYPE_CHECKING:
    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.memory.formats.shard import ExpertShard, LinearShard
    from planner.model.facts import ModelFacts
    from planner.model.quantization import QuantizedModule, Scheme

CODE = "quantization_shard"


def check_quantization_shard(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """Every quantized module's shard against its format's groups and blocks, by the engine's version."""
    tp = candidate.tensor_parallel_size
    tower_tp = facts.tower_ranks(tp)
    for quantized in quantized_modules(facts, engine.quantization):
        refusal = _judge(quantized, tower_tp if quantized.in_tower else tp, candidate, engine)
        if refusal:
            return refusal
    return None


def _judge(quantized: QuantizedModule, tp: int, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    module, scheme = quantized.module, quantized.scheme
    if isinstance(module, Linear):
        return _judge_linear(quantized.name, module, scheme, tp, engine)
    ep_size = tp if engine.enable_expert_parallel else 1
    return _judge_experts(scheme, expert_shard(module, tp, ep_size), tp, candidate, engine)


def _judge_linear(name: str, linear: Linear, scheme: Scheme, tp: int, engine: EngineConfig) -> Refusal | None:
    shard = linear_shard(linear, tp)
    if scheme.storage == "fp8":
        return _judge_blocks(linear, scheme, shard, tp, engine) if scheme.granularity == "block" else None
    if scheme.storage == "int":
        return _judge_groups(name, scheme, shard)
    width = shard.in_features
    if scheme.storage == "nvfp4" and scheme.method != "compressed-tensors" and width % NVFP4_GROUP_SIZE:
        return _refusal("Unsupported model when in features size is not multiple of 16", NVFP4_GROUP_SIZE, width)
    if scheme.storage == "mxfp8" and width % MX_GROUP_SIZE:
        return _refusal(f"MXFP8 requires input size divisible by 32, got {width}", MX_GROUP_SIZE, width)
    return None


def _judge_groups(name: str, scheme: Scheme, shard: LinearShard) -> Refusal | None:
    """A shard must hold whole groups: Marlin and Machete cannot, and what they fall back to raises."""
    group, width = scheme.group_size, shard.in_features
    if group == -1 or width % group == 0:
        return None
    says = (
        f"Weight input_size_per_partition={width} for layer '{name}' is not divisible by group_size={group}. "
        "Consider reducing tensor_parallel_size"
    )
    if scheme.method == "auto_awq":
        says = (
            "The input size is not aligned with the quantized weight shape. "
            "This can be caused by too large tensor parallel size"
        )
    return _refusal(says, group, width)


def _judge_blocks(linear: Linear, scheme: Scheme, shard: LinearShard, tp: int, engine: EngineConfig) -> Refusal | None:
    """fp8_utils.validate_fp8_block_shape; ModelOpt's FP8_PB_WO has rules of its own."""
    block_n, block_k = scheme.block or FP8_BLOCK
    if scheme.method == "modelopt":
        return _judge_modelopt_blocks(shard, block_n, block_k, engine)
    if tp > 1 and linear.split == "row" and shard.in_features % block_k:
        says = (
            f"Weight input_size_per_partition = {shard.in_features} is not divisible by weight quantization "
            f"block_k = {block_k}."
        )
        return _refusal(says, block_k, shard.in_features)
    misfit = _misfit_output(linear, scheme, shard, tp, block_n)
    if misfit is None:
        return None
    says = f"Weight output_partition_size = {misfit} is not divisible by weight quantization block_n = {block_n}."
    return _refusal(says, block_n, misfit)


def _misfit_output(linear: Linear, scheme: Scheme, shard: LinearShard, tp: int, block_n: int) -> int | None:
    """The first fused part that is no whole number of blocks, where the engine looks at it."""
    split, merged = tp > 1 and linear.split == "column", len(shard.outputs) > 1
    if merged and scheme.method != "compressed-tensors":
        return None  # ColumnParallelLinear._maybe_allow_fp8_block_shape_mismatch lets merged layers pass
    if not split and not merged:
        return None
    checked = shard.outputs if split else shard.outputs[:-1]
    return next((output for output in checked if output % block_n), None)


def _judge_modelopt_blocks(shard: LinearShard, block_n: int, block_k: int, engine: EngineConfig) -> Refusal | None:
    width, rows = shard.in_features, shard.out_features
    if width % block_k:
        return _refusal(f"FP8_PB_WO requires in_features divisible by {block_k}, got {width}.", block_k, width)
    if engine.rules < V0_33 and rows % block_n:
        return _refusal(f"FP8_PB_WO requires out_features divisible by {block_n}, got {rows}.", block_n, rows)
    return None


def _judge_experts(
    scheme: Scheme, shard: ExpertShard, tp: int, candidate: Candidate, engine: EngineConfig
) -> Refusal | None:
    if scheme.storage == "fp8" and scheme.granularity == "block":
        return _judge_expert_blocks(scheme, shard, tp, candidate, engine)
    if scheme.storage == "int":
        return _judge_channel_experts(scheme, candidate, engine) or _judge_expert_groups(scheme, shard)
    if scheme.storage == "mxfp8" and shard.intermediate % MX_GROUP_SIZE:
        says = f"MXFP8 MoE requires intermediate_size_per_partition divisible by 32, got {shard.intermediate}."
        return _refusal(says, MX_GROUP_SIZE, shard.intermediate)
    return None


def _judge_expert_blocks(
    scheme: Scheme, shard: ExpertShard, tp: int, candidate: Candidate, engine: EngineConfig
) -> Refusal | None:
    """validate_fp8_block_shape_moe; from 0.33.0 the scales are refined to the shard where a kernel can take it."""
    block_n, block_k = scheme.block or FP8_BLOCK
    width = shard.intermediate
    rows_misfit, columns_misfit = bool(width % block_n), tp > 1 and bool(width % block_k)
    if not rows_misfit and not columns_misfit:
        return None
    refines = engine.rules >= V0_33 and scheme.method != "compressed-tensors"
    if refines and refined_block(shard, (block_n, block_k)) != (block_n, block_k):
        if candidate.gpu.compute_capability >= NATIVE_FP8:
            return None
        return _refusal("No FP8 MoE backend supports the deployment configuration.", block_n, width)
    side = "output_size of gate's and up's weight" if rows_misfit else "input_size of down's weight"
    block, label = (block_n, "block_n") if rows_misfit else (block_k, "block_k")
    return _refusal(f"The {side} = {width} is not divisible by weight quantization {label} = {block}.", block, width)


def _judge_channel_experts(scheme: Scheme, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """One scale per channel is for Marlin alone; Hopper prefers Humming (quantization/utils/humming/priority.py)."""
    humming = engine.rules >= V0_33 and candidate.gpu.compute_capability == HOPPER
    if scheme.group_size != -1 or scheme.method != "compressed-tensors" or not humming:
        return None
    return Refusal(
        CODE,
        "Experts packed with one scale per channel run on Marlin alone, which gives way to Humming on this GPU; vLLM: "
        "AssertionError: weight_quant.strategy == 'group' (CompressedTensorsWNA16MoEMethod).",
    )


def _judge_expert_groups(scheme: Scheme, shard: ExpertShard) -> Refusal | None:
    group, width = scheme.group_size, shard.intermediate
    if group == -1:
        return None
    if scheme.method != "compressed-tensors":
        from planner.memory.formats.integer import wna16_group_size

        if wna16_group_size(shard, scheme) is None:
            return _refusal("AssertionError: group_size >= 32 (moe_wna16, which halves groups to fit)", 32, width)
        return None
    if width % group:
        says = (
            "CompressedTensors WNA16 MoE with static group scales requires the MoE intermediate size per "
            f"tensor-parallel partition ({width}) to be divisible by group_size ({group})."
        )
        return _refusal(says, group, width)
    if shard.hidden % group:
        says = f"CompressedTensors WNA16 MoE requires hidden_size ({shard.hidden}) to be divisible by group_size."
        return _refusal(says, group, shard.hidden)
    return None


def _refusal(says: str, unit: int, size: int) -> Refusal:
    return Refusal(
        CODE,
        f"A shard of {size} is no whole number of quantization groups or blocks of {unit}; vLLM: {says.rstrip('.')}.",
        unit,
        size,
    )
