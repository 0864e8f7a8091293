"""Release: one version of an app, all values settled: what templates, differences and proofs read."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict

from planner.errors import SpecError
from planner.serve_args import serve_args
from planner.spec.dump import dump_spec
from planner.workload import in_flight_per_container

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from planner.plan import Option, Plan
    from planner.spec import Spec

# Start-up: image pull, compilation and CUDA graphs take minutes whatever the size; weights come on top. Public
# records of single-container starts: 195 GB in 1,190-1,530 s, 135 GB in 958-1,600 s (Volume to GPU, nothing cached).
STARTUP_BASE_S = 600
STARTUP_BYTES_PER_S = 150_000_000
PORT = 8000
OLDEST_FLAGS = (0, 25, 0)  # vllm/engine/arg_utils.py was read at this version and at 0.33.0


class Release(Struct, frozen=True):
    """What is launched. ``revision`` is a 40-hex commit; None where it has to be resolved by the download function."""

    name: str
    target: str
    environment: str | None
    region: str | None
    repo: str
    asked_revision: str  # branch, tag or commit, as the spec has it
    revision: str | None
    weights_bytes: int | None  # of the checkpoint, None where only config.json is known
    startup_timeout_s: int
    engine_version: str
    engine_args: tuple[tuple[str, ...], ...]  # ("--max-model-len", "4096"), ("--enforce-eager",)
    max_model_len: int
    gpu: str  # the provider's name
    gpu_count: int
    tensor_parallel_size: int
    pipeline_parallel_size: int
    cpu_cores: float
    memory_gib: float
    min_containers: int
    max_containers: int
    scaledown_window_s: int
    target_concurrency: int
    max_concurrency: int
    secret_huggingface: str | None
    secret_api_key: str | None
    secret_wandb: str | None
    usd_per_hour: str  # dollars, as a decimal in text: it goes into files
    prices_as_of: str | None
    spec_path: str
    spec_sha256: str
    total_bytes: int | None = None  # planned for one GPU: what CUDA reports, what loading takes, what KV is left
    model_loading_bytes: int | None = None
    available_kv_bytes: int | None = None
    local_path: str | None = None  # model.path, for a target on this machine
    expires_at: str | None = None  # ISO 8601, UTC: the app stops itself

    @property
    def gpu_string(self) -> str:
        """As Modal writes it: type and count of one container."""
        return f"{self.gpu}:{self.gpu_count}"

    @property
    def plan_id(self) -> str:
        """Twelve hex digits over everything that makes this version what it is; prices and file names do not."""
        values = {key: value for key, value in release_values(self).items() if key not in NOT_IDENTITY}
        text = json.dumps(values, sort_keys=True)
        return "plan-" + hashlib.sha256(text.encode()).hexdigest()[:12]


NOT_IDENTITY = frozenset(
    {
        "min_containers",  # the number of containers changes while they run
        "max_containers",
        "scaledown_window_s",
        "usd_per_hour",
        "prices_as_of",
        "spec_path",
        "spec_sha256",
        "weights_bytes",
        "total_bytes",
        "model_loading_bytes",
        "available_kv_bytes",
    }
)


def make_release(
    plan: Plan,
    option: Option,
    *,
    spec_path: str = "-",
    local_path: str | None = None,
    expires_at: str | None = None,
) -> Release:
    """Everything of one option that launching needs. Raises SpecError for an engine whose flags are not known."""
    spec, candidate, engine = plan.spec, option.candidate, option.engine
    if engine.version < OLDEST_FLAGS:
        oldest = ".".join(map(str, OLDEST_FLAGS))
        raise SpecError(
            [
                f"{spec_path}: engine.version: {spec.engine.version} can be planned but not launched. "
                f"The flags of `vllm serve` are known from {oldest} on. Set engine.version to that or later."
            ]
        )
    weights_bytes = plan.checkpoint.checkpoint_bytes
    concurrency = in_flight_per_container(plan.workload, engine.max_num_seqs)
    return Release(
        name=spec.name,
        target=spec.target,
        environment=spec.environment,
        region=spec.region,
        repo=spec.model.repo,
        asked_revision=spec.model.revision,
        revision=plan.checkpoint.revision,
        weights_bytes=weights_bytes,
        startup_timeout_s=startup_timeout_s(weights_bytes or loaded_bytes(option)),
        engine_version=spec.engine.version,
        engine_args=serve_args(spec, candidate, engine),
        max_model_len=engine.max_model_len,
        gpu=candidate.sold_as,
        gpu_count=candidate.count,
        tensor_parallel_size=candidate.tensor_parallel_size,
        pipeline_parallel_size=candidate.pipeline_parallel_size,
        cpu_cores=float(spec.resources.cpu_cores),
        memory_gib=float(spec.resources.memory_gib),
        min_containers=spec.scaling.min_containers,
        max_containers=spec.scaling.max_containers,
        scaledown_window_s=spec.scaling.scaledown_window_s,
        target_concurrency=concurrency,
        max_concurrency=max(2 * engine.max_num_seqs, concurrency),
        secret_huggingface=spec.secrets.huggingface,
        secret_api_key=spec.secrets.api_key,
        secret_wandb=spec.secrets.wandb,
        usd_per_hour=f"{option.cost.usd_per_hour:.4f}",
        prices_as_of=_iso(plan.prices_as_of),
        spec_path=spec_path,
        spec_sha256=spec_sha256(spec),
        total_bytes=option.memory.total_bytes,
        model_loading_bytes=option.memory.model_loading_bytes,
        available_kv_bytes=option.memory.available_kv_bytes,
        local_path=local_path,
        expires_at=expires_at,
    )


def spec_sha256(spec: Spec) -> str:
    """Over the spec's values as text: comments, order and spelled-out defaults do not matter, --set does."""
    return hashlib.sha256(dump_spec(spec).encode()).hexdigest()


def loaded_bytes(option: Option) -> int:
    """Bytes that all GPUs load together: the stand-in for a checkpoint whose size is not known."""
    return sum(stage.model_loading_bytes for stage in option.stages) * option.candidate.tensor_parallel_size


def startup_timeout_s(weights_bytes: int) -> int:
    """Seconds a container may take to start, from the bytes it has to load."""
    return STARTUP_BASE_S + -(-weights_bytes // STARTUP_BYTES_PER_S)


def release_values(release: Release) -> dict[str, Any]:
    """The release as plain values for JSON."""
    values = asdict(release)
    values["engine_args"] = [list(arg) for arg in release.engine_args]
    return values


def read_release(values: Mapping[str, Any]) -> Release:
    """The inverse of release_values. Raises KeyError or TypeError on values of another generator version."""
    known = {name: values[name] for name in Release.__struct_fields__ if name in values}
    known["engine_args"] = tuple(tuple(arg) for arg in values["engine_args"])
    return Release(**known)


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None
