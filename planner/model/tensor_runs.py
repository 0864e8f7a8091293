"""TensorRun: tensors that differ only in the numbers of their names, so that a checkpoint of 90,000 is a short list."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import prod
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.model.stored_dtypes import DTYPE_BITS, FLOATS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from planner.model.headers import TensorInfo

MARK = "#"


class TensorRun(Struct, frozen=True):
    """``per_layer`` tensors of one dtype and shape in each of ``layers``.

    ``pattern`` is the name with its numbers as "#"; ``layers`` are the first numbers, and (None,) where there is none.
    """

    pattern: str
    dtype: str  # a key of stored_dtypes.DTYPE_BITS
    shape: tuple[int, ...]
    layers: tuple[int | None, ...]
    per_layer: int = 1

    @property
    def elements(self) -> int:
        """Of one tensor, as it is stored: a packed tensor's are words."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Of all tensors of the run."""
        return len(self.layers) * self.per_layer * self.elements * DTYPE_BITS[self.dtype] // 8


def tensor_runs(tensors: Iterable[TensorInfo]) -> tuple[TensorRun, ...]:
    """The tensors of one checkpoint as runs, in order of first appearance."""
    counts: dict[tuple[str, str, tuple[int, ...]], Counter[int | None]] = defaultdict(Counter)
    for tensor in tensors:
        *path, last = tensor.name.split(".")
        numbers = [part for part in path if part.isdecimal()]
        pattern = ".".join([MARK if part.isdecimal() else part for part in path] + [last]) if numbers else tensor.name
        counts[pattern, tensor.dtype, tensor.shape][int(numbers[0]) if numbers else None] += 1
    return tuple(
        TensorRun(*key, layers=tuple(sorted(layers, key=lambda layer: layer or 0)), per_layer=per_layer)
        for key, counted in counts.items()
        for per_layer, layers in _by_count(counted).items()
    )


def stored_dtype(runs: Iterable[TensorRun]) -> str | None:
    """The dtype that holds most others without loss, as the engine takes it where config.json names none.

    vllm/utils/torch_utils.py common_broadcastable_dtype over all tensors; None where no tensor is a float.
    """
    stored = list(dict.fromkeys(run.dtype for run in runs if run.dtype in FLOATS))
    widest = max(stored, key=lambda dtype: sum(one == dtype or one in FLOATS[dtype][1] for one in stored), default=None)
    return FLOATS[widest][0] if widest else None


def _by_count(counted: Counter[int | None]) -> dict[int, list[int | None]]:
    layers: dict[int, list[int | None]] = {}
    for layer, count in counted.items():
        layers.setdefault(count, []).append(layer)
    return layers
