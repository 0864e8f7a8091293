"""The engine's log: which phase a line belongs to, and what a failure means in the plan's words. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.explain.figures import gib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.release import Release

# A line that contains the words starts the phase; vLLM 0.25.0 to 0.33.0 (gpu_worker.py, gpu_model_runner.py, core.py).
PHASE_MARKS = (
    ("gpuplan: engine: ready", "ready"),
    ("gpuplan: engine: starting", "engine"),
    ("gpuplan: weights:", "weights"),
    ("Starting to load model", "engine"),
    ("Loading weights took", "engine"),
    ("Model loading took", "engine"),
    ("torch.compile", "graphs"),
    ("Capturing CUDA graph", "graphs"),
    ("Graph capturing finished", "graphs"),
    ("Application startup complete", "ready"),
)
MEASURED = (r"Model loading took [\d.]+ GiB", r"Available KV cache memory: -?[\d.]+ GiB")
DEAD_MARKS = (
    "gpuplan: engine: its first completion failed",
    "gpuplan: engine: died",
    "gpuplan: engine: not ready",
    "gpuplan: weights: no checked",
    "not the planned",
)


class Failure(Struct, frozen=True):
    """A known way to fail: the words that show it and what to say."""

    pattern: str
    sentence: str


FAILURES = (
    Failure(
        r"(?:torch\.)?(?:cuda\.)?OutOfMemoryError|CUDA out of memory",
        "out of memory while starting: {line} Planned was {gpu} with {flags}, per GPU {planned}; "
        "the engine measured {measured}. Try gpu_memory_utilization lower, max_num_seqs or max_model_len smaller.",
    ),
    Failure(
        r"No available memory for the cache blocks",
        "nothing is left for the KV cache. Planned was {gpu} with {flags}, per GPU {planned}; "
        "the engine measured {measured}. Try more GPUs, model.quantization: fp8, or gpu_memory_utilization higher.",
    ),
    Failure(
        r"To serve at least one request with the models's max seq len|larger than the available KV cache memory",
        "the KV cache is smaller than one request of {max_model_len} tokens: {line} "
        "Set engine.max_model_len to what the engine names.",
    ),
    Failure(
        r"Free memory on device .* is less than desired GPU memory utilization",
        "something else holds memory of the GPU: {line} Try gpu_memory_utilization lower.",
    ),
    Failure(
        r"Available memory on node .* is less than desired CPU memory utilization",
        "this machine's memory is in use: {line} Set VLLM_CPU_KVCACHE_SPACE (GiB), or gpu_memory_utilization lower.",
    ),
    Failure(
        r"User-specified max_model_len .* is greater",
        "max_model_len is over the model's own limit: {line} Set engine.max_model_len to that or less.",
    ),
    Failure(
        r"No valid attention backend found|attention backends are not valid for",
        "vLLM {engine_version} has no attention kernel for this model on {gpu}: {line} Try another GPU or dtype.",
    ),
    Failure(
        r"compute capability of at least|Minimum capability",
        "{gpu} is too old for this dtype or format: {line} Try a newer GPU, or model.dtype: float16.",
    ),
    Failure(
        r"driver version is insufficient|driver on your system is too old|no kernel image is available",
        "the GPU's driver and this vLLM do not go together: {line} Set engine.version to another one, or another GPU.",
    ),
    Failure(
        r"No space left on device",
        "the disk is full: {line} On this machine make room; at the provider deploy again.",
    ),
    Failure(
        r"must be divisible by tensor parallel size|is not divisible by|not divisible by the number of",
        "the split does not divide the model: {line} Set gpu.tensor_parallel_size to a divisor.",
    ),
    Failure(
        r"unrecognized arguments|invalid choice: ",
        "vLLM {engine_version} does not know a flag: {line} Check engine.extra_args and engine.version.",
    ),
    Failure(
        r"Model architectures .* are not supported|has no vLLM implementation",
        "vLLM {engine_version} does not serve this architecture: {line} Set engine.version to a newer one.",
    ),
    Failure(
        r"pass the argument `trust_remote_code=True`|set the `trust_remote_code` option",
        "the model needs code from its repository: {line} Set model.trust_remote_code: true if you trust it.",
    ),
    Failure(
        r"NCCL error|ncclSystemError|ncclUnhandledCudaError",
        "the GPUs could not talk to each other: {line} Deploy again; if it recurs, try fewer GPUs per container.",
    ),
    Failure(r"Worker failed with error|Engine core initialization failed", "the engine failed: {line}"),
    Failure(r"not the planned model: (.*)", "the weights are not the planned model: {line}"),
    Failure(r"weights: no checked snapshot", "the weights are not in place: {line}"),
    Failure(r"is gated", "{line}"),
)


def phase_of(line: str) -> str | None:
    """The phase that a log line shows, None for most lines."""
    return next((phase for mark, phase in PHASE_MARKS if mark in line), None)


def is_death(line: str) -> bool:
    """Whether the line says that this container will not serve."""
    return any(mark in line for mark in DEAD_MARKS)


def explain_failure(lines: Sequence[str], release: Release) -> str | None:
    """The first known failure in a log, in the plan's words, or None."""
    for failure in FAILURES:
        for line in lines:
            if re.search(failure.pattern, line):
                return failure.sentence.format(
                    line=line.strip()[-300:],
                    gpu=f"{release.gpu_count}×{release.gpu}",
                    flags=_memory_flags(release),
                    planned=_planned_memory(release),
                    measured=_measured_memory(lines),
                    max_model_len=release.max_model_len,
                    engine_version=release.engine_version,
                )
    return None


def _memory_flags(release: Release) -> str:
    wanted = ("--max-model-len", "--max-num-seqs", "--gpu-memory-utilization")
    return " ".join(" ".join(arg) for arg in release.engine_args if arg[0] in wanted)


def _planned_memory(release: Release) -> str:
    figures = {
        "weights": release.model_loading_bytes,
        "for the KV cache": release.available_kv_bytes,
        "in all": release.total_bytes,
    }
    return (
        ", ".join(f"{gib(nbytes)} {what}" for what, nbytes in figures.items() if nbytes is not None) or "nothing known"
    )


def _measured_memory(lines: Sequence[str]) -> str:
    """What the engine itself logged before it died (gpu_model_runner.py load_model, gpu_worker.py)."""
    found = [match.group(0) for pattern in MEASURED for line in lines if (match := re.search(pattern, line))]
    return ", ".join(dict.fromkeys(found)) or "nothing before it died"
