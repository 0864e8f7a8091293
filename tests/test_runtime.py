"""CUDA graphs, what lies outside torch, and the account that is made of them, against vLLM 0.26.0 on real GPUs."""

from __future__ import annotations

from typing import Any

import pytest

from planner.memory.account import make_memory
from planner.memory.runtime import cuda_graph_bytes, non_torch_bytes, outside_bytes
from tests.made_facts import engine_of, facts_of, gpu_of

MIB = 2**20
QWEN_MOE, GPT_OSS, MIXTRAL = "Qwen/Qwen3-30B-A3B", "openai/gpt-oss-120b", "mistralai/Mixtral-8x7B-v0.1"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GRAPHS = [  # repo, gpu, tp, settings, MiB that vLLM subtracted
    (QWEN_MOE, "H100", 1, {"max_num_seqs": 256}, 502),
    (GPT_OSS, "H200", 1, {"max_num_seqs": 256}, 578),
    (MIXTRAL, "H100", 2, {"max_num_seqs": 256}, 368),
    (QWEN_MOE, "H200", 1, {"max_num_seqs": 256, "enforce_eager": True}, 0),
    (LLAMA, "H200", 1, {"max_num_seqs": 1024}, 0),  # the second model runner of 0.26.0 estimates nothing
]


@pytest.mark.parametrize(("repo", "gpu", "tp", "settings", "measured"), GRAPHS)
def test_graphs_take_what_the_engine_subtracted(
    repo: str, gpu: str, tp: int, settings: dict[str, Any], measured: float
) -> None:
    engine = engine_of(repo, gpu, tp=tp, version="0.26.0", **settings)
    assert cuda_graph_bytes(facts_of(repo), gpu_of(gpu), engine, tp, 1) / MIB == pytest.approx(measured, abs=35)


def test_graphs_are_subtracted_for_every_model_from_0_33_on() -> None:
    engine = engine_of(LLAMA, "H200", version="0.33.0")
    assert cuda_graph_bytes(facts_of(LLAMA), gpu_of("H200"), engine, 1, 1) > 300 * MIB


def test_without_flash_attention_3_no_splits_are_kept() -> None:
    facts = facts_of(QWEN_MOE)
    hopper, ampere = (
        cuda_graph_bytes(facts, gpu_of(name), engine_of(QWEN_MOE, name, max_num_seqs=256), 1, 1)
        for name in ("H100", "A100-80GB")
    )
    assert hopper - ampere == 32 * 256 * 32 * 128 * 4


@pytest.mark.parametrize(
    ("repo", "gpu", "tp", "measured"), [(LLAMA, "H200", 1, 230), (LLAMA, "H200", 2, 68), (MIXTRAL, "H100", 2, 118)]
)
def test_what_lies_outside_torch(repo: str, gpu: str, tp: int, measured: float) -> None:
    engine = engine_of(repo, gpu, tp=tp, version="0.26.0")
    assert non_torch_bytes(gpu_of(gpu), engine, tp, 1, facts_of(repo)) / MIB == pytest.approx(measured, abs=12)


@pytest.mark.parametrize(("tp", "free_at_start"), [(1, 149_557_477_376), (2, 148_468_989_952)])
def test_what_is_gone_before_the_engine_looks(tp: int, free_at_start: int) -> None:
    gpu = gpu_of("H200")
    assert gpu.total_bytes - outside_bytes(gpu, tp, 1) == pytest.approx(free_at_start, abs=2 * MIB)


def test_the_account_adds_up() -> None:
    engine = engine_of(QWEN_MOE, "H100", version="0.26.0", max_num_seqs=256)
    for memory in make_memory(facts_of(QWEN_MOE), gpu_of("H100"), engine, 1, 1):
        parts = memory.model_loading_bytes + memory.peak_activation_bytes
        parts += memory.non_torch_bytes + memory.cuda_graph_bytes + memory.available_kv_bytes
        assert parts == memory.requested_bytes
