"""Padding to the tiles of the kernels: Marlin, CUTLASS, FlashInfer, Triton."""

from __future__ import annotations

from math import lcm

MACHETE_TILE_K, MACHETE_TILE_N = 64, 128  # machete_utils.MACHETE_PREPACKED_BLOCK_SHAPE
MACHETE_GROUP_SIZES = (-1, 64, 128)  # machete_utils.query_machete_supported_group_sizes, 16-bit activations


def round_up(value: int, multiple: int) -> int:
    """The next multiple."""
    return -(-value // multiple) * multiple


def ceil_div(value: int, divisor: int) -> int:
    """Blocks that cover ``value``."""
    return -(-value // divisor)


def marlin_padded(out_features: int, in_features: int, group_size: int = -1) -> tuple[int, int]:
    """(padded n, padded k): tiles of 64 × 128 or 128 × 64, whichever is less (marlin_utils.marlin_padded_nk)."""
    group = max(group_size, 1)
    candidates = (
        (round_up(out_features, 64), round_up(in_features, lcm(128, group))),
        (round_up(out_features, 128), round_up(in_features, lcm(64, group))),
    )
    return min(candidates, key=lambda nk: (nk[0] * nk[1], nk[0] + nk[1]))


def marlin_padded_experts(intermediate_size: int, group_size: int = -1) -> int:
    """Width of experts in Marlin's tiles (marlin_utils.marlin_moe_padded_intermediate)."""
    return round_up(intermediate_size, lcm(64, max(group_size, 1)))
