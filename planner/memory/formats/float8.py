"""FP8 weights after loading: native kernels keep the checkpoint's layout, older GPUs repack for Marlin."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from planner.memory.formats.place import NATIVE_BLOCK_FP8, NATIVE_FP8
from planner.memory.formats.tiles import ceil_div, marlin_padded, marlin_padded_experts, round_up
from planner.memory.formats.unquantized import bias_bytes
from planner.model.quantization.scheme import MX_GROUP_SIZE

if TYPE_CHECKING:
    from planner.memory.formats.place import Place
    from planner.memory.formats.shard import ExpertShard, LinearShard
    from planner.model.quantization import Scheme

SCALE = 4  # bytes of an fp32 scale
CUTLASS_ALIGNMENT = 16  # CutlassFP8ScaledMMLinearKernel pads both sides of [K, N]
SMALLEST_REFINED_BLOCK = 32  # oracle/fp8.py refine_fp8_moe_block_shape


def float8_linear(shard: LinearShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """Weight, scales, bias of one FP8 linear layer."""
    if scheme.storage == "mxfp8":
        return _mxfp8_linear(shard, place)
    if scheme.granularity == "block":
        return _block_linear(shard, scheme, place)
    if place.capability < NATIVE_FP8 or scheme.weight_only:
        return _weight_only_linear(shard, place)
    width = round_up(shard.out_features, CUTLASS_ALIGNMENT)
    weight = width * round_up(shard.in_features, CUTLASS_ALIGNMENT)
    # Merged layers arrive with one scale per part and are requantized to the largest.
    scale = SCALE if scheme.granularity == "tensor" else width * SCALE
    return (weight, scale, *((SCALE,) if scheme.static_input else ()), *bias_bytes(shard, place.dtype))


def _weight_only_linear(shard: LinearShard, place: Place) -> tuple[int, ...]:
    """Marlin: one scale per output channel in the model's dtype (marlin_utils_fp8.prepare_fp8_layer_for_marlin)."""
    width, depth = marlin_padded(shard.out_features, shard.in_features)
    bias = (width * place.itemsize,) if shard.bias else ()
    return (width * depth, width * place.itemsize, *bias)


def _block_linear(shard: LinearShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    block_n, block_k = scheme.block or (128, 128)
    if place.capability >= NATIVE_BLOCK_FP8:
        rows = sum(ceil_div(output, block_n) for output in shard.outputs)
        scales = rows * ceil_div(shard.in_features, block_k) * scheme.block_scale_bytes
        return (shard.out_features * shard.in_features, scales, *bias_bytes(shard, place.dtype))
    if scheme.method == "compressed-tensors" and place.capability < NATIVE_FP8:
        # CompressedTensorsW8A16Fp8: Humming keeps the blocks' fp32 scales.
        scales = ceil_div(shard.out_features, block_n) * ceil_div(shard.in_features, block_k) * SCALE
        return (shard.out_features * shard.in_features, scales, *bias_bytes(shard, place.dtype))
    width, depth = marlin_padded(shard.out_features, shard.in_features, block_k)
    bias = (width * place.itemsize,) if shard.bias else ()
    return (width * depth, depth // block_k * width * place.itemsize, *bias)


def _mxfp8_linear(shard: LinearShard, place: Place) -> tuple[int, ...]:
    """One e8m0 byte per 32; Blackwell swizzles scales in tiles of 128 × 4, the rest repacks for Marlin."""
    if place.capability >= 100:
        scales = round_up(shard.out_features, 128) * round_up(shard.in_features // MX_GROUP_SIZE, 4)
        return (shard.out_features * shard.in_features, scales, *bias_bytes(shard, place.dtype))
    width, depth = marlin_padded(shard.out_features, shard.in_features, MX_GROUP_SIZE)
    bias = (width * place.itemsize,) if shard.bias else ()
    return (width * depth, width * depth // MX_GROUP_SIZE, *bias)


def float8_experts(shard: ExpertShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """w13 and w2 with their scales."""
    if scheme.storage == "mxfp8":
        return _mxfp8_experts(shard)
    marlin = place.capability < NATIVE_FP8
    width = shard.intermediate
    if marlin:
        width = marlin_padded_experts(width, scheme.block[1] if scheme.block else -1)
    rows = width * shard.gates
    weights = (shard.count * rows * shard.hidden, shard.count * shard.hidden * width)
    inputs: tuple[int, ...] = (SCALE, SCALE) if scheme.static_input and scheme.granularity == "tensor" else ()
    if not marlin and inputs and place.capability >= 90 and not place.is_datacenter_blackwell:
        inputs = (*inputs, shard.count * SCALE, shard.count * SCALE)  # FlashInfer's g1_alphas, g2_alphas
    return (*weights, *_expert_scales(shard, scheme, place, width, marlin), *inputs)


def _expert_scales(shard: ExpertShard, scheme: Scheme, place: Place, width: int, marlin: bool) -> tuple[int, int]:
    if scheme.granularity == "block":
        return _expert_block_scales(shard, scheme, place, width, marlin)
    if marlin:
        return shard.count * width * shard.gates * place.itemsize, shard.count * shard.hidden * place.itemsize
    if scheme.granularity == "tensor":
        return shard.count * SCALE, shard.count * SCALE
    return shard.count * width * shard.gates * SCALE, shard.count * shard.hidden * SCALE


def _expert_block_scales(shard: ExpertShard, scheme: Scheme, place: Place, width: int, marlin: bool) -> tuple[int, int]:
    block_n, block_k = scheme.block or (128, 128)
    if marlin:  # expanded along the output: one scale per block_k inputs and every output
        w13 = shard.count * ceil_div(shard.hidden, block_k) * width * shard.gates * place.itemsize
        return w13, shard.count * ceil_div(width, block_k) * shard.hidden * place.itemsize
    block_n, block_k = refined_block(shard, scheme.block or (128, 128))
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


def _mxfp8_experts(shard: ExpertShard) -> tuple[int, ...]:
    w13 = shard.count * shard.w13_rows * shard.hidden
    w2 = shard.count * shard.hidden * shard.intermediate
    return (w13, w2, w13 // MX_GROUP_SIZE, w2 // MX_GROUP_SIZE)
