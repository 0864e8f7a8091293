"""Weights as a start on the GPU logs them: each storage in a block of torch's allocator, new or left behind."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from planner.engine import V0_33
from planner.memory.allocator import WHOLE_FROM_BYTES, oversize_bytes
from planner.memory.stages import stage_ranges
from planner.memory.weights import Rank, layer_kinds, module_storages, rank_loading_bytes, stage_shared
from planner.model.facts import ITEMSIZE_BYTES, Parameter
from planner.model.quantization import engine_quantization

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.memory.weights import Schemes
    from planner.model.facts import Layer, ModelFacts, Module

ROPE = "rope:"  # begins the shared_key of a rope cache (model/architectures/rope.py)
LONGROPE = "longrope"  # made of two caches in another way; not followed here


def stage_block_bytes(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int) -> tuple[int, ...]:
    """The storages of each stage, rank 0, as the blocks that hold them: "Model loading took"."""
    rank = Rank(facts, gpu, engine, tp, in_blocks=True)
    return tuple(nbytes + _reuse_bytes(rank, pp, stage) for stage, nbytes in enumerate(rank_loading_bytes(rank, pp)))


@lru_cache(maxsize=2048)
def _reuse_bytes(rank: Rank, pp: int, stage: int) -> int:
    """Too much in the blocks that the making of a rope cache leaves behind and later weights take.

    layers/rotary_embedding/base.py _compute_cos_sin_cache: angles, cosines and sines in fp32, the last two side by
    side, and then the cache in the model's dtype, which takes the block of a half.
    """
    freed = [
        nbytes
        for rope in stage_shared(rank.facts, pp, stage, tower=False)
        if _is_rope(rope) and rope.dtype is None
        for half in (_rope_bytes(rank, rope) // 2,)
        for nbytes in (half, half, 2 * half)
    ]
    if max(freed, default=0) < WHOLE_FROM_BYTES:
        return 0
    layers = stage_ranges(rank.facts.num_hidden_layers, pp)[stage]
    return oversize_bytes(freed, _later_storages(rank, layers, most_alike=len(freed)))


def _is_rope(module: Module) -> bool:
    key = module.shared_key if isinstance(module, Parameter) else None
    return key is not None and key.startswith(ROPE) and LONGROPE not in key


def _rope_bytes(rank: Rank, rope: Parameter) -> int:
    """A rope cache in fp32."""
    older = rope.shape_before_0_33 if rank.engine.rules < V0_33 else None
    return prod(older or rope.shape) * ITEMSIZE_BYTES["float32"]


def _later_storages(rank: Rank, layers: range, most_alike: int) -> Iterator[int]:
    """Storages of a stage that have blocks of their own, in the order in which they are made, from its first rope on.

    A layer's attention has made its projections before its rope. Of layers that are alike ``most_alike`` are enough:
    each of them takes a block, or none of its kind ever will.
    """
    kinds, order, with_rope = _kinds(rank.facts, rank.engine.quantization)
    first = next((index for index in layers if with_rope[order[index]]), None)
    if first is None:  # a rope of the whole model, made before its layers
        first = layers.start - 1
    else:
        yield from _large_storages(rank, order[first])[0]
    seen = dict.fromkeys(range(len(kinds)), 0)
    for kind in order[first + 1 : layers.stop]:
        seen[kind] += 1
        if seen[kind] <= most_alike:
            yield from _large_storages(rank, kind)[1]
    for module in rank.facts.lm_head if layers.stop == rank.facts.num_hidden_layers else ():
        yield from module_storages(rank, module, None)


@lru_cache(maxsize=64)
def _kinds(
    facts: ModelFacts, quantization: str | None
) -> tuple[tuple[tuple[Layer, Schemes], ...], tuple[int, ...], tuple[bool, ...]]:
    """The kinds of layers, the kind of every layer, and which kinds have a rope."""
    kinds, order = layer_kinds(facts, engine_quantization(facts, quantization))
    return kinds, order, tuple(any(map(_is_rope, layer.modules)) for layer, _ in kinds)


@lru_cache(maxsize=4096)
def _large_storages(rank: Rank, kind: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of one kind of layer: those made after its attention, and all."""
    layer, schemes = _kinds(rank.facts, rank.engine.quantization)[0][kind]
    found = [
        (module.name.startswith("self_attn."), nbytes)
        for module, scheme in zip(layer.modules, schemes, strict=True)
        if not isinstance(module, Parameter)
        for nbytes in module_storages(rank, module, scheme)
        if nbytes >= WHOLE_FROM_BYTES
    ]
    return tuple(nbytes for attention, nbytes in found if not attention), tuple(nbytes for _, nbytes in found)
