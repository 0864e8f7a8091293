"""Grouping where all layers' pages of one block lie together, so that pages of different sizes need no padding.

vllm/v1/core/kv_cache_planning.py _get_packed_kv_cache_groups (0.33.0), for DeepSeek-V4's windows, compressed rows and
compressor states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from planner.memory.kv_groups import KvGroup
from planner.memory.kv_specs import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from planner.memory.kv_groups import Bucket
    from planner.memory.kv_specs import KvSpec

WINDOWS = frozenset({"sliding_window", "sliding_window_mla"})


class _Kind(Struct, frozen=True):
    """Layers that need the same number of token slots; ``members`` differ in their pages."""

    members: tuple[Bucket, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Layers of each page size."""
        sizes: dict[int, int] = {}
        for spec, layers in self.members:
            sizes[spec.size_bytes] = sizes.get(spec.size_bytes, 0) + len(layers)
        return tuple(sizes.values())

    @property
    def balanced(self) -> bool:
        """Whether each page size has equally many layers, so that the kind is a pattern that repeats."""
        return len(set(self.counts)) == 1

    @property
    def repeats(self) -> int:
        return max(self.counts)


def packed_groups(buckets: Sequence[Bucket]) -> tuple[KvGroup, ...]:
    """Groups that cover about equally many repeats of the layer pattern."""
    kinds = [_Kind(tuple(members)) for members in _by_kind(buckets).values()]
    least = max((kind.repeats for kind in kinds if kind.balanced and len(kind.counts) > 1), default=0)
    repeats = approximate_gcd([kind.repeats for kind in kinds if kind.balanced], least) if least else None
    numbers = [ceil_div(kind.repeats, repeats) if repeats and kind.balanced else 1 for kind in kinds]
    room = max(_widest_bytes(kind, number) for kind, number in zip(kinds, numbers, strict=True))
    groups: list[KvGroup] = []
    for kind, number in zip(kinds, numbers, strict=True):
        groups += _split(kind, _capped(kind, number, room) if repeats is None else number)
    return tuple(groups)


def _by_kind(buckets: Sequence[Bucket]) -> dict[tuple[object, ...], list[Bucket]]:
    kinds: dict[tuple[object, ...], list[Bucket]] = {}
    for spec, layers in buckets:
        kinds.setdefault(_kind_of(spec), []).append((spec, layers))
    return kinds


def _kind_of(spec: KvSpec) -> tuple[object, ...]:
    kind = "full" if spec.kind in {"full", "mla"} else spec.kind
    return (kind, spec.block_size, spec.window_tokens, spec.size_bytes if spec.kind == "mamba" else None)


def _widest_bytes(kind: _Kind, number: int) -> int:
    """Page bytes of the largest of the groups; windows and states can be split down to one layer each."""
    number = len(kind.members[0][1]) if _splittable(kind) else number
    return sum(spec.size_bytes * ceil_div(len(layers), number) for spec, layers in kind.members)


def _splittable(kind: _Kind) -> bool:
    return kind.members[0][0].kind in WINDOWS | {"mamba"}


def _capped(kind: _Kind, number: int, room_bytes: int) -> int:
    """More groups rather than a wider block."""
    if not _splittable(kind):
        return number
    per_block = max(room_bytes // kind.members[0][0].size_bytes, 1)
    return max(number, ceil_div(sum(len(layers) for _, layers in kind.members), per_block))


def _split(kind: _Kind, number: int) -> Iterator[KvGroup]:
    """Every n-th layer of each page size."""
    if number == 1:
        yield KvGroup(kind.members)
        return
    for first in range(number):
        yield KvGroup(tuple((spec, layers[first::number]) for spec, layers in kind.members))


def approximate_gcd(values: Sequence[int], least: int) -> int:
    """The chunk of at least ``least`` that pads ``values`` least; the largest of equals (_approximate_gcd)."""
    largest = max(values)
    if least > largest:
        return least
    return min(range(max(1, least), largest + 1), key=lambda chunk: (sum(-value % chunk for value in values), -chunk))
