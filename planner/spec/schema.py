"""Spec: every key a person may write, its type and its default. Frozen; ``keys`` says how each is read.

``msgspec.structs.replace`` changes a spec; ``spec_values`` and ``dump_spec`` of ``dump`` turn one into plain values and
into YAML. Structs, as every value here: the program's start is most of a plan's time, and defining the classes with
pydantic or dataclasses would cost it 30 to 50 ms (benchmarks/speed.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal


class ModelSpec(Struct, frozen=True):
    """Which checkpoint, and in which format it is served."""

    repo: str
    revision: str = "main"
    path: str | None = None
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    trust_remote_code: bool = False
    quantization: Literal["auto", "fp8"] = "auto"


class EngineSpec(Struct, frozen=True):
    """vLLM's version and settings, by vLLM's own names."""

    version: str = "0.33.0"
    max_model_len: int | Literal["auto"] | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    gpu_memory_utilization: float = 0.92
    enforce_eager: bool = False
    enable_prefix_caching: bool | None = None
    enable_expert_parallel: bool = False
    extra_args: Mapping[str, str | int | bool | tuple[str | int, ...]] = {}


class GpuSpec(Struct, frozen=True):
    """Which configurations are considered. Lists and pins only filter."""

    types: tuple[str, ...] | None = None
    counts: tuple[int, ...] | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None


class WorkloadSpec(Struct, frozen=True):
    """The load to judge under; lengths are means per request. None: the default, or what the context leaves of it."""

    concurrency: int = 32
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    requests_per_hour: float | None = None


class SloSpec(Struct, frozen=True):
    """What must be kept; an option that misses one is rejected."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None


class BudgetSpec(Struct, frozen=True):
    """What may be spent."""

    max_usd_per_hour: Decimal | None = None


class ScalingSpec(Struct, frozen=True):
    """How many containers, and how long an idle one stays."""

    min_containers: int = 0
    max_containers: int = 1
    scaledown_window_s: int = 300


class SecretsSpec(Struct, frozen=True):
    """Names of secrets kept at the provider. Never values."""

    huggingface: str | None = None
    api_key: str | None = None
    wandb: str | None = None


class ResourcesSpec(Struct, frozen=True):
    """CPU and memory of one container, beside its GPUs."""

    cpu_cores: float = 4
    memory_gib: float = 32


class Spec(Struct, frozen=True):
    """What a person asks for. Only name and model are required."""

    name: str
    model: ModelSpec
    engine: EngineSpec = EngineSpec()
    gpu: GpuSpec = GpuSpec()
    workload: WorkloadSpec | None = None
    slo: SloSpec = SloSpec()
    budget: BudgetSpec = BudgetSpec()
    objective: Literal["usd_per_hour", "usd_per_million_tokens", "latency"] = "usd_per_hour"
    scaling: ScalingSpec = ScalingSpec()
    resources: ResourcesSpec = ResourcesSpec()
    secrets: SecretsSpec = SecretsSpec()
    region: str | None = None
    environment: str | None = None
    target: Literal["modal", "local"] = "modal"
