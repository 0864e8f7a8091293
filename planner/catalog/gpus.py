"""Gpu: what one GPU type is. Hardware facts only; prices are offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Gpu(Struct, frozen=True):
    """A row of gpus.json. TFLOPS are dense; None where the GPU lacks the format, or where no figure is known."""

    name: str  # "A100-80GB"
    architecture: str  # "Ampere"
    compute_capability: int  # 80 for 8.0, as vLLM's DeviceCapability.to_int()
    device_name: str  # what CUDA reports, e.g. "NVIDIA A100-SXM4-80GB": vLLM's defaults read it
    marketed_gb: int
    total_bytes: int  # cudaMemGetInfo total: what torch and vLLM see
    memory_bandwidth_gbps: float  # GB/s (10^9)
    memory_kind: Literal["hbm", "gddr"]
    bf16_tflops: float | None
    fp16_tflops: float
    fp8_tflops: float | None
    fp4_tflops: float | None
    int8_tops: float | None
    link: Literal["nvlink", "pcie"]
    link_gbps_per_direction: float  # GB/s (10^9)
    peer_to_peer: bool
    l2_mb: float | None
    sms: int | None  # streaming multiprocessors
    sources: Mapping[str, str]  # field (or "*") -> where the value is from; "unconfirmed" where nobody vouches for it
    vendor: Literal["nvidia", "amd"] = "nvidia"  # AMD rows carry measurements; no rule of the planner covers them


def make_gpus(rows: Iterable[Mapping[str, Any]]) -> dict[str, Gpu]:
    """Rows of a catalogue file by name; a nullable figure that a row leaves out is None."""
    return {row["name"]: Gpu(**{**NULLABLE, **row}) for row in rows}


NULLABLE = dict.fromkeys(("bf16_tflops", "fp8_tflops", "fp4_tflops", "int8_tops", "l2_mb", "sms"))
