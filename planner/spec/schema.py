"""Spec: every key a person may write, its default, and how its value is read. Frozen; unknown keys are refused.

Plain dataclasses, read by ``kinds``: building pydantic models costs a plan 30 ms of import, a third of its whole time.
``dataclasses.replace`` changes a spec; ``spec_values`` and ``dump_spec`` of ``dump`` turn one into plain values
and into YAML.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from planner.spec import advice
from planner.spec.flags import serve_flags
from planner.spec.kinds import Kind, choice, each, flag, secret_name, text
from planner.spec.quantities import money, number, whole
from planner.spec.sections import section

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

MOST_TOKENS = 2**31 - 1  # vLLM keeps lengths in 32-bit integers
MOST_GPUS = 8  # GPUs of one container, the most that any offer has
MOST_REQUESTS = 1_000_000
MOST_CONTAINERS = 1_000
DAY_MS = 86_400_000

NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# huggingface_hub's validate_repo_id, with an organization always there
REPO = r"(?!.*(--|\.\.))[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}(?<![.-])"
REVISION = r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./+-]{0,254}"  # a git reference or a commit
VERSION = r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}"
GPU = r"[A-Za-z0-9!+._ -]{1,64}"


def about(kind: Kind, doc: str) -> dict[str, Any]:
    """What a field's metadata says of a key: how its value is read, and what it means."""
    return {"kind": kind, "doc": doc}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which checkpoint, and in which format it is served."""

    repo: str = field(
        metadata=about(
            text(REPO, "org/name, as on the hub", "meta-llama/Llama-2-70b-chat-hf", advice.repo),
            "The model on the Hugging Face hub.",
        )
    )
    revision: str = field(
        default="main",
        metadata=about(
            text(REVISION, "a branch, a tag or a 40-hex commit", "main"),
            "Branch, tag or 40-hex commit; resolved to the commit when the hub can be reached.",
        ),
    )
    path: str | None = field(
        default=None,
        metadata=about(
            text(r".{1,4096}", "a folder", "./models/llama-2-70b"),
            "A local folder with config.json (and safetensors or their index), relative to the spec file; "
            "planned from instead of the hub.",
        ),
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = field(
        default="auto",
        metadata=about(
            choice("auto", "bfloat16", "float16", "float32"),
            "Number format of weights that are not quantized, and of the arithmetic. auto: vLLM's rule.",
        ),
    )
    trust_remote_code: bool = field(
        default=False,
        metadata=about(flag(), "Let the engine run Python code from the model's repository; the plan warns."),
    )
    quantization: Literal["auto", "fp8"] = field(
        default="auto",
        metadata=about(choice("auto", "fp8"), "auto: as the checkpoint is. fp8: vLLM quantizes while it loads."),
    )


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """vLLM's version and settings, by vLLM's own names."""

    version: str = field(
        default="0.33.0",
        metadata=about(
            text(VERSION, 'three numbers in quotes, as in "0.33.0"', "0.33.0", advice.version),
            "vLLM's version, 0.1.2 or later; the formulas follow it.",
        ),
    )
    max_model_len: int | Literal["auto"] | None = field(
        default=None,
        metadata=about(
            whole(1, MOST_TOKENS, 4096, "auto"),
            "Longest context in tokens, prompt and answer together. auto: the longest that fits the GPUs. "
            "Left out: the model's own limit.",
        ),
    )
    max_num_seqs: int | None = field(
        default=None,
        metadata=about(
            whole(1, MOST_REQUESTS, 256), "Most requests in one batch. Left out: vLLM's default for the GPU."
        ),
    )
    max_num_batched_tokens: int | None = field(
        default=None,
        metadata=about(whole(1, MOST_TOKENS, 8192), "Most tokens in one step. Left out: vLLM's default for the GPU."),
    )
    kv_cache_dtype: Literal["auto", "fp8"] = field(
        default="auto", metadata=about(choice("auto", "fp8"), "Number format of the KV cache. auto: the model's dtype.")
    )
    gpu_memory_utilization: float = field(
        default=0.92,
        metadata=about(number(0, 1, 0.92, above_low=True), "Share of each GPU's memory that the engine may use."),
    )
    enforce_eager: bool = field(
        default=False, metadata=about(flag(), "No CUDA graphs and no compilation: starts faster, runs slower.")
    )
    enable_prefix_caching: bool = field(
        default=True, metadata=about(flag(), "Keep the KV cache of prompts that begin alike.")
    )
    enable_expert_parallel: bool = field(
        default=False, metadata=about(flag(), "Whole experts on each GPU instead of slices of every expert.")
    )
    extra_args: Mapping[str, str | int | bool | tuple[str | int, ...]] = field(
        default_factory=dict,
        metadata=about(
            serve_flags(),
            "Further `vllm serve` flags, passed as they are: the flag without dashes, then a value, a list "
            "or true. Refused where a key of the spec stands for the flag.",
        ),
    )


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """Which configurations are considered. Lists and pins only filter."""

    types: tuple[str, ...] | None = field(
        default=None,
        metadata=about(
            each(text(GPU, "a GPU name", "A100-80GB", advice.gpu), "[A100-40GB, A100-80GB]"),
            "GPU types by the provider's names. Left out: all in the catalogue.",
        ),
    )
    counts: tuple[int, ...] | None = field(
        default=None,
        metadata=about(each(whole(1, MOST_GPUS, 2), "[1, 2, 4, 8]"), "GPUs per container. Left out: 1 to 8."),
    )
    tensor_parallel_size: int | None = field(
        default=None,
        metadata=about(whole(1, MOST_GPUS, 2), "Pin: GPUs that share each layer. Left out: every split of the count."),
    )
    pipeline_parallel_size: int | None = field(
        default=None,
        metadata=about(whole(1, MOST_GPUS, 1), "Pin: stages of whole layers. Left out: every split of the count."),
    )


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """The load to judge under; lengths are means per request."""

    concurrency: int = field(
        default=32,
        metadata=about(
            whole(1, MOST_REQUESTS, 32), "Requests in flight, steadily: each answer is followed by a new request."
        ),
    )
    requests: int | None = field(
        default=None,
        metadata=about(whole(1, MOST_REQUESTS, 59), "Instead of a steady load, one burst of so many requests at once."),
    )
    input_tokens: int = field(default=512, metadata=about(whole(1, MOST_TOKENS, 512), "Mean prompt, in tokens."))
    output_tokens: int = field(default=256, metadata=about(whole(1, MOST_TOKENS, 256), "Mean answer, in tokens."))
    requests_per_hour: float | None = field(
        default=None,
        metadata=about(number(0, 1e9, 2000, above_low=True), "Sizes the number of containers and the monthly bill."),
    )


@dataclass(frozen=True, slots=True)
class SloSpec:
    """What must be kept; an option that misses one is rejected."""

    ttft_ms: float | None = field(
        default=None, metadata=about(number(0, DAY_MS, 2000, above_low=True), "Mean time to the first token, in ms.")
    )
    tpot_ms: float | None = field(
        default=None,
        metadata=about(number(0, DAY_MS, 50, above_low=True), "Mean time per further output token, in ms."),
    )


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """What may be spent."""

    max_usd_per_hour: Decimal | None = field(
        default=None, metadata=about(money(1_000_000, 10), "Dollars per hour of one container: GPUs, CPU and memory.")
    )


@dataclass(frozen=True, slots=True)
class ScalingSpec:
    """How many containers, and how long an idle one stays."""

    min_containers: int = field(
        default=0, metadata=about(whole(0, MOST_CONTAINERS, 0), "Containers kept warm; 0 scales to zero.")
    )
    max_containers: int = field(default=1, metadata=about(whole(1, MOST_CONTAINERS, 1), "Most containers at once."))
    scaledown_window_s: int = field(
        default=300, metadata=about(whole(2, 3600, 300), "Seconds that an idle container is kept (and paid).")
    )


@dataclass(frozen=True, slots=True)
class SecretsSpec:
    """Names of secrets kept at the provider. Never values."""

    huggingface: str | None = field(
        default=None, metadata=about(secret_name("huggingface-secret"), "Secret that holds HF_TOKEN, for gated models.")
    )
    api_key: str | None = field(
        default=None,
        metadata=about(
            secret_name("vllm-api-key"),
            "Secret that holds VLLM_API_KEY. Left out: the endpoint is closed by the provider's proxy auth alone.",
        ),
    )
    wandb: str | None = field(
        default=None, metadata=about(secret_name("wandb-secret"), "Secret that holds WANDB_API_KEY.")
    )


@dataclass(frozen=True, slots=True)
class ResourcesSpec:
    """CPU and memory of one container, beside its GPUs."""

    cpu_cores: float = field(default=4, metadata=about(number(0.125, 512, 4), "Physical CPU cores."))
    memory_gib: float = field(default=32, metadata=about(number(0.125, 8192, 32), "Memory in GiB."))


@dataclass(frozen=True, slots=True)
class Spec:
    """What a person asks for. Only name and model are required."""

    name: str = field(
        metadata=about(
            text(NAME, "a name of a to z, 0 to 9 and - (63 at most)", "llama-2-70b-chat", advice.slug),
            "The app's name.",
        )
    )
    model: ModelSpec = field(metadata=about(section(ModelSpec), "Which checkpoint, and in which format it is served."))
    engine: EngineSpec = field(
        default_factory=EngineSpec,
        metadata=about(section(EngineSpec), "vLLM's version and settings, by vLLM's own names."),
    )
    gpu: GpuSpec = field(
        default_factory=GpuSpec,
        metadata=about(section(GpuSpec), "Which configurations are considered; left out: every one in the catalogue."),
    )
    workload: WorkloadSpec | None = field(
        default=None,
        metadata=about(
            section(WorkloadSpec), "The load to judge under. Left out: 32 requests in flight, 512 tokens in, 256 out."
        ),
    )
    slo: SloSpec = field(
        default_factory=SloSpec,
        metadata=about(section(SloSpec), "What must be kept; an option that misses it is rejected."),
    )
    budget: BudgetSpec = field(default_factory=BudgetSpec, metadata=about(section(BudgetSpec), "What may be spent."))
    objective: Literal["usd_per_hour", "usd_per_million_tokens", "latency"] = field(
        default="usd_per_hour",
        metadata=about(
            choice("usd_per_hour", "usd_per_million_tokens", "latency"), "What the best option has least of."
        ),
    )
    scaling: ScalingSpec = field(
        default_factory=ScalingSpec,
        metadata=about(section(ScalingSpec), "How many containers, and how long an idle one stays."),
    )
    resources: ResourcesSpec = field(
        default_factory=ResourcesSpec,
        metadata=about(section(ResourcesSpec), "CPU and memory of one container, beside its GPUs."),
    )
    secrets: SecretsSpec = field(
        default_factory=SecretsSpec,
        metadata=about(section(SecretsSpec), "Names of secrets kept at the provider. Never values."),
    )
    region: str | None = field(
        default=None,
        metadata=about(
            text(r"[a-z0-9][a-z0-9-]{0,62}", "a region's name", "us-east"),
            "Where to run; providers charge more for a chosen region. Left out: anywhere.",
        ),
    )
    environment: str | None = field(
        default=None,
        metadata=about(
            text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "an environment's name", "main"),
            "The provider's environment. Left out: its default.",
        ),
    )
    target: Literal["modal", "local"] = field(
        default="modal",
        metadata=about(choice("modal", "local"), "Where to run: modal, or local (this machine's own GPUs)."),
    )
