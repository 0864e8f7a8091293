"""Weights that no format touches (UnquantizedLinearMethod, UnquantizedFusedMoEMethod)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.model.facts import ITEMSIZE_BYTES

if TYPE_CHECKING:
    from planner.memory.formats.shard import ExpertShard, LinearShard


def bias_bytes(shard: LinearShard, dtype: str) -> tuple[int, ...]:
    """The bias of a linear layer in the model's dtype; row-parallel biases lie whole on every rank."""
    return (shard.out_features * ITEMSIZE_BYTES[dtype],) if shard.bias else ()


def unquantized_linear(shard: LinearShard, dtype: str) -> tuple[int, ...]:
    """One weight and its bias."""
    weight = shard.out_features * shard.in_features * ITEMSIZE_BYTES[dtype]
    return (weight, *bias_bytes(shard, dtype))


def unquantized_experts(shard: ExpertShard, dtype: str) -> tuple[int, ...]:
    """w13, w2 and their biases."""
    itemsize = ITEMSIZE_BYTES[dtype]
    w13 = shard.count * shard.w13_rows * shard.hidden * itemsize
    w2 = shard.count * shard.hidden * shard.intermediate * itemsize
    if not shard.bias:
        return (w13, w2)
    return (w13, w2, shard.count * shard.w13_rows * itemsize, shard.count * shard.hidden * itemsize)
