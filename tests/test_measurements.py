"""Measured rows: those that ship, one's own, and a file's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from planner.catalog import load_catalog
from planner.errors import SpecError
from planner.measurements import (
    Measurement,
    append_rows,
    load_measurements,
    own_file,
    read_rows,
    row_problem,
    row_values,
    shipped_measurements,
)

if TYPE_CHECKING:
    from pathlib import Path

ROW = Measurement(
    model="acme/chat-7b",
    gpu="H100",
    count=1,
    tensor_parallel_size=1,
    engine_version="0.33.0",
    dtype="bfloat16",
    max_model_len=4096,
    max_num_seqs=256,
    max_num_batched_tokens=8192,
    date="2026-11-23",
    source="a test",
    requests=59,
    input_tokens=45,
    output_tokens=350,
    output_tokens_per_second=8000.0,
)


@pytest.mark.parametrize("row", shipped_measurements(), ids=lambda row: f"{row.model}-{row.max_num_batched_tokens}")
def test_a_shipped_row_is_whole(row: Measurement) -> None:
    assert row_problem(row_values(row)) is None
    catalog = load_catalog()
    assert row.gpu in catalog.gpus
    assert catalog.find_model(row.model) is not None
    assert row.torch
    assert row.device
    assert row.tensor_parallel_size * row.pipeline_parallel_size == row.count
    assert row.is_speed or row.available_kv_bytes is not None
    if row.available_kv_bytes is not None and row.requested_bytes is not None:
        parts = (row.model_loading_bytes, row.peak_activation_bytes, row.non_torch_bytes, row.cuda_graph_bytes)
        assert sum(part or 0 for part in parts) + row.available_kv_bytes == row.requested_bytes


def test_ten_configurations_ship_and_two_of_them_are_split() -> None:
    starts = [row for row in shipped_measurements() if row.available_kv_bytes is not None]
    assert len({(row.model, row.count, row.max_num_seqs, row.max_num_batched_tokens) for row in starts}) >= 10
    assert len({row.model for row in starts if row.count == 2}) >= 2


def test_own_rows_come_back(tmp_path: Path) -> None:
    before = len(load_measurements())
    assert append_rows([ROW]) == own_file()
    append_rows([ROW])
    assert load_measurements()[before:] == (ROW, ROW)
    append_rows([ROW], tmp_path / "more.jsonl")
    assert load_measurements(tmp_path / "more.jsonl")[-1] == ROW


def test_a_file_may_be_a_list_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"measurements": [row_values(ROW)]}))
    assert read_rows(path) == (ROW,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]\n", "not an object"),
        ('{"model": "a/b"}\n', "missing: "),
        (json.dumps({**row_values(ROW), "modle": 1}), "unknown key modle"),
        (json.dumps({**row_values(ROW), "count": 0}), "count is 0"),
        (json.dumps({**row_values(ROW), "output_tokens_per_second": -1}), "output_tokens_per_second is -1"),
        (json.dumps({**row_values(ROW), "output_tokens_per_second": True}), "output_tokens_per_second: expected"),
        (json.dumps({**row_values(ROW), "tpot_ms": "9"}), "tpot_ms: expected"),
        (json.dumps({**row_values(ROW), "ttft_ms": -1}), "ttft_ms is -1.0"),
        (json.dumps({**row_values(ROW), "output_tokens_per_second_stdev": -5}), "stdev is -5.0. Type 0 or more"),
        (json.dumps({**row_values(ROW), "model": 5}), "model: expected"),
        (json.dumps({**row_values(ROW), "flags": []}), "flags: expected"),
        (json.dumps({**row_values(ROW), "date": "yesterday"}), "date is 'yesterday'"),
        (json.dumps({**row_values(ROW), "requests": None}), "a speed without its load"),
        (json.dumps({**row_values(ROW), "input_tokens": None}), "a speed without its lengths"),
        ("{", "not JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n" + text)
    with pytest.raises(SpecError, match=said) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_a_file_without_rows_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("{}")
    with pytest.raises(SpecError, match="no list of rows"):
        read_rows(tmp_path / "rows.json")
    with pytest.raises(SpecError, match="cannot be read"):
        read_rows(tmp_path / "absent.jsonl")
