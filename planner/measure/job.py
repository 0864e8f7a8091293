"""Job: one start of the engine and the loads it is timed under, as the runner on the GPU host takes it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from planner.serve_args import serve_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts
    from planner.model.identity import Checkpoint
    from planner.spec import Spec
    from planner.workload import Workload

# vLLM's own switch (envs.py): every token goes to experts drawn at random instead of those the gate picks.
# With random weights the gate sends most tokens to the same few, which no trained model does.
SPREAD_EXPERTS = {"VLLM_MOE_ROUTING_SIMULATION_STRATEGY": "uniform_random"}
QUIET = {"VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
START_S = 900.0  # a start compiles, captures graphs and, for large models, fills memory with random numbers
ROUNDS = 5  # a closed loop has so many requests for each in flight; the first round only fills it


class Load(Struct, frozen=True):
    """``requests`` at once, or a closed loop in which ``in_flight`` of them run at any time."""

    requests: int
    input_tokens: int
    output_tokens: int
    runs: int = 1
    in_flight: int | None = None
    prompts: tuple[str, ...] = ()  # text instead of made-up token ids; answers then end where the model ends them


class Job(Struct, frozen=True):
    """``words``: arguments of `vllm serve`. Exactly one of ``config`` (random weights) and ``model`` is set."""

    name: str
    repo: str
    gpu: str  # the catalogue's name
    count: int
    words: tuple[str, ...]
    settings: Mapping[str, Any]  # what a row says of the engine, where the engine does not get to say it itself
    loads: tuple[Load, ...] = ()
    config: Mapping[str, Any] | None = None
    hf_quant_config: Mapping[str, Any] | None = None
    model: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = START_S
    api: Literal["engine", "generate"] = "engine"


def make_job(
    spec: Spec,
    checkpoint: Checkpoint,
    facts: ModelFacts,
    candidate: Candidate,
    engine: EngineConfig,
    loads: Sequence[Load],
    *,
    name: str | None = None,
    model: str | None = None,
    api: Literal["engine", "generate"] = "engine",
) -> Job:
    """The job that starts what a plan says, with the plan's own flags; random weights unless ``model`` is named."""
    words = [word for arg in serve_args(spec, candidate, engine) for word in arg]
    return Job(
        name=name or f"{spec.name}-{candidate.sold_as.lower()}-{engine_split(candidate)}",
        repo=checkpoint.repo,
        gpu=candidate.gpu.name,
        count=candidate.count,
        words=tuple(words),
        settings=engine_settings(engine, candidate),
        loads=tuple(loads),
        config=None if model else served_config(checkpoint),
        hf_quant_config=None if model else checkpoint.hf_quant_config,
        model=model,
        env={**QUIET, **(SPREAD_EXPERTS if facts.num_experts and not model else {})},
        api=api,
    )


def engine_split(candidate: Candidate) -> str:
    """tp2 or tp2-pp2."""
    split = f"tp{candidate.tensor_parallel_size}"
    return split if candidate.pipeline_parallel_size == 1 else f"{split}-pp{candidate.pipeline_parallel_size}"


def served_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """config.json without pointers to Python files that are not at hand: vLLM has the class itself."""
    return {key: value for key, value in checkpoint.config.items() if key != "auto_map"}


def engine_settings(engine: EngineConfig, candidate: Candidate) -> dict[str, Any]:
    """The fields of a measured row that the plan decides."""
    return {
        "engine_version": ".".join(map(str, engine.version)),
        "tensor_parallel_size": candidate.tensor_parallel_size,
        "pipeline_parallel_size": candidate.pipeline_parallel_size,
        "dtype": engine.dtype,
        "quantization": engine.quantization,
        "kv_cache_dtype": "fp8" if engine.kv_cache_dtype.startswith("fp8") else "auto",
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "enforce_eager": engine.enforce_eager,
        "enable_expert_parallel": engine.enable_expert_parallel,
        "flags": dict(engine.extra_args),
    }


def workload_load(workload: Workload, runs: int = 1) -> Load:
    """The spec's load: its burst, or a closed loop long enough to be steady."""
    if workload.requests is not None:
        return Load(workload.requests, workload.input_tokens, workload.output_tokens, runs)
    requests = ROUNDS * workload.concurrency
    return Load(requests, workload.input_tokens, workload.output_tokens, runs, in_flight=workload.concurrency)


def job_values(job: Job) -> dict[str, Any]:
    """What the runner reads."""
    return {
        "name": job.name,
        **({"config": dict(job.config)} if job.config is not None else {"model": job.model}),
        "hf_quant_config": job.hf_quant_config,
        "words": list(job.words),
        "env": dict(job.env),
        "timeout_s": job.timeout_s,
        "api": job.api,
        "loads": [
            {
                "requests": load.requests,
                "in_flight": load.in_flight,
                "input_tokens": load.input_tokens,
                "output_tokens": load.output_tokens,
                "runs": load.runs,
                "prompts": list(load.prompts),
            }
            for load in job.loads
        ],
    }
