"""FP4 weights after loading: NVFP4 and MXFP4, native on Blackwell, repacked for weight-only kernels elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.memory.formats.place import EXPERT_BLOCKS_PER_SM, HOPPER, NATIVE_FP4, RTX_BLACKWELL, V0_33
from planner.memory.formats.tiles import marlin_padded, round_up
from planner.memory.formats.unquantized import bias_bytes
from planner.model.quantization.scheme import MX_GROUP_SIZE, NVFP4_GROUP_SIZE

if TYPE_CHECKING:
    from planner.memory.formats.place import Place
    from planner.memory.formats.shard import ExpertShard, LinearShard
    from planner.model.quantization import Scheme

SCALAR = 4  # bytes of an fp32 scale per tensor
CUTLASS_FP4_ALIGNMENT = 32  # nvfp4_utils.pad_nvfp4_weight_for_cutlass
SWIZZLE_ROWS, SWIZZLE_COLUMNS = 128, 4  # nvfp4_utils.swizzle_blockscale
TRTLLM_HIDDEN = 256  # flashinfer_utils.align_fp4_moe_hidden_dim_for_fi
W13_ROWS = 128  # flashinfer_utils.align_fp4_moe_weights_for_fi


def float4_linear(shard: LinearShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """Weight, block scales, scalars, bias of one FP4 linear layer."""
    if scheme.storage == "mxfp4":
        return _mxfp4_linear(shard, place)
    # alpha, input_global_scale, its inverse, weight_global_scale; the last alone without activation scales
    scalars = (SCALAR,) * (1 if scheme.weight_only else 4)
    if place.capability >= NATIVE_FP4 and not scheme.weight_only:
        width = round_up(shard.out_features, CUTLASS_FP4_ALIGNMENT)
        depth = round_up(shard.in_features, CUTLASS_FP4_ALIGNMENT)
        groups = round_up(shard.in_features // NVFP4_GROUP_SIZE, SWIZZLE_COLUMNS)
        scales = round_up(shard.out_features, SWIZZLE_ROWS) * groups
        return (width * depth // 2, scales, *scalars, *bias_bytes(shard, place.dtype))
    return _marlin_linear(shard, NVFP4_GROUP_SIZE, scalars, place)


def _mxfp4_linear(shard: LinearShard, place: Place) -> tuple[int, ...]:
    if place.capability >= NATIVE_FP4:
        groups = round_up(shard.in_features // MX_GROUP_SIZE, SWIZZLE_COLUMNS)
        scales = round_up(shard.out_features, SWIZZLE_ROWS) * groups
        return (shard.out_features * shard.in_features // 2, scales, *bias_bytes(shard, place.dtype))
    return _marlin_linear(shard, MX_GROUP_SIZE, (), place)


def _marlin_linear(shard: LinearShard, group_size: int, scalars: tuple[int, ...], place: Place) -> tuple[int, ...]:
    """marlin_utils_fp4.prepare_fp4_layer_for_marlin: one scale byte per group."""
    width, depth = marlin_padded(shard.out_features, shard.in_features, group_size)
    bias = (width * place.itemsize,) if shard.bias else ()
    return (width * depth // 2, width * depth // group_size, *scalars, *bias, *place.marlin_locks())


def nvfp4_experts(shard: ExpertShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """FlashInfer on Blackwell (TRT-LLM on B200 and B300), Marlin elsewhere (oracle/nvfp4.py)."""
    native = place.capability >= NATIVE_FP4 and place.flashinfer and not scheme.weight_only
    if native:
        hidden = round_up(shard.hidden, TRTLLM_HIDDEN) if place.is_datacenter_blackwell else shard.hidden
        width = round_up(shard.intermediate, W13_ROWS // shard.gates)
    else:
        hidden = shard.hidden
        width = round_up(shard.intermediate, 64 if hidden % 128 == 0 else 128)
    w13, w2 = shard.count * width * shard.gates * hidden, shard.count * hidden * width
    scalars = (shard.count * SCALAR,) * (7 if native else 2)
    locks = () if native else place.marlin_locks(EXPERT_BLOCKS_PER_SM)
    if scheme.method == "compressed-tensors":  # the checkpoint's own global scales stay beside the kernel's
        gates = shard.count * shard.gates * SCALAR
        scalars = (*scalars, gates, gates, shard.count * SCALAR, shard.count * SCALAR)
    return (w13 // 2, w2 // 2, w13 // NVFP4_GROUP_SIZE, w2 // NVFP4_GROUP_SIZE, *scalars, *locks)


def mxfp4_experts(shard: ExpertShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """Widths are rounded up per kernel (oracle/mxfp4.py mxfp4_round_up_hidden_size_and_intermediate_size)."""
    if _uses_triton(scheme, place):
        return _triton_mxfp4_experts(shard, place)
    hidden, width = shard.hidden, shard.intermediate
    if scheme.method != "compressed-tensors":
        deep_gemm = place.capability >= RTX_BLACKWELL and scheme.method != "gpt_oss_mxfp4" and place.rules >= V0_33
        hidden, width = round_up(hidden, 128 if deep_gemm else 256), round_up(width, 128)
    w13, w2 = shard.count * width * shard.gates * hidden, shard.count * hidden * width
    storages = (w13 // 2, w2 // 2, w13 // MX_GROUP_SIZE, w2 // MX_GROUP_SIZE)
    locks = place.marlin_locks(EXPERT_BLOCKS_PER_SM) if scheme.method == "compressed-tensors" else ()
    return (*storages, *_biases(shard, hidden, width, 4 if _uses_trtllm(place) else 2), *locks)


def _uses_triton(scheme: Scheme, place: Place) -> bool:
    """gpt-oss on Hopper, and on B200 without FlashInfer (oracle/mxfp4.py _get_priority_backends_for_gpt_oss)."""
    if scheme.method != "gpt_oss_mxfp4":
        return False
    return place.capability == HOPPER or (place.is_datacenter_blackwell and not place.flashinfer)


def _uses_trtllm(place: Place) -> bool:
    return place.is_datacenter_blackwell and place.flashinfer


def _biases(shard: ExpertShard, hidden: int, width: int, itemsize: int) -> tuple[int, ...]:
    if not shard.bias:
        return ()
    return shard.count * width * shard.gates * itemsize, shard.count * hidden * itemsize


def _triton_mxfp4_experts(shard: ExpertShard, place: Place) -> tuple[int, ...]:
    """OAI's Triton kernels: biases in fp32, values and scales swizzled (third_party/triton_kernels layouts).

    Hopper's value layout needs N in 16 and K in 64 elements, its scale layout N in 256 rows and K in 2 groups
    (0.33.0: 4, mxfp4_utils._swizzle_mxfp4).
    """
    width = round_up(shard.intermediate, 64)
    groups_multiple = 4 if place.rules >= V0_33 else 2
    storages: list[int] = []
    for rows, columns in ((width * shard.gates, shard.hidden), (shard.hidden, width)):
        groups = round_up(columns // MX_GROUP_SIZE, groups_multiple)
        values = round_up(rows, 16) * round_up(columns, 64) // 2
        storages += [shard.count * values, shard.count * round_up(rows, 256) * groups]
    return (*storages, *_biases(shard, shard.hidden, width, 4))
