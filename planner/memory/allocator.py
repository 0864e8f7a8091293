"""What torch's CUDA allocator counts for a tensor: the block it hands out, which may be larger than was asked for.

c10/cuda/CUDACachingAllocator.cpp (torch 2.11): round_size, get_allocation_size, should_split. "Model loading took" is a
difference of torch.cuda.memory_allocated, which adds up blocks. Eight starts with dummy weights, at TP 1 and 2, took to
the byte what these rules say of their tensors one by one (measurements.json).
"""

from __future__ import annotations

MIB = 2**20
BLOCK_BYTES = 512  # kMinBlockSize: every request is rounded up to a multiple
UNSPLIT_BYTES = MIB  # kSmallSize: a remainder of at most so much stays with a large block
SHARED_SEGMENT_BELOW_BYTES = 10 * MIB  # kMinLargeAlloc: smaller requests are cut from segments of 20 MiB
SEGMENT_STEP_BYTES = 2 * MIB  # kRoundLarge: larger ones have a segment of their own, in steps of this


def rounded(nbytes: int) -> int:
    """The request as the allocator rounds it."""
    return -(-nbytes // BLOCK_BYTES) * BLOCK_BYTES


def block_bytes(nbytes: int) -> int:
    """The block that a fresh tensor gets.

    Requests below 10 MiB share segments, whose last remainders are not looked at.
    """
    size = rounded(nbytes)
    if size < SHARED_SEGMENT_BELOW_BYTES:
        return size
    segment = -(-size // SEGMENT_STEP_BYTES) * SEGMENT_STEP_BYTES
    return segment if segment - size <= UNSPLIT_BYTES else size
