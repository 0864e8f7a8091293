"""Safetensors headers: bytes to tensors, refusing every header that contradicts itself or its file.

Format: 8 bytes little-endian length, then so many bytes of JSON: name -> {dtype, shape, data_offsets}, then the data
(safetensors' README; its limits are those of safetensors/src/tensor.rs).
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder

from planner.errors import ModelError
from planner.model.json_files import holds_half_a_character
from planner.model.stored_dtypes import DTYPE_BITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class TensorInfo(Struct, frozen=True):
    """One tensor of a checkpoint."""

    name: str
    dtype: str  # a key of stored_dtypes.DTYPE_BITS
    shape: tuple[int, ...]
    nbytes: int


class _Entry(Struct):
    """What a header says of a tensor. A part that is left out, as __metadata__ leaves out all, fits no tensor."""

    dtype: str = ""
    shape: tuple[Annotated[int, Meta(ge=0)], ...] = (-1,)
    data_offsets: tuple[int, int] = (-1, -1)


_ABSENT = _Entry()
_DECODER = Decoder(dict[str, _Entry])

LENGTH_BYTES = 8
METADATA = "__metadata__"
MOST_HEADER_BYTES = 100_000_000  # safetensors/src/tensor.rs MAX_HEADER_SIZE


def header_length(start: bytes, file_bytes: int | None, where: str) -> int:
    """The length of the JSON part from a file's first bytes. Raises ModelError for one that cannot be."""
    if len(start) < LENGTH_BYTES:
        raise _malformed(where, f"the file ends after {len(start)} bytes, before its header")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > MOST_HEADER_BYTES:
        raise _malformed(where, f"its header claims {length:,} bytes; safetensors allow {MOST_HEADER_BYTES:,}")
    if file_bytes is not None and LENGTH_BYTES + length > file_bytes:
        raise _malformed(where, f"its header claims {length:,} bytes, but the file has {file_bytes:,}")
    return length


def parse_header(text: bytes, file_bytes: int | None, where: str) -> tuple[TensorInfo, ...]:
    """The tensors that a header's JSON describes. ``file_bytes``: the whole file's size where it is known.

    Raises ModelError where sizes, offsets and shapes do not agree.
    """
    spans = []
    tensors = []
    for name, entry in _entries(text, where).items():
        begin, end = entry.data_offsets
        bits = prod(entry.shape) * DTYPE_BITS[entry.dtype] if entry.dtype in DTYPE_BITS else -1
        if begin < 0 or bits < 0 or bits % 8 or end - begin != bits // 8:
            raise _malformed(where, _contradiction(name, entry))
        spans.append((begin, end, name))
        tensors.append(TensorInfo(name, entry.dtype, entry.shape, end - begin))
    end = _check_spans(spans, where)
    start = LENGTH_BYTES + len(text)
    if file_bytes is not None and start + end != file_bytes:
        raise _malformed(where, f"its tensors end at byte {start + end:,}, but the file has {file_bytes:,}")
    return tuple(tensors)


def total_bytes(tensors: Iterable[TensorInfo]) -> int:
    """Bytes of the tensors, without headers."""
    return sum(tensor.nbytes for tensor in tensors)


def _entries(text: bytes, where: str) -> Mapping[str, _Entry]:
    """The tensors by name; what the quick decoder does not take is read again, to say why or that it is right."""
    try:
        entries = _DECODER.decode(text)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return {name: _entry(name, entry, where) for name, entry in _mapping(text, where).items() if name != METADATA}
    entries.pop(METADATA, None)
    return entries


def _mapping(text: bytes, where: str) -> Mapping[str, Any]:
    try:
        entries = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _malformed(where, f"its header is not JSON ({type(error).__name__})") from error
    if not isinstance(entries, dict):
        raise _malformed(where, "its header is no mapping")
    if holds_half_a_character(text, entries):
        raise _malformed(where, "a name in its header holds half a character (\\ud800 to \\udfff)")
    return entries


def _entry(name: str, entry: Any, where: str) -> _Entry:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if _are_sizes(shape):
            return _Entry(dtype, tuple(shape), (begin, end))
    raise _malformed(where, _lacks(name))


def _lacks(name: str) -> str:
    return f"the entry of {name} lacks a dtype, a shape or two data_offsets"


def _contradiction(name: str, entry: _Entry) -> str:
    if not entry.dtype or entry.shape == _ABSENT.shape or entry.data_offsets == _ABSENT.data_offsets:
        return _lacks(name)
    if entry.dtype not in DTYPE_BITS:
        return f"{name} has the unknown dtype {entry.dtype!r}"
    begin, end = entry.data_offsets
    nbytes = prod(entry.shape) * DTYPE_BITS[entry.dtype] // 8
    return f"{name} is {entry.dtype} {list(entry.shape)}, {nbytes:,} bytes, but its offsets span {end - begin:,}"


def _are_sizes(shape: list[Any]) -> bool:
    return all(type(size) is int and size >= 0 for size in shape)


def _check_spans(spans: list[tuple[int, int, str]], where: str) -> int:
    """The end of the data, which tensors must fill without hole or overlap."""
    filled = 0
    for begin, end, name in sorted(spans):
        if begin != filled:
            word = "overlaps the tensor before it" if begin < filled else "leaves a hole before it"
            raise _malformed(where, f"{name} begins at byte {begin:,} of the data and {word}, which ends at {filled:,}")
        filled = end
    return filled


def _malformed(where: str, what: str) -> ModelError:
    return ModelError(f"{where}: not a usable safetensors file: {what}. Download the file again.")
