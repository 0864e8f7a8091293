from __future__ import annotations

import re

import pytest

from planner.deployment.engine_log import FAILURES, explain_failure, is_death, phase_of
from tests.releases import LLAMA_70B

# Lines as vLLM 0.25.0 to 0.33.0 logs or raises them, and what we say.
DEATHS = [
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB.", "out of memory while starting"),
    ("ValueError: No available memory for the cache blocks. Try increasing", "nothing is left for the KV cache"),
    (
        "ValueError: To serve at least one request with the models's max seq len (131072), (16 GiB KV cache is needed",
        "the KV cache is smaller than one request of 4096 tokens",
    ),
    (
        "ValueError: Free memory on device cuda:0 (1/79 GiB) on startup is less than desired GPU memory utilization",
        "something else holds memory of the GPU",
    ),
    (
        "ValueError: Available memory on node 0 (20/23 GiB) on startup is less than desired CPU memory utilization",
        "this machine's memory is in use",
    ),
    (
        "ValueError: User-specified max_model_len (9) is greater than the derived max_model_len (max_seq_len=8 or",
        "max_model_len is over the model's own limit",
    ),
    ("ValueError: No valid attention backend found for cuda with x", "no attention kernel for this model on 2×A100"),
    (
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU",
        "too old for this dtype or format",
    ),
    (
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12020)",
        "the GPU's driver and this vLLM do not go together",
    ),
    ("OSError: [Errno 28] No space left on device", "the disk is full"),
    (
        "ValueError: Total number of attention heads (64) must be divisible by tensor parallel size (3).",
        "the split does not divide the model",
    ),
    ("vllm: error: unrecognized arguments: --foo", "vLLM 0.33.0 does not know a flag"),
    (
        "ValueError: Model architectures ['FooForCausalLM'] are not supported for now.",
        "vLLM 0.33.0 does not serve this architecture",
    ),
    (
        "ValueError: Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
        "model.trust_remote_code: true",
    ),
    ("RuntimeError: NCCL error: unhandled system error", "the GPUs could not talk to each other"),
    ("RuntimeError: Worker failed with error 'Unsupported CPU attention configuration'", "the engine failed: Runtime"),
    ("gpuplan: weights: not the planned model: config.json has 3 bytes", "the weights are not the planned model"),
    ("gpuplan: weights: no checked snapshot of o/m@main. Run: x", "the weights are not in place"),
    ("gpuplan: weights: o/m is gated: accept its licence", "o/m is gated"),
]


@pytest.mark.parametrize(("line", "said"), DEATHS)
def test_a_known_failure_is_told_in_our_words(line: str, said: str) -> None:
    explained = explain_failure(["INFO something else", line, "and a traceback"], LLAMA_70B)
    assert explained is not None
    assert said in explained


def test_every_known_failure_has_an_example() -> None:
    for failure in FAILURES:
        assert any(re.search(failure.pattern, line) for line, _ in DEATHS), failure.pattern


def test_out_of_memory_compares_measured_with_planned() -> None:
    log = [
        "INFO Model loading took 64.24 GiB memory and 20 seconds",
        "INFO Available KV cache memory: -1.30 GiB",
        "torch.OutOfMemoryError: CUDA out of memory.",
    ]
    said = explain_failure(log, LLAMA_70B) or ""
    assert "per GPU 64.00 GiB weights, 7.00 GiB for the KV cache, 79.00 GiB in all" in said
    assert "the engine measured Model loading took 64.24 GiB, Available KV cache memory: -1.30 GiB" in said


def test_an_unknown_failure_is_not_guessed() -> None:
    assert explain_failure(["Segmentation fault"], LLAMA_70B) is None


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        ("gpuplan: weights: o/m@sha checked, 3 files", "weights"),
        ("gpuplan: engine: starting: vllm serve", "engine"),
        ("(EngineCore pid=7) INFO Model loading took 64.24 GiB", "engine"),
        ("INFO Capturing CUDA graphs (mixed prefill-decode)", "graphs"),
        ("INFO:     Application startup complete.", "ready"),
        ("INFO nothing of note", None),
    ],
)
def test_phases(line: str, phase: str | None) -> None:
    assert phase_of(line) == phase


def test_deaths() -> None:
    assert is_death("gpuplan: engine: died with code 1 while starting")
    assert not is_death("INFO Application startup complete.")
