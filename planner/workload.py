"""Workload: the load a configuration is judged under."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    """Mean request of a steady closed loop of ``concurrency``, or of one burst of ``requests``."""

    concurrency: int = 32
    input_tokens: int = 512
    output_tokens: int = 256
    requests: int | None = None
    requests_per_hour: float | None = None
