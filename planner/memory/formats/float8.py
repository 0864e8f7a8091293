"""FP8 weights after loading: native kernels keep the checkpoint's layout, older GPUs repack for Marlin."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from planner.memory.formats.place import EXPERT_BLOCKS_PER_SM, NATIVE_BLOCK_FP8, NATIVE_FP4, NATIVE_FP8, V0_33
from planner.memory.formats.tiles import ceil_div, marlin_padded, marlin_padded_experts, round_up
from planner.memory.formats.unquantized import bias_bytes
from planner.model.quantization.scheme import FP8_BLOCK, MX_GROUP_SIZE

if TYPE_CHECKING:
    from planner.memory.formats.place import Place
    from planner.memory.formats.shard import ExpertShard, LinearShard
    from planner.model.quantization import Scheme

SCALE = 4  # bytes of an fp32 scale
CUTLASS_ALIGNMENT = 16  # CutlassFP8ScaledMMLinearKernel pads both sides of [K, N]
FLASHINFER_EXPERTS = 90  # FlashInfer's CUTLASS and TRT-LLM experts
FLASHINFER_GATED, FLASHINFER_UNGATED = 16, 128  # flashinfer_utils.prepare_fp8_moe_layer_for_fi
SMALLEST_REFINED_BLOCK = 32  # oracle/fp8.py refine_fp8_moe_block_shape


def float8_linear(shard: LinearShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """Weight, scales, bias of one FP8 linear layer."""
    if scheme.storage == "mxfp8":
        return _mxfp8_linear(shard, place)
    if scheme.granularity == "block":
        return _block_linear(shard, scheme, place)
    if place.capability < NATIVE_FP8 or scheme.weight_only:
        return _weight_only_linear(shard, place)
    # Per-tensor scales on both sides go to FlashInfer on Blackwell, which takes any shape.
    any_shape = _is_static_tensor(scheme) and place.capability >= NATIVE_FP4 and place.flashinfer
    alignment = 1 if any_shape else CUTLASS_ALIGNMENT
    width = round_up(shard.out_features, alignment)
    weight = width * round_up(shard.in_features, alignment)
    # Merged layers arrive with one scale per part and are requantized to the largest.
    scale = SCALE if scheme.granularity == "tensor" else width * SCALE
    return (weight, scale, *((SCALE,) if scheme.static_input else ()), *bias_bytes(shard, place.dtype))


def _is_static_tensor(scheme: Scheme) -> bool:
    return scheme.granularity == "tensor" and scheme.static_input


def _weight_only_linear(shard: LinearShard, place: Place) -> tuple[int, ...]:
    """Marlin: one scale per output channel in the model's dtype (marlin_utils_fp8.prepare_fp8_layer_for_marlin)."""
    width, depth = marlin_padded(shard.out_features, shard.in_features)
    bias = (width * place.itemsize,) if shard.bias else ()
    return (width * depth, width * place.itemsize, *bias, *place.marlin_locks())


def _block_linear(shard: LinearShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    block_n, block_k = scheme.block or FP8_BLOCK
    if not _marlin_takes_blocks(scheme, place):
        rows = sum(ceil_div(output, block_n) for output in shard.outputs)
        scales = rows * ceil_div(shard.in_features, block_k) * scheme.block_scale_bytes
        # ModelOpt's FP8_PB_WO pads the output to whole blocks.
        width = round_up(shard.out_features, block_n) if scheme.method == "modelopt" else shard.out_features
        return (width * shard.in_features, scales, *bias_bytes(shard, place.dtype))
    width, depth = marlin_padded(shard.out_features, shard.in_features, block_k)
    bias = (width * place.itemsize,) if shard.bias else ()
    return (width * depth, depth // block_k * width * place.itemsize, *bias, *place.marlin_locks())


def _marlin_takes_blocks(scheme: Scheme, place: Place) -> bool:
    """0.33.0 puts Marlin before Triton's block kernel on Ada; 0.25.0 keeps Triton there, for ModelOpt everywhere."""
    if place.rules >= V0_33:
        return place.capability < NATIVE_BLOCK_FP8
    return place.capability < NATIVE_FP8 and scheme.method != "modelopt"


def _mxfp8_linear(shard: LinearShard, place: Place) -> tuple[int, ...]:
    """One e8m0 byte per 32; Blackwell swizzles scales in tiles of 128 × 4, the rest repacks for Marlin."""
    if place.capability >= NATIVE_FP4:
        scales = round_up(shard.out_features, 128) * round_up(shard.in_features // MX_GROUP_SIZE, 4)
        return (shard.out_features * shard.in_features, scales, *bias_bytes(shard, place.dtype))
    width, depth = marlin_padded(shard.out_features, shard.in_features, MX_GROUP_SIZE)
    bias = (width * place.itemsize,) if shard.bias else ()
    return (width * depth, width * depth // MX_GROUP_SIZE, *bias, *place.marlin_locks())


def float8_experts(shard: ExpertShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """w13 and w2 with their scales."""
    if scheme.storage == "mxfp8":
        return _mxfp8_experts(shard, place)
    marlin = place.capability < NATIVE_FP8
    flashinfer = _is_static_tensor(scheme) and place.capability >= FLASHINFER_EXPERTS and place.flashinfer
    width = shard.intermediate
    if marlin:
        width = marlin_padded_experts(width, scheme.block[1] if scheme.block else -1)
    elif flashinfer:
        width = round_up(width, FLASHINFER_GATED if shard.gated else FLASHINFER_UNGATED)
    rows = width * shard.gates
    weights = (shard.count * rows * shard.hidden, shard.count * shard.hidden * width)
    inputs = (SCALE, SCALE) if _is_static_tensor(scheme) else ()
    alphas = (shard.count * SCALE,) * 2 if flashinfer and not place.is_datacenter_blackwell else ()
    locks = place.marlin_locks(EXPERT_BLOCKS_PER_SM) if marlin else ()
    return (*weights, *_expert_scales(shard, scheme, place, width, marlin), *inputs, *alphas, *locks)


def _expert_scales(shard: ExpertShard, scheme: Scheme, place: Place, width: int, marlin: bool) -> tuple[int, int]:
    if scheme.granularity == "block":
        return _expert_block_scales(shard, scheme, place, width, marlin)
    if marlin:
        return shard.count * width * shard.gates * place.itemsize, shard.count * shard.hidden * place.itemsize
    if scheme.granularity == "tensor":
        return shard.count * SCALE, shard.count * SCALE
    return shard.count * width * shard.gates * SCALE, shard.count * shard.hidden * SCALE


def _expert_block_scales(shard: ExpertShard, scheme: Scheme, place: Place, width: int, marlin: bool) -> tuple[int, int]:
    block_n, block_k = scheme.block or FP8_BLOCK
    if marlin:  # expanded along the output: one scale per block_k inputs and every output
        w13 = shard.count * ceil_div(shard.hidden, block_k) * width * shard.gates * place.itemsize
        return w13, shard.count * ceil_div(width, block_k) * shard.hidden * place.itemsize
    block_n, block_k = refined_block(shard, scheme.block or FP8_BLOCK)
    w13 = shard.gates * ceil_div(width, block_n) * ceil_div(shard.hidden, block_k)
    w2 = ceil_div(shard.hidden, block_n) * ceil_div(width, block_k)
    return shard.count * w13 * SCALE, shard.count * w2 * SCALE


def refined_block(shard: ExpertShard, block: tuple[int, int]) -> tuple[int, int]:
    """0.33.0 refines the scale grid where a block straddles shards (oracle/fp8.py refine_fp8_moe_block_shape)."""
    split = shard.intermediate != shard.full_intermediate
    if shard.intermediate % block[0] == 0 and (not split or shard.intermediate % block[1] == 0):
        return block
    refined = gcd(*block, shard.intermediate, shard.hidden)
    return (refined, refined) if refined >= SMALLEST_REFINED_BLOCK else block


def _mxfp8_experts(shard: ExpertShard, place: Place) -> tuple[int, ...]:
    """FlashInfer's TRT-LLM kernels on B200 and B300, Marlin elsewhere."""
    hidden, width = shard.hidden, marlin_padded_experts(shard.intermediate, 128)
    locks = place.marlin_locks(EXPERT_BLOCKS_PER_SM)
    if place.is_datacenter_blackwell and place.flashinfer:
        hidden, locks = round_up(hidden, 256), ()  # flashinfer_utils.align_mxfp8_moe_weights_for_fi_trtllm
    w13 = shard.count * width * shard.gates * hidden
    w2 = shard.count * hidden * width
    return (w13, w2, w13 // MX_GROUP_SIZE, w2 // MX_GROUP_SIZE, *locks)
