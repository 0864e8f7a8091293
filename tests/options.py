"""Hand-made options and plans for tests that need values, not arithmetic."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from planner.candidates import Candidate
from planner.catalog import Gpu, Offer
from planner.cost import Cost, CostLine
from planner.engine import EngineConfig
from planner.memory.account import Memory, Stage
from planner.memory.kv_cache import KvCache
from planner.plan import Option
from planner.rejection import Rejection
from planner.throughput import Throughput

GIB = 2**30
GPU = Gpu(
    name="A100-80GB",
    architecture="Ampere",
    compute_capability=80,
    device_name="NVIDIA A100-SXM4-80GB",
    marketed_gb=80,
    total_bytes=79 * GIB,
    memory_bandwidth_gbps=2039,
    memory_kind="hbm",
    bf16_tflops=312,
    fp16_tflops=312,
    fp8_tflops=None,
    fp4_tflops=None,
    int8_tops=624,
    link="nvlink",
    link_gbps_per_direction=300,
    peer_to_peer=True,
    l2_mb=40,
    sms=108,
    sources={"*": "a test"},
)
OFFER = Offer("A100-80GB", "A100-80GB", Decimal("0.000694"), tuple(range(1, 9)), date(2026, 10, 8), "a test")


def make_option(gpu: str = "A100-80GB", count: int = 1, usd_per_hour: str = "2.50", speed: float = 1000.0) -> Option:
    """One valid option; only the named figures matter to the tests that use it."""
    hourly = Decimal(usd_per_hour)
    offer = Offer(gpu, gpu, hourly / 3600 / count, tuple(range(1, 9)), date(2026, 10, 8), "a test")
    per_million = hourly / Decimal(speed) / 3600 * 1_000_000
    return Option(
        candidate=Candidate(GPU, offer, count, count, 1),
        engine=EngineConfig((0, 33, 0), (0, 33, 0), "float16", 4096, 256, 2048, "float16"),
        stages=(Stage(64 * GIB, 2_621_440),),
        memory=Memory(79 * GIB, 72 * GIB, 64 * GIB, GIB // 2, GIB // 4, 0, 7 * GIB, GIB // 2),
        kv_cache=KvCache(2_621_440, 16, 2867, 45872, 11.2, 256),
        throughput=Throughput(speed, speed * 0.8, speed * 1.2, 300.0, 40.0, 59.0, "modelled"),
        cost=Cost((CostLine(f"{count}×{gpu}", Decimal(3600), "s", hourly / 3600),), hourly, hourly, per_million),
        longest_context_tokens=45872,
        highest_concurrency=256,
    )


def make_rejection(code: str, gpu: str = "A100-40GB", count: int = 1, **numbers: float) -> Rejection:
    """One rejection of ``code``."""
    return Rejection(gpu, count, count, 1, code, f"{code} says no.", **numbers)


def make_plan_values(name: str, *options: Option) -> Any:
    """Something with the parts of a Plan that a comparison reads."""
    return SimpleNamespace(spec=SimpleNamespace(name=name), options=options, rejections=(), warnings=())
