"""Measurements: what a real engine did, as rows; the project's own and the user's."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from planner.errors import SpecError

SHIPPED = Path(__file__).parent / "catalog" / "measurements.jsonl"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one configuration. Sizes in bytes per GPU (rank 0), speeds of the whole configuration."""

    model: str  # org/name, or the shape it stands for
    gpu: str  # a Gpu's name
    count: int
    tensor_parallel_size: int
    pipeline_parallel_size: int
    dtype: str
    engine_version: str
    date: str  # YYYY-MM-DD
    source: str
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    enforce_eager: bool = False
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    num_hidden_layers: int | None = None  # where the model was cut to so many layers
    torch_version: str | None = None
    driver_version: str | None = None
    # load and speed; None where only memory was measured
    requests: int | None = None  # one burst
    concurrency: int | None = None  # a steady closed loop
    input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_per_second: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    # memory; None where only speed was measured
    total_bytes: int | None = None
    model_loading_bytes: int | None = None
    peak_activation_bytes: int | None = None
    non_torch_bytes: int | None = None
    cuda_graph_bytes: int | None = None
    available_kv_bytes: int | None = None
    num_blocks: int | None = None
    kv_cache_tokens: int | None = None
    started: bool = True
    error: str | None = None  # the engine's words where it refused
    representative: bool = True  # False: dummy weights sent tokens to the same few experts
    note: str = ""


def load_measurements(file: Path | None = None) -> tuple[Measurement, ...]:
    """The shipped rows, the user's kept rows, and those of ``file``, in that order.

    Raises SpecError where a user's row cannot be read.
    """
    files = [SHIPPED, kept_file(), *([file] if file else [])]
    return tuple(row for path in files if path.is_file() for row in read_rows(path))


def kept_file() -> Path:
    """Where `measure` and `bench` keep rows of one's own."""
    from planner.catalog.folders import config_folder

    return config_folder() / "measurements.jsonl"


def read_rows(path: Path) -> list[Measurement]:
    """One JSON object per line; SpecError names the line and the key that is wrong."""
    rows, problems = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                rows.append(_row(json.loads(line)))
            except (ValueError, TypeError) as error:
                problems.append(f"{path}:{number}:1: not a measurement: {error}. Remove the line, or measure again.")
    if problems:
        raise SpecError(problems)
    return rows


def _row(value: Any) -> Measurement:
    if not isinstance(value, dict):
        raise TypeError("a row is a JSON object")
    known = {entry.name for entry in fields(Measurement)}
    if unknown := sorted(set(value) - known):
        raise ValueError(f"unknown key {unknown[0]}")
    return Measurement(**value)
