"""Predicted speed: tokens per second and latency of one configuration under one load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Throughput:
    """Output tokens per second of the whole configuration; low/high cover about 90 %. Times in ms, means."""

    output_tokens_per_second: float
    low: float
    high: float
    ttft_ms: float
    tpot_ms: float
    batch_size: float
    provenance: Literal["measured", "modelled"]
    note: str = ""
