"""Integer weights after loading: packed weight-only integers (GPTQ, AWQ, pack-quantized) and INT8 w8a8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.memory.formats.place import EXPERT_BLOCKS_PER_SM, HOPPER, V0_33
from planner.memory.formats.tiles import (
    MACHETE_GROUP_SIZES,
    MACHETE_TILE_K,
    MACHETE_TILE_N,
    marlin_padded,
    marlin_padded_experts,
)
from planner.memory.formats.unquantized import bias_bytes

if TYPE_CHECKING:
    from planner.memory.formats.place import Place
    from planner.memory.formats.shard import ExpertShard, LinearShard
    from planner.model.quantization import Scheme

SCALE = 4  # bytes of an fp32 scale
INDEX = 4  # bytes of one activation-order index
MARLIN_GROUP_SIZES = (-1, 32, 64, 128)  # marlin_utils.MARLIN_SUPPORTED_GROUP_SIZES
SMALLEST_WNA16_GROUP = 32
WEIGHT_SHAPE = 16  # two int64: compressed-tensors' weight_shape


def int8_linear(shard: LinearShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """w8a8: fp32 scales per output channel; a merged layer's scales per tensor are spread over its channels."""
    per_tensor = scheme.granularity == "tensor" and len(shard.outputs) == 1
    scales = SCALE if per_tensor else shard.out_features * SCALE
    zero_point = (shard.out_features * SCALE,) if not scheme.symmetric else ()  # azp_adj
    inputs = () if not scheme.static_input else (SCALE,) if scheme.symmetric else (SCALE, SCALE)
    weight = shard.out_features * shard.in_features
    return (weight, scales, *inputs, *zero_point, *bias_bytes(shard, place.dtype))


def int8_experts(shard: ExpertShard) -> tuple[int, ...]:
    """w13, w2 and fp32 scales per output channel."""
    rows, columns = shard.w13_rows, shard.hidden
    return (
        shard.count * rows * columns,
        shard.count * columns * shard.intermediate,
        shard.count * rows * SCALE,
        shard.count * columns * SCALE,
    )


def packed_linear(shard: LinearShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """Machete on Hopper where the shape allows, Marlin elsewhere (choose_mp_linear_kernel)."""
    if uses_machete(shard, scheme, place):
        return _machete_linear(shard, scheme, place)
    width, depth = marlin_padded(shard.out_features, shard.in_features, scheme.group_size)
    # With an activation order every rank needs the scales of the whole input.
    scaled = shard.full_in_features if scheme.act_order else depth
    groups = 1 if scheme.group_size == -1 else scaled // scheme.group_size
    zero_points = () if scheme.symmetric else (groups * width * scheme.bits // 8,)
    bias = (width * place.itemsize,) if shard.bias else ()
    return (
        width * depth * scheme.bits // 8,
        groups * width * place.itemsize,
        *zero_points,
        *_extras(shard, scheme, indices=2 if scheme.act_order else 0),
        *bias,
        *place.marlin_locks(),
    )


def uses_machete(shard: LinearShard, scheme: Scheme, place: Place) -> bool:
    """MacheteLinearKernel.can_implement."""
    return (
        place.capability == HOPPER
        and scheme.group_size in MACHETE_GROUP_SIZES
        and shard.in_features % MACHETE_TILE_K == 0
        and shard.out_features % MACHETE_TILE_N == 0
    )


def _machete_linear(shard: LinearShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """Zero points become numbers of the model's dtype; a GPTQ checkpoint's unused ones stay as they came."""
    groups = 1 if scheme.group_size == -1 else shard.in_features // scheme.group_size
    scales = groups * shard.out_features * place.itemsize
    zero_points: tuple[int, ...] = ()
    if not scheme.symmetric:
        zero_points = (scales,)
    elif scheme.method == "auto_gptq":
        zero_points = (groups * shard.out_features * scheme.bits // 8,)
    weight = shard.out_features * shard.in_features * scheme.bits // 8
    return (
        weight,
        scales,
        *zero_points,
        *_extras(shard, scheme, indices=_machete_indices(scheme, place)),
        *bias_bytes(shard, place.dtype),
    )


def _machete_indices(scheme: Scheme, place: Place) -> int:
    """g_idx: 0.25.0 leaves a GPTQ checkpoint's where it is, needed or not."""
    always = scheme.method == "auto_gptq" and place.rules < V0_33
    return 1 if always or scheme.act_order else 0


def _extras(shard: LinearShard, scheme: Scheme, indices: int) -> tuple[int, ...]:
    """weight_shape of compressed-tensors, and the indices of an activation order (0.25.0; 0.33.0 refuses it)."""
    shape = (WEIGHT_SHAPE,) if scheme.method == "compressed-tensors" else ()
    return (*shape, *((shard.in_features * INDEX,) * indices))


def packed_experts(shard: ExpertShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """Marlin's layout: weights, scales in the model's dtype, zero points (a GPTQ checkpoint's unused ones stay)."""
    if scheme.method != "compressed-tensors" and not marlin_takes_experts(shard, scheme):
        return _wna16_experts(shard, scheme, place)
    width = marlin_padded_experts(shard.intermediate, scheme.group_size)
    shapes = ((width * shard.gates, shard.hidden), (shard.hidden, width))
    keeps_zero_points = not scheme.symmetric or scheme.method == "auto_gptq"
    # 0.25.0 makes a GPTQ checkpoint's unused zero points, 32 bits packed to one number, in the model's dtype.
    packed = place.itemsize if place.rules < V0_33 and scheme.method == "auto_gptq" else 4
    storages: list[int] = []
    for rows, columns in shapes:
        groups = 1 if scheme.group_size == -1 else columns // scheme.group_size
        storages += [
            shard.count * rows * columns * scheme.bits // 8,
            shard.count * groups * rows * place.itemsize,
            *((shard.count * groups * rows * scheme.bits // 32 * packed,) if keeps_zero_points else ()),
            *((shard.count * 2 * place.itemsize,) if scheme.method == "compressed-tensors" else ()),
        ]
    return (*storages, *place.marlin_locks(EXPERT_BLOCKS_PER_SM))


def marlin_takes_experts(shard: ExpertShard, scheme: Scheme) -> bool:
    """marlin_utils.check_moe_marlin_supports_config; AWQ and GPTQ fall back to moe_wna16 where it does not."""
    whole_groups = scheme.group_size <= 0 or shard.intermediate % scheme.group_size == 0
    return shard.hidden % 128 == 0 and whole_groups and scheme.group_size in MARLIN_GROUP_SIZES


def wna16_group_size(shard: ExpertShard, scheme: Scheme) -> int | None:
    """moe_wna16 halves the group until it fits both sides; below 32 the engine gives up (None)."""
    group = scheme.group_size
    while group >= SMALLEST_WNA16_GROUP and (shard.intermediate % group or shard.hidden % group):
        group //= 2
    return group if group >= SMALLEST_WNA16_GROUP else None


def _wna16_experts(shard: ExpertShard, scheme: Scheme, place: Place) -> tuple[int, ...]:
    """moe_wna16.py MoeWNA16Method: the checkpoint's layout."""
    group = wna16_group_size(shard, scheme) or SMALLEST_WNA16_GROUP
    storages: list[int] = []
    for rows, columns in ((shard.w13_rows, shard.hidden), (shard.hidden, shard.intermediate)):
        groups = shard.count * rows * (columns // group)
        zero_points = () if scheme.symmetric else (groups * scheme.bits // 8,)
        storages += [shard.count * rows * columns * scheme.bits // 8, groups * place.itemsize, *zero_points]
    return tuple(storages)
