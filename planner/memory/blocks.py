"""Weights as a start on the GPU logs them: each storage in a block of torch's allocator, new or left behind."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from planner.engine import V0_33
from planner.memory.allocator import WHOLE_FROM_BYTES, block_bytes, oversize_bytes
from planner.memory.stages import stage_ranges
from planner.memory.weights import INDEX_ITEM_BYTES, Rank, module_storages, rank_sizes, stage_shared
from planner.model.facts import ITEMSIZE_BYTES, Parameter
from planner.model.quantization import engine_quantization, layer_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.model.facts import Layer, ModelFacts, Module
    from planner.model.quantization import Schemes

ROPE = "rope:"  # begins the shared_key of a rope cache (model/architectures/rope.py)
LONGROPE = "longrope"  # made of two caches in another way; not followed here


def stage_block_bytes(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int) -> tuple[int, ...]:
    """The storages of each stage, rank 0, as the blocks that hold them: "Model loading took"."""
    return _stage_block_bytes(Rank(facts, gpu, engine, tp), pp)


@lru_cache(maxsize=2048)
def _stage_block_bytes(rank: Rank, pp: int) -> tuple[int, ...]:
    return tuple(
        blocks + _reuse_bytes(rank, pp, stage) + _picked_bytes(rank, pp, stage)
        for stage, (_, blocks) in enumerate(rank_sizes(rank, pp))
    )


def _picked_bytes(rank: Rank, pp: int, stage: int) -> int:
    """Where the tokens lie that each indexer of latent attention picked, for every row of a decoding batch.

    From 0.33.0 v1/attention/backends/mla/index_group.py SparseMLAIndexGroupBuilder: int32 [rows + 1, index_topk] and
    [rows + 1] for each layer with an indexer, and for a stage's first layer. They are no parameters or buffers of a
    module, so they are not among the storages.
    """
    facts, engine = rank.facts, rank.engine
    if not (facts.is_mla and facts.index_topk) or facts.kv_cache_format or engine.rules < V0_33:
        return 0
    rows = min(engine.max_num_batched_tokens, engine.max_num_seqs) + 1
    groups = _index_groups(facts, stage_ranges(facts.num_hidden_layers, pp)[stage])
    return groups * (block_bytes(rows * facts.index_topk * INDEX_ITEM_BYTES) + block_bytes(rows * INDEX_ITEM_BYTES))


@lru_cache(maxsize=512)
def _index_groups(facts: ModelFacts, layers: range) -> int:
    """Layers of a stage that share no earlier layer's indexer."""
    indexed = [any(map(_is_indexer, run.layer.modules)) for run in facts.layers for _ in range(run.count)]
    return sum(indexed[index] or index == layers.start for index in layers)


def _is_indexer(module: Module) -> bool:
    return module.name.startswith("self_attn.indexer.")


def _reuse_bytes(rank: Rank, pp: int, stage: int) -> int:
    """Too much in the blocks that the making of a rope cache leaves behind and later weights take."""
    facts = rank.facts
    freed = _freed_bytes(facts, pp, stage, old=rank.engine.rules < V0_33)
    if max(freed, default=0) < WHOLE_FROM_BYTES:
        return 0
    layers = stage_ranges(facts.num_hidden_layers, pp)[stage]
    first, later = _later_kinds(facts, rank.engine.quantization, layers, most_alike=len(freed))
    return _oversize_bytes(rank, freed, first, later, with_head=layers.stop == facts.num_hidden_layers)


@lru_cache(maxsize=256)
def _freed_bytes(facts: ModelFacts, pp: int, stage: int, *, old: bool) -> tuple[int, ...]:
    """What the making of a stage's rope caches leaves behind; ``old``: before 0.33.0.

    layers/rotary_embedding/base.py _compute_cos_sin_cache: angles, cosines and sines in fp32, the last two side by
    side, and then the cache in the model's dtype, which takes the block of a half.
    """
    return tuple(
        nbytes
        for rope in stage_shared(facts, pp, stage, tower=False)
        if _is_rope(rope) and rope.dtype is None
        for half in (prod((old and rope.shape_before_0_33) or rope.shape) * ITEMSIZE_BYTES["float32"] // 2,)
        for nbytes in (half, half, 2 * half)
    )


@lru_cache(maxsize=2048)
def _oversize_bytes(
    rank: Rank, freed: tuple[int, ...], first: int | None, later: tuple[int, ...], *, with_head: bool
) -> int:
    return oversize_bytes(freed, _later_storages(rank, first, later, with_head=with_head))


def _is_rope(module: Module) -> bool:
    key = module.shared_key if isinstance(module, Parameter) else None
    return key is not None and key.startswith(ROPE) and LONGROPE not in key


def _later_storages(rank: Rank, first: int | None, later: tuple[int, ...], *, with_head: bool) -> Iterator[int]:
    """Storages of a stage that have blocks of their own, in the order in which they are made, from its first rope on.

    A layer's attention has made its projections before its rope.
    """
    if first is not None:
        yield from _large_storages(rank, first)[0]
    for kind in later:
        yield from _large_storages(rank, kind)[1]
    for module in rank.facts.lm_head if with_head else ():
        yield from module_storages(rank, module, None)


@lru_cache(maxsize=256)
def _later_kinds(
    facts: ModelFacts, quantization: str | None, layers: range, *, most_alike: int
) -> tuple[int | None, tuple[int, ...]]:
    """The kind of the first layer with a rope, and those of the layers after it.

    None where the whole model has a rope, which is made before its layers. Of layers that are alike ``most_alike``
    are enough: each of them takes a block, or none of its kind ever will.
    """
    kinds, order, with_rope = _kinds(facts, quantization)
    first = next((index for index in layers if with_rope[order[index]]), None)
    seen = dict.fromkeys(range(len(kinds)), 0)
    later = []
    for kind in order[layers.start if first is None else first + 1 : layers.stop]:
        seen[kind] += 1
        if seen[kind] <= most_alike:
            later.append(kind)
    return None if first is None else order[first], tuple(later)


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
