"""What torch's CUDA allocator counts for a tensor: the block it hands out, which may be larger than was asked for.

c10/cuda/CUDACachingAllocator.cpp (torch 2.11): round_size, get_allocation_size, should_split, get_free_block. "Model
loading took" is a difference of torch.cuda.memory_allocated, which adds up blocks. While it loads, vLLM forbids
splitting blocks of 20 MiB and more (v1/worker/gpu_worker.py load_model, _scoped_allocator_max_split).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MIB = 2**20
BLOCK_BYTES = 512  # kMinBlockSize: every request is rounded up to a multiple
UNSPLIT_BYTES = MIB  # kSmallSize: a remainder of at most so much stays with a large block
SHARED_SEGMENT_BELOW_BYTES = 10 * MIB  # kMinLargeAlloc: smaller requests are cut from segments of 20 MiB
SEGMENT_STEP_BYTES = 2 * MIB  # kRoundLarge: larger ones have a segment of their own, in steps of this
WHOLE_FROM_BYTES = 20 * MIB  # max_split_size while loading: from here on a block is never split
MOST_OVERSIZE_BYTES = 20 * MIB  # kLargeBuffer: a free block that is larger by so much is not taken for such a request


def rounded(nbytes: int) -> int:
    """The request as the allocator rounds it."""
    return -(-nbytes // BLOCK_BYTES) * BLOCK_BYTES


def block_bytes(nbytes: int, *, whole_from: int | None = WHOLE_FROM_BYTES) -> int:
    """The block that a fresh tensor gets; ``whole_from``: max_split_size, None where none is set.

    Requests below 10 MiB share segments, whose last remainders are not looked at.
    """
    size = rounded(nbytes)
    if size < SHARED_SEGMENT_BELOW_BYTES:
        return size
    segment = -(-size // SEGMENT_STEP_BYTES) * SEGMENT_STEP_BYTES
    whole = whole_from is not None and size >= whole_from
    return segment if whole or segment - size <= UNSPLIT_BYTES else size


def oversize_bytes(freed: Iterable[int], requests: Iterable[int]) -> int:
    """What requests take too much, in order, when each is given the best of the ``freed`` blocks where one fits.

    Blocks and requests of 20 MiB and more only; smaller ones are split.
    """
    free = sorted(block_bytes(nbytes) for nbytes in freed if rounded(nbytes) >= WHOLE_FROM_BYTES)
    excess = 0
    for nbytes in requests:
        if not free:
            break
        size = rounded(nbytes)
        if size < WHOLE_FROM_BYTES:
            continue
        best = bisect_left(free, size)
        if best < len(free) and free[best] < size + MOST_OVERSIZE_BYTES:
            excess += free.pop(best) - block_bytes(size)
    return excess
