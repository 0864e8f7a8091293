"""Keys: how each key of a spec is read and what it means; the reader, the JSON Schema and the reference use them."""

from __future__ import annotations

from planner.spec import advice
from planner.spec.flags import serve_flags
from planner.spec.kinds import choice, each, flag, secret_name, text
from planner.spec.quantities import money, number, whole
from planner.spec.schema import (
    BudgetSpec,
    EngineSpec,
    GpuSpec,
    ModelSpec,
    ResourcesSpec,
    ScalingSpec,
    SecretsSpec,
    SloSpec,
    Spec,
    WorkloadSpec,
)
from planner.spec.sections import keys, section

MOST_TOKENS = 2**31 - 1  # vLLM keeps lengths in 32-bit integers
MOST_GPUS = 8  # GPUs of one container, the most that any offer has
MOST_REQUESTS = 1_000_000
MOST_CONTAINERS = 1_000
DAY_MS = 86_400_000

NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# huggingface_hub's validate_repo_id, with an organization always there
REPO = r"(?!.*(--|\.\.))[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}(?<![.-])"
REVISION = r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./+-]{0,254}"  # a git reference or a commit
NUMBER = r"(0|[1-9][0-9]{0,3})"
VERSION = rf"{NUMBER}\.{NUMBER}\.{NUMBER}"
GPU_NAME = r"[A-Za-z0-9!+._ -]{1,64}"

MODEL = keys(
    ModelSpec,
    {
        "repo": (
            text(REPO, "org/name, as on the hub", "meta-llama/Llama-2-70b-chat-hf", advice.repo),
            "The model on the Hugging Face hub.",
        ),
        "revision": (
            text(REVISION, "a branch, a tag or a 40-hex commit", "main"),
            "Branch, tag or 40-hex commit; resolved to the commit when the hub can be reached.",
        ),
        "path": (
            text(r".{1,4096}", "a folder", "./models/llama-2-70b"),
            (
                "A local folder with config.json (and safetensors or their index), relative to the spec file; "
                "planned from instead of the hub."
            ),
        ),
        "dtype": (
            choice("auto", "bfloat16", "float16", "float32"),
            "Number format of weights that are not quantized, and of the arithmetic. auto: vLLM's rule.",
        ),
        "trust_remote_code": (flag(), "Let the engine run Python code from the model's repository; the plan warns."),
        "quantization": (choice("auto", "fp8"), "auto: as the checkpoint is. fp8: vLLM quantizes while it loads."),
    },
)

ENGINE = keys(
    EngineSpec,
    {
        "version": (
            text(VERSION, 'three numbers in quotes, as in "0.33.0"', "0.33.0", advice.version),
            "vLLM's version, 0.1.2 or later; the formulas follow it.",
        ),
        "max_model_len": (
            whole(1, MOST_TOKENS, 4096, "auto"),
            (
                "Longest context in tokens, prompt and answer together. auto: the longest that fits the GPUs. "
                "Left out: the model's own limit."
            ),
        ),
        "max_num_seqs": (
            whole(1, MOST_REQUESTS, 256),
            "Most requests in one batch. Left out: vLLM's default for the GPU.",
        ),
        "max_num_batched_tokens": (
            whole(1, MOST_TOKENS, 8192),
            "Most tokens in one step. Left out: vLLM's default for the GPU.",
        ),
        "kv_cache_dtype": (choice("auto", "fp8"), "Number format of the KV cache. auto: the model's dtype."),
        "gpu_memory_utilization": (
            number(0, 1, 0.92, above_low=True),
            "Share of each GPU's memory that the engine may use.",
        ),
        "enforce_eager": (flag(), "No CUDA graphs and no compilation: starts faster, runs slower."),
        "enable_prefix_caching": (
            flag(),
            "Keep the KV cache of prompts that begin alike. Left out: vLLM's default for the model.",
        ),
        "enable_expert_parallel": (flag(), "Whole experts on each GPU instead of slices of every expert."),
        "extra_args": (
            serve_flags(),
            (
                "Further `vllm serve` flags, passed as they are: the flag without dashes, then a value, a list "
                "or true. Refused where a key of the spec stands for the flag."
            ),
        ),
    },
)

GPU = keys(
    GpuSpec,
    {
        "types": (
            each(text(GPU_NAME, "a GPU name", "A100-80GB", advice.gpu), "[A100-40GB, A100-80GB]"),
            "GPU types by the provider's names. Left out: all in the catalogue.",
        ),
        "counts": (each(whole(1, MOST_GPUS, 2), "[1, 2, 4, 8]"), "GPUs per container. Left out: 1 to 8."),
        "tensor_parallel_size": (
            whole(1, MOST_GPUS, 2),
            "Pin: GPUs that share each layer. Left out: every split of the count.",
        ),
        "pipeline_parallel_size": (
            whole(1, MOST_GPUS, 1),
            "Pin: stages of whole layers. Left out: every split of the count.",
        ),
    },
)

WORKLOAD = keys(
    WorkloadSpec,
    {
        "concurrency": (
            whole(1, MOST_REQUESTS, 32),
            "Requests in flight, steadily: each answer is followed by a new request.",
        ),
        "requests": (whole(1, MOST_REQUESTS, 59), "Instead of a steady load, one burst of so many requests at once."),
        "input_tokens": (
            whole(1, MOST_TOKENS, 512),
            "Mean prompt, in tokens. Left out: 512, or what max_model_len leaves.",
        ),
        "output_tokens": (
            whole(1, MOST_TOKENS, 256),
            "Mean answer, in tokens. Left out: 256, or what max_model_len leaves.",
        ),
        "requests_per_hour": (
            number(0, 1e9, 2000, above_low=True),
            "Sizes the number of containers and the monthly bill.",
        ),
    },
)

SLO = keys(
    SloSpec,
    {
        "ttft_ms": (number(0, DAY_MS, 2000, above_low=True), "Mean time to the first token, in ms."),
        "tpot_ms": (number(0, DAY_MS, 50, above_low=True), "Mean time per further output token, in ms."),
    },
)

BUDGET = keys(
    BudgetSpec,
    {
        "max_usd_per_hour": (money(1_000_000, 10), "Dollars per hour of one container: GPUs, CPU and memory."),
    },
)

SCALING = keys(
    ScalingSpec,
    {
        "min_containers": (whole(0, MOST_CONTAINERS, 0), "Containers kept warm; 0 scales to zero."),
        "max_containers": (whole(1, MOST_CONTAINERS, 1), "Most containers at once."),
        "scaledown_window_s": (whole(2, 3600, 300), "Seconds that an idle container is kept (and paid)."),
    },
)

SECRETS = keys(
    SecretsSpec,
    {
        "huggingface": (secret_name("huggingface-secret"), "Secret that holds HF_TOKEN, for gated models."),
        "api_key": (
            secret_name("vllm-api-key"),
            "Secret that holds VLLM_API_KEY. Left out: the endpoint is closed by the provider's proxy auth alone.",
        ),
        "wandb": (secret_name("wandb-secret"), "Secret that holds WANDB_API_KEY."),
    },
)

RESOURCES = keys(
    ResourcesSpec,
    {
        "cpu_cores": (number(0.125, 512, 4), "Physical CPU cores."),
        "memory_gib": (number(0.125, 8192, 32), "Memory in GiB."),
    },
)

SPEC = keys(
    Spec,
    {
        "name": (
            text(NAME, "a name of a to z, 0 to 9 and - (63 at most)", "llama-2-70b-chat", advice.slug),
            "The app's name.",
        ),
        "model": (section(ModelSpec, MODEL), "Which checkpoint, and in which format it is served."),
        "engine": (section(EngineSpec, ENGINE), "vLLM's version and settings, by vLLM's own names."),
        "gpu": (section(GpuSpec, GPU), "Which configurations are considered; left out: every one in the catalogue."),
        "workload": (
            section(WorkloadSpec, WORKLOAD),
            "The load to judge under. Left out: 32 requests in flight, 512 tokens in, 256 out.",
        ),
        "slo": (section(SloSpec, SLO), "What must be kept; an option that misses it is rejected."),
        "budget": (section(BudgetSpec, BUDGET), "What may be spent."),
        "objective": (
            choice("usd_per_hour", "usd_per_million_tokens", "latency"),
            "What the best option has least of. Among equals fewer GPUs come first, then more tokens per second.",
        ),
        "scaling": (section(ScalingSpec, SCALING), "How many containers, and how long an idle one stays."),
        "resources": (section(ResourcesSpec, RESOURCES), "CPU and memory of one container, beside its GPUs."),
        "secrets": (section(SecretsSpec, SECRETS), "Names of secrets kept at the provider. Never values."),
        "region": (
            text(r"[a-z0-9][a-z0-9-]{0,62}", "a region's name", "us-east"),
            "Where to run; providers charge more for a chosen region. Left out: anywhere.",
        ),
        "environment": (
            text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "an environment's name", "main"),
            "The provider's environment. Left out: its default.",
        ),
        "target": (choice("modal", "local"), "Where to run: modal, or local (this machine's own GPUs)."),
    },
)
