"""Speed far from any row: models of every kind, old and new GPUs, a token or a million, one request or thousands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from planner.workload import Workload
from tests.test_throughput_properties import ROUNDING, speed

if TYPE_CHECKING:
    from planner.throughput import Throughput

KINDS = (
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "google/gemma-3-27b-it",  # windows
    "meta-llama/Llama-3.1-405B",
    "nvidia/Qwen3.5-397B-A17B-NVFP4",
    "Qwen/Qwen3-235B-A22B-FP8",
    "openai/gpt-oss-120b",
    "deepseek-ai/DeepSeek-V3",  # latent attention
    "zai-org/GLM-5",  # with an indexer
    "deepseek-ai/DeepSeek-V4-Flash",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4",  # mamba, linear attention above
)
LARGE = KINDS[2:9]
CARDS = ("T4", "L4", "A10", "L40S", "RTX-PRO-6000", "A100-40GB", "H100", "H200", "B200", "B300")

kinds = st.sampled_from(KINDS)
cards = st.sampled_from(CARDS)
splits = st.sampled_from(((1, 1), (8, 1), (2, 2), (1, 4)))
lengths = st.sampled_from((1, 2, 513, 8192, 131_072, 1_000_000))
answers = st.sampled_from((1, 2, 256, 32_768))
numbers = st.sampled_from((1, 2, 9, 64, 511, 4096))


def asked(repo: str, gpu: str, load: Workload, split: tuple[int, int], **engine: object) -> Throughput:
    return speed(repo, gpu, load, *split, dtype="float16" if gpu == "T4" else "bfloat16", **engine)


@given(kinds, cards, splits, lengths, answers, numbers, st.booleans())
def test_every_figure_is_a_number_inside_its_interval(
    repo: str, gpu: str, split: tuple[int, int], tokens: int, answer: int, number: int, burst: bool
) -> None:
    load = Workload(concurrency=number, input_tokens=tokens, output_tokens=answer, requests=number if burst else None)
    found = asked(repo, gpu, load, split)
    assert 0 < found.low < found.output_tokens_per_second < found.high < float("inf")
    assert 0 < found.ttft_ms < float("inf")
    assert 0 < found.tpot_ms < float("inf")
    if not burst:
        held_s = (found.ttft_ms + (answer - 1) * found.tpot_ms) / 1000
        assert found.output_tokens_per_second * held_s == pytest.approx(number * answer)


@given(kinds, cards, splits, lengths, answers, numbers, st.sampled_from((1.1, 3.0)))
def test_more_in_flight_is_never_less_in_all_and_nothing_comes_sooner(
    repo: str, gpu: str, split: tuple[int, int], tokens: int, answer: int, number: int, factor: float
) -> None:
    """First tokens within a hundredth: what a prompt adds to a step shrinks as the step itself grows."""
    load = Workload(concurrency=number, input_tokens=tokens, output_tokens=answer)
    found, more = (
        asked(repo, gpu, one, split) for one in (load, replace(load, concurrency=round(number * factor + 0.5)))
    )
    assert more.output_tokens_per_second * ROUNDING >= found.output_tokens_per_second
    assert more.ttft_ms * 1.01 >= found.ttft_ms


@given(
    st.sampled_from(KINDS[1:]),
    st.sampled_from((("A100-40GB", "H100"), ("H100", "H200"), ("H200", "B200"), ("L4", "L40S"))),
    numbers,
)
def test_a_faster_gpu_is_not_slower(repo: str, pair: tuple[str, str], number: int) -> None:
    """On two, beside the least model, which waits for NVLink 5 longer than it reads (custom_allreduce_perf)."""
    load = Workload(concurrency=number, input_tokens=1000, output_tokens=300)
    slow, fast = (asked(repo, gpu, load, (2, 1)) for gpu in pair)
    assert fast.output_tokens_per_second >= slow.output_tokens_per_second


@given(st.sampled_from(LARGE), st.sampled_from(("H100", "B200")), st.integers(8, 4096), st.sampled_from((1, 2, 4)))
def test_twice_the_gpus_over_nvlink_are_not_slower(repo: str, gpu: str, number: int, ranks: int) -> None:
    """Of large models under load; for a lone request all-reduces may take longer than what two GPUs save."""
    load = Workload(concurrency=number, input_tokens=1000, output_tokens=300)
    one, two = (asked(repo, gpu, load, (count, 1)) for count in (ranks, 2 * ranks))
    assert two.output_tokens_per_second >= one.output_tokens_per_second
