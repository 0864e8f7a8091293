"""Speed: the note of 2023 with its engine, and what must hold for any load."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.memory.account import make_memory
from planner.memory.kv_cache import plan_kv_cache, stage_layouts
from planner.throughput import Throughput, predict
from planner.workload import Workload
from tests.made_facts import engine_of, facts_of, gpu_of

SMALL, LARGE = "meta-llama/Llama-2-7b-chat-hf", "meta-llama/Llama-2-70b-chat-hf"
PROMPTS = Workload(concurrency=59, requests=59, input_tokens=45, output_tokens=350)  # lengths are estimates


def speed(
    repo: str, gpu: str, count: int, load: Workload = PROMPTS, version: str = "0.1.3", **asked: Any
) -> Throughput:
    engine = engine_of(repo, gpu, tp=count, version=version, **{"dtype": "float16", "max_num_seqs": 256} | asked)
    facts = facts_of(repo)
    layouts = stage_layouts(facts, gpu_of(gpu), engine, count, 1)
    available = [memory.available_kv_bytes for memory in make_memory(facts, gpu_of(gpu), engine, count, 1)]
    cache = plan_kv_cache(layouts, available, engine)
    return predict(facts, Candidate(gpu_of(gpu), None, count, count, 1), engine, cache, load)


@pytest.mark.parametrize(
    ("gpu", "fastest_first"), [("A10", (4, 2, 1)), ("A100-40GB", (1, 2, 4))], ids=["more is faster", "more is slower"]
)
def test_the_notes_orders_with_its_engine(gpu: str, fastest_first: tuple[int, ...]) -> None:
    speeds = [speed(SMALL, gpu, count).output_tokens_per_second for count in fastest_first]
    assert speeds == sorted(speeds, reverse=True)


def test_the_notes_70b_within_15_percent() -> None:
    assert speed(LARGE, "A100-40GB", 4).output_tokens_per_second == pytest.approx(380.9, rel=0.15)


@pytest.mark.parametrize("version", ["0.26.0", "0.33.0"])
def test_todays_engine_is_faster_on_more_gpus(version: str) -> None:
    speeds = [speed(SMALL, "A100-40GB", count, version=version).output_tokens_per_second for count in (1, 2, 4)]
    assert speeds == sorted(speeds)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_interval_holds_the_prediction(count: int) -> None:
    found = speed(SMALL, "A10", count, version="0.33.0")
    assert 0 < found.low < found.output_tokens_per_second < found.high
    assert found.provenance == "modelled"


def test_more_in_flight_is_more_in_all_and_slower_for_each() -> None:
    loads = [replace(PROMPTS, requests=None, concurrency=concurrency) for concurrency in (1, 8, 64)]
    found = [speed(SMALL, "H100", 1, load, "0.33.0") for load in loads]
    assert [one.output_tokens_per_second for one in found] == sorted(one.output_tokens_per_second for one in found)
    assert [one.tpot_ms for one in found] == sorted(one.tpot_ms for one in found)


@pytest.mark.parametrize(
    ("count", "prompt", "concurrency", "measured"),
    [(4, 922, 4, 647), (4, 922, 128, 8_610), (4, 922, 512, 16_928), (4, 7373, 256, 5_677), (2, 922, 256, 9_772)],
)
def test_experts_on_several_gpus_of_blackwell(count: int, prompt: int, concurrency: int, measured: float) -> None:
    """MiniMax-M2.5 in NVFP4 on B300, vLLM 0.19.0 (ai-dynamo/aiconfigurator); no row of four GPUs was fitted on."""
    load = Workload(concurrency=concurrency, input_tokens=prompt, output_tokens=922)
    asked = {"dtype": "bfloat16", "max_num_seqs": 1024, "max_model_len": 9216}
    found = speed("nvidia/MiniMax-M2.5-NVFP4", "B300", count, load, "0.19.0", **asked)
    assert found.output_tokens_per_second == pytest.approx(measured, rel=0.2)
