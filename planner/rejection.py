"""Rejection: why one configuration cannot be used, as a value; the words are part of it, the layout is not."""

from __future__ import annotations

from msgspec import Struct


class Rejection(Struct, frozen=True):
    """Why one configuration cannot be used: ``code`` is the first rule that fails, in the unit of that rule."""

    gpu: str
    count: int
    tensor_parallel_size: int | None
    pipeline_parallel_size: int | None
    code: str
    reason: str
    needed: float | None = None
    available: float | None = None
