"""Safetensors headers: whole ones are read, and whatever contradicts itself is refused in words."""

from __future__ import annotations

import json
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import ModelError
from planner.model.headers import DTYPE_BITS, MOST_HEADER_BYTES, header_length, parse_header, total_bytes
from tests.hub_server import header


def text_of(entries: Any) -> bytes:
    return json.dumps(entries).encode()


def entry(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


BAD = [
    (b"", "its header is not JSON"),
    (b"\xff\xfe{}", "its header is not JSON"),
    (b"[" * 100_000, "its header is not JSON"),
    (b"[]", "its header is no mapping"),
    (text_of({"w": 5}), "the entry of w lacks a dtype"),
    (text_of({"w": {"dtype": "F32", "shape": [1]}}), "the entry of w lacks a dtype"),
    (text_of({"w": {"dtype": "F32", "data_offsets": [0, 4]}}), "the entry of w lacks a dtype"),
    (text_of({"w": {"shape": [1], "data_offsets": [0, 4]}}), "the entry of w lacks a dtype"),
    (text_of({"w": entry("F32", ["1"], 0, 4)}), "the entry of w lacks a dtype"),
    (text_of({"w": entry("F32", [-1], 0, 4)}), "the entry of w lacks a dtype"),
    (text_of({"w": entry("F32", [1.0], 0, 4)}), "the entry of w lacks a dtype"),
    (text_of({"w": entry("F32", [1], "0", 4)}), "the entry of w lacks a dtype"),
    (text_of({"w": entry("F33", [1], 0, 4)}), "w has the unknown dtype 'F33'"),
    (text_of({"w": entry("F32", [2], 0, 4)}), r"w is F32 \[2\], 8 bytes, but its offsets span 4"),
    (text_of({"w": entry("F32", [1], -4, 0)}), r"w is F32 \[1\], 4 bytes, but its offsets span 4"),
    (text_of({"w": entry("F4", [3], 0, 2)}), r"w is F4 \[3\]"),
    (
        text_of({"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 4, 8)}),
        "b begins at byte 4 of the data and overlaps the tensor before it, which ends at 8",
    ),
    (
        text_of({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 8, 12)}),
        "b begins at byte 8 of the data and leaves a hole before it, which ends at 4",
    ),
    (text_of({"a": entry("F32", [1], 4, 8)}), "a begins at byte 4 of the data and leaves a hole"),
]


@pytest.mark.parametrize(("text", "says"), BAD)
def test_a_contradiction_is_an_error(text: bytes, says: str) -> None:
    with pytest.raises(ModelError, match=rf"^f\.safetensors: not a usable safetensors file: {says}"):
        parse_header(text, None, "f.safetensors")


def test_sub_byte_and_empty_tensors_are_read() -> None:
    entries = {"a": entry("F4", [4, 3], 0, 6), "b": entry("BF16", [0, 8], 6, 6), "c": entry("F8_E8M0", [], 6, 7)}
    tensors = parse_header(text_of(entries), None, "f")
    assert [(one.name, one.shape, one.nbytes) for one in tensors] == [("a", (4, 3), 6), ("b", (0, 8), 0), ("c", (), 1)]
    assert total_bytes(tensors) == 7


def test_metadata_is_no_tensor() -> None:
    assert parse_header(text_of({"__metadata__": {"format": "pt"}}), None, "f") == ()
    assert parse_header(text_of({"__metadata__": {"shape": "square"}}), None, "f") == ()


def test_the_file_must_end_with_its_last_tensor() -> None:
    text = text_of({"w": entry("U8", [5], 0, 5)})
    assert len(parse_header(text, 8 + len(text) + 5, "f")) == 1
    with pytest.raises(ModelError, match=f"its tensors end at byte {len(text) + 13}, but the file has 4,096"):
        parse_header(text, 4096, "f")


@pytest.mark.parametrize(
    ("start", "file_bytes", "says"),
    [
        (b"\x02\0\0", 3, "the file ends after 3 bytes"),
        ((MOST_HEADER_BYTES + 1).to_bytes(8, "little"), None, "its header claims 100,000,001 bytes"),
        ((100).to_bytes(8, "little"), 107, "its header claims 100 bytes, but the file has 107"),
    ],
)
def test_an_impossible_length_is_an_error(start: bytes, file_bytes: int | None, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        header_length(start, file_bytes, "f")


SHAPES = st.lists(st.integers(0, 64), max_size=4)
WHOLE_BYTES = sorted(name for name, bits in DTYPE_BITS.items() if bits % 8 == 0)
TENSORS = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(WHOLE_BYTES), SHAPES),
    max_size=6,
)


@given(TENSORS)
def test_what_is_written_is_read(tensors: dict[str, tuple[str, list[int]]]) -> None:
    sized = {name: (dtype, shape, prod(shape) * DTYPE_BITS[dtype] // 8) for name, (dtype, shape) in tensors.items()}
    head, data_bytes = header(sized)
    length = header_length(head[:8], len(head) + data_bytes, "f")
    read = parse_header(head[8 : 8 + length], len(head) + data_bytes, "f")
    assert {one.name: (one.dtype, list(one.shape), one.nbytes) for one in read} == sized
    assert total_bytes(read) == data_bytes


@given(TENSORS, st.integers(0, 2000), st.binary(max_size=4))
def test_a_damaged_header_is_read_or_refused_and_nothing_else(
    tensors: dict[str, tuple[str, list[int]]], place: int, damage: bytes
) -> None:
    sized = {name: (dtype, shape, prod(shape) * DTYPE_BITS[dtype] // 8) for name, (dtype, shape) in tensors.items()}
    head, data_bytes = header(sized)
    file_bytes = len(head) + data_bytes
    place %= len(head)
    damaged = (head[:place] + damage + head[place + len(damage) :] + b"\0" * data_bytes)[:file_bytes]
    try:
        length = header_length(damaged[:8], file_bytes, "f")
        read = parse_header(damaged[8 : 8 + length], file_bytes, "f")
    except ModelError:
        return
    assert 8 + length + total_bytes(read) == file_bytes
