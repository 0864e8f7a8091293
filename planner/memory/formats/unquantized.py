"""Weights that no format touches (UnquantizedLinearMethod, UnquantizedFusedMoEMethod)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.memory.formats.tiles import round_up
from planner.model.facts import ITEMSIZE_BYTES

if TYPE_CHECKING:
    from planner.memory.formats.place import Place
    from planner.memory.formats.shard import ExpertShard, LinearShard

TRTLLM_WIDTH = 128  # flashinfer_utils.align_moe_weights_for_fi


def bias_bytes(shard: LinearShard, dtype: str) -> tuple[int, ...]:
    """The bias of a linear layer in the model's dtype; row-parallel biases lie whole on every rank."""
    return (shard.out_features * ITEMSIZE_BYTES[dtype],) if shard.bias else ()


def unquantized_linear(shard: LinearShard, dtype: str) -> tuple[int, ...]:
    """One weight and its bias."""
    weight = shard.out_features * shard.in_features * ITEMSIZE_BYTES[dtype]
    return (weight, *bias_bytes(shard, dtype))


def unquantized_experts(shard: ExpertShard, place: Place) -> tuple[int, ...]:
    """w13, w2 and their biases; FlashInfer's TRT-LLM kernels want whole tiles (oracle/unquantized.py)."""
    trtllm = place.is_datacenter_blackwell and place.flashinfer and place.dtype == "bfloat16" and not shard.bias
    width = round_up(shard.intermediate, TRTLLM_WIDTH) if trtllm else shard.intermediate
    w13 = shard.count * width * shard.gates * shard.hidden * place.itemsize
    w2 = shard.count * shard.hidden * width * place.itemsize
    if not shard.bias:
        return (w13, w2)
    return (w13, w2, shard.count * shard.w13_rows * place.itemsize, shard.count * shard.hidden * place.itemsize)
