"""The activation peak against what vLLM 0.26.0 reported on real GPUs (peak of torch's allocator in the profile run).

Shapes are those of the named models; layers do not matter, since the peak is that of one. Bytes are the engine's own.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from planner.memory.activations import peak_activation_bytes
from tests.made_facts import engine_of, facts_of, gpu_of

MIB = 2**20
LLAMA, QWEN, QWEN_MOE = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-30B-A3B"
MEASURED = [  # repo, gpu, tp, settings, MiB measured, MiB allowed
    (LLAMA, "H200", 1, {"max_num_batched_tokens": 16384, "max_num_seqs": 1024}, 1820.016, 0.1),
    (LLAMA, "H200", 1, {"max_num_batched_tokens": 8192, "max_num_seqs": 256}, 1130.043, 0.1),
    (LLAMA, "H200", 1, {"max_num_batched_tokens": 2048, "max_num_seqs": 1024}, 1034.032, 0.1),
    (LLAMA, "H200", 1, {"max_num_batched_tokens": 8192, "max_num_seqs": 256, "enforce_eager": True}, 896.004, 0.1),
    (LLAMA, "H200", 2, {"max_num_batched_tokens": 8192, "max_num_seqs": 1024}, 730.250, 0.1),
    ("meta-llama/Llama-2-7b-chat-hf", "H200", 1, {"max_num_batched_tokens": 8192, "max_num_seqs": 256}, 800.004, 0.1),
    ("meta-llama/Llama-2-7b-chat-hf", "H200", 2, {"max_num_batched_tokens": 8192, "max_num_seqs": 256}, 510.004, 0.1),
    ("meta-llama/Llama-2-7b-chat-hf", "H100", 1, {"max_num_batched_tokens": 8192, "max_num_seqs": 256}, 790.004, 0.1),
    ("google/gemma-2-9b", "H200", 1, {"max_num_batched_tokens": 8192, "max_num_seqs": 256}, 1862.043, 0.1),
    ("Qwen/Qwen3-32B", "H200", 1, {"max_num_batched_tokens": 2048, "max_num_seqs": 256}, 1524.022, 0.1),
    ("Qwen/Qwen3-32B-FP8", "H200", 1, {"max_num_batched_tokens": 8192, "max_num_seqs": 256}, 1624.036, 30),
    (QWEN, "H200", 1, {"max_num_batched_tokens": 2048, "max_num_seqs": 1024}, 1068.031, 0.1),
    (QWEN, "H200", 1, {"max_num_batched_tokens": 2048, "max_num_seqs": 1024, "enforce_eager": True}, 354.063, 8),
    ("Qwen/Qwen2.5-7B-Instruct-AWQ", "H200", 1, {"max_num_batched_tokens": 8192, "max_num_seqs": 256}, 1152.042, 0.1),
    (QWEN_MOE, "H200", 1, {"max_num_batched_tokens": 2048, "max_num_seqs": 1024}, 2331.305, 1),
    (QWEN_MOE, "H200", 1, {"max_num_batched_tokens": 16384, "max_num_seqs": 256}, 1744.000, 30),
    (QWEN_MOE, "H200", 1, {"max_num_batched_tokens": 8192, "max_num_seqs": 256, "enforce_eager": True}, 1173.845, 1),
    (QWEN_MOE, "H200", 2, {"max_num_batched_tokens": 8192, "max_num_seqs": 256}, 1173.845, 30),
    ("Qwen/Qwen3-32B-FP8", "H200", 2, {"max_num_batched_tokens": 8192, "max_num_seqs": 256}, 882.036, 30),
    (
        "Qwen/Qwen3-Next-80B-A3B-Instruct",
        "H200",
        1,
        {"max_num_batched_tokens": 8192, "max_num_seqs": 256, "max_model_len": 4096},
        1374.000,
        40,
    ),
    ("openai/gpt-oss-120b", "H200", 1, {"max_num_batched_tokens": 2048, "max_num_seqs": 256}, 1127.123, 30),
    (
        "deepseek-ai/DeepSeek-V2-Lite-Chat",
        "H200",
        1,
        {"max_num_batched_tokens": 8192, "max_num_seqs": 256, "max_model_len": 4096, "enforce_eager": True},
        906.004,
        40,
    ),
]


@pytest.mark.parametrize(("repo", "gpu", "tp", "settings", "measured", "allowed"), MEASURED)
def test_the_peak_is_what_the_engine_reported(
    repo: str, gpu: str, tp: int, settings: dict[str, Any], measured: float, allowed: float
) -> None:
    engine = engine_of(repo, gpu, tp=tp, version="0.26.0", **settings)
    peak = peak_activation_bytes(facts_of(repo), gpu_of(gpu), engine, tp, 1) / MIB
    assert peak == pytest.approx(measured, abs=allowed)


@pytest.mark.parametrize("repo", [LLAMA, QWEN_MOE, "google/gemma-2-9b", "deepseek-ai/DeepSeek-V2-Lite-Chat"])
@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(64, 16384),
    more=st.integers(0, 4096),
    seqs=st.integers(1, 1024),
    version=st.sampled_from(["0.26.0", "0.33.0"]),
)
def test_more_tokens_or_sequences_never_need_less(repo: str, tokens: int, more: int, seqs: int, version: str) -> None:
    def peak(**changed: int) -> int:
        engine = engine_of(repo, "H100", version=version, **changed)
        return peak_activation_bytes(facts_of(repo), gpu_of("H100"), engine, 1, 1)

    base = peak(max_num_batched_tokens=tokens, max_num_seqs=seqs)
    # the allocator may give a larger tensor a tighter block: at most one unsplit remainder each
    assert peak(max_num_batched_tokens=tokens + more, max_num_seqs=seqs) >= base - 3 * MIB
    assert peak(max_num_batched_tokens=tokens, max_num_seqs=seqs + more) >= base - 3 * MIB


def test_features_of_several_depths_wait_in_the_encoder_cache() -> None:
    facts = facts_of("Qwen/Qwen3-VL-8B-Instruct")
    flat = replace(facts, deepstack_levels=0)
    engine = engine_of("Qwen/Qwen3-VL-8B-Instruct", "H100", max_num_batched_tokens=8192)
    peaks = [peak_activation_bytes(one, gpu_of("H100"), engine, 1, 1) for one in (facts, flat)]
    assert peaks[0] - peaks[1] == 3 * 8192 * 4096 * 2
    text_only = replace(engine, language_model_only=True)
    assert peak_activation_bytes(facts, gpu_of("H100"), text_only, 1, 1) == peaks[1] - 8192 * 4096 * 2
