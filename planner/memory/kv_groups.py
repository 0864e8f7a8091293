"""Grouping: layers that share a block table, and what one block costs each pipeline stage.

vllm/v1/core/kv_cache_planning.py (0.33.0) and kv_cache_utils.py (0.25.0), get_kv_cache_groups.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from planner.engine import V0_33
from planner.memory.kv_specs import ceil_div

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from planner.engine import Version
    from planner.memory.kv_specs import KvSpec

Bucket = tuple["KvSpec", tuple[int, ...]]  # a spec and the indices of the layers that have it

FULL = frozenset({"full", "mla"})  # registered as one uniform type (register_all_kvcache_specs)
FEW_MORE = 1.5  # _get_kv_cache_groups_uniform_page_size: below that the larger count is the group size


class UngroupableError(ValueError):
    """vLLM finds no common page for these caches; the message is the reason."""


class KvGroup(Struct, frozen=True):
    """Layers under one block table. ``members``: each spec with its layers; several specs where pages differ."""

    members: tuple[Bucket, ...]

    @property
    def spec(self) -> KvSpec:
        return self.members[0][0]

    def block_bytes(self, layers: range, *, packed: bool = False) -> int:
        """Bytes of one block on the stage that holds ``layers``; ``packed``: pages lie side by side, unpadded."""
        return sum(
            (spec.size_bytes if packed else spec.stride_bytes) * _count(indices, layers)
            for spec, indices in self.members
        )


def group_layers(buckets: Sequence[Bucket], rules: Version, *, hybrid_manager: bool = True) -> tuple[KvGroup, ...]:
    """Groups of a model's caches, as vLLM forms them over all pipeline stages together."""
    if not hybrid_manager:
        buckets = _promoted(buckets)
    if not buckets:
        return ()
    if _one_type([spec for spec, _ in buckets]):
        return (KvGroup(tuple(buckets)),)
    return _equal_groups(_merged(_unified(buckets, rules)))


def _one_type(specs: Sequence[KvSpec]) -> bool:
    """Whether all layers need the same number of token slots (UniformTypeKVCacheSpecs.is_uniform_type)."""
    first = specs[0]
    if any(spec.block_size != first.block_size for spec in specs):
        return False
    if all(spec.kind in FULL for spec in specs):
        return True
    return all(
        spec.kind == first.kind
        and spec.window_tokens == first.window_tokens
        and spec.blocks == first.blocks
        and (spec.kind != "mamba" or spec.size_bytes == first.size_bytes)
        for spec in specs
    )


def _promoted(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Windows kept in full where some layer attends to everything (unify_hybrid_kv_cache_specs)."""
    full = next((spec for spec, _ in buckets if spec.kind in FULL), None)
    if full is None:
        return list(buckets)
    return _merged(
        [
            (_as_full(spec, full.block_size), indices) if spec.kind in {"sliding_window", "chunked_local"} else bucket
            for bucket in buckets
            for spec, indices in (bucket,)
        ]
    )


def _as_full(spec: KvSpec, block_size: int) -> KvSpec:
    page_bytes = spec.page_bytes * block_size // spec.block_size
    return replace(spec, kind="full", window_tokens=None, block_size=block_size, page_bytes=page_bytes)


def _unified(buckets: Sequence[Bucket], rules: Version) -> list[Bucket]:
    """One page size for all: larger blocks where pages divide, else padding (unify_kv_cache_spec_page_size)."""
    largest = max(spec.size_bytes for spec, _ in buckets)
    return [(_with_page(spec, largest, rules), indices) for spec, indices in buckets]


def _with_page(spec: KvSpec, page_bytes: int, rules: Version) -> KvSpec:
    if spec.size_bytes == page_bytes:
        return spec
    if spec.kind == "mamba":
        if rules < V0_33:
            raise UngroupableError("the page of its states cannot be padded to the largest page")
        return replace(spec, padded_page_bytes=page_bytes)
    if page_bytes % spec.size_bytes == 0:
        ratio = page_bytes // spec.size_bytes
        return replace(spec, block_size=spec.block_size * ratio, page_bytes=spec.page_bytes * ratio)
    if spec.kind == "mla" or rules < V0_33:
        raise UngroupableError(
            f"a page of {spec.size_bytes:,} bytes does not divide the largest page of {page_bytes:,} bytes"
        )
    return replace(spec, padded_page_bytes=page_bytes)


def _merged(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Equal specs in one bucket, in order of first appearance."""
    layers: dict[KvSpec, tuple[int, ...]] = {}
    for spec, indices in buckets:
        layers[spec] = tuple(sorted((*layers.get(spec, ()), *indices)))
    return list(layers.items())


def _equal_groups(buckets: Sequence[Bucket]) -> tuple[KvGroup, ...]:
    """Groups of equally many layers: every n-th layer of its kind, so that stages get alike shares."""
    counts = [len(indices) for _, indices in buckets]
    fewest, most = min(counts), max(counts)
    group_size = most if most < FEW_MORE * fewest else fewest
    groups = []
    for spec, indices in buckets:
        number = ceil_div(len(indices), group_size)
        groups += [KvGroup(((spec, indices[first::number]),)) for first in range(number)]
    return tuple(groups)


@lru_cache(maxsize=2048)
def stage_block_bytes(groups: tuple[KvGroup, ...], stages: tuple[range, ...], *, packed: bool) -> tuple[int, ...]:
    """Bytes of one block on each stage: groups share the pool, so the largest counts."""
    return tuple(max((group.block_bytes(layers, packed=packed) for group in groups), default=0) for layers in stages)


def _count(indices: tuple[int, ...], layers: range) -> int:
    """How many of the ascending ``indices`` lie in ``layers``."""
    return bisect_left(indices, layers.stop) - bisect_left(indices, layers.start)


def group_counts(groups: Sequence[KvGroup]) -> Mapping[KvSpec, int]:
    """How many groups there are of each spec."""
    counts: dict[KvSpec, int] = {}
    for group in groups:
        counts[group.spec] = counts.get(group.spec, 0) + 1
    return counts
