"""Flags of extra_args: what they do to the plan, what vLLM refuses, and what a plan warns about."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.catalog import load_catalog
from planner.checks import CHECKS
from planner.cli.planning import plan_text
from planner.engine import V0_33
from planner.engine_flags import COUNTED_WITHOUT_SPEED, UNCOUNTED, flag_warnings, gib_flag, number_flag
from planner.flag_names import FLAGS, unknown_flags
from planner.memory.kv_cache import request_blocks, stage_layouts
from planner.memory.offload import offloaded_bytes
from planner.model.architectures import make_facts
from planner.plan import Option
from planner.rejection import Rejection
from planner.serve_args import serve_args
from planner.spec.flags import KEY_OF_FLAG
from tests.hand_made import DEEPSEEK_V3, FULL, GIB, GPT_OSS_120B, LLAMA_3_8B, QWEN3_NEXT, engine_of, facts_of, gpu

SPEC = """\
name: flags
model: {{repo: meta-llama/Llama-3.1-8B-Instruct}}
engine: {{max_model_len: 8192, extra_args: {{{flags}}}}}
gpu: {{types: [H100], counts: [1]}}
"""


def verdict(flags: str) -> Option | Rejection:
    """The plan's only answer: one H100."""
    plan = plan_text(SPEC.format(flags=flags), "a test", offline=True).plan
    return plan.options[0] if plan.options else plan.rejections[0]


def option(flags: str) -> Option:
    found = verdict(flags)
    assert isinstance(found, Option)
    return found


@pytest.mark.parametrize(
    ("written", "number"),
    [(1024, 1024), ("1k", 1000), ("1K", 1024), ("25.6k", 25_600), ("10G", 10 * GIB), ("ten", None), (True, None)],
)
def test_sizes_are_read_as_vllm_reads_them(written: Any, number: int | None) -> None:
    assert number_flag({"kv-cache-memory-bytes": written}, "kv-cache-memory-bytes") == number
    assert number_flag({"kv_cache_memory_bytes": written}, "kv-cache-memory-bytes") == number


def test_gib_may_be_a_fraction() -> None:
    assert gib_flag({"cpu-offload-gb": "1.5"}, "cpu-offload-gb") == 3 * GIB // 2
    assert gib_flag({}, "cpu-offload-gb") == 0


def test_asked_bytes_take_the_place_of_what_is_left() -> None:
    asked = option("kv-cache-memory-bytes: 10G")
    assert asked.memory.available_kv_bytes == 10 * GIB
    assert asked.kv_cache.num_blocks == 10 * GIB // asked.kv_cache.bytes_per_block
    assert asked.memory.model_loading_bytes == option("").memory.model_loading_bytes


def test_asked_blocks_take_the_place_of_what_the_bytes_hold() -> None:
    asked, plain = option("num-gpu-blocks-override: 1000"), option("")
    assert asked.kv_cache.num_blocks == 1000
    assert asked.memory == plain.memory
    assert asked.longest_context_tokens == 999 * asked.kv_cache.block_size


@pytest.mark.parametrize("flags", ["kv-cache-memory-bytes: 70G", "num-gpu-blocks-override: 40000"])
def test_more_than_the_gpu_has_is_refused(flags: str) -> None:
    refused = verdict(flags)
    assert isinstance(refused, Rejection)
    assert refused.code == "memory"
    assert f"engine.extra_args.{flags.partition(':')[0]} asks for" in refused.reason


def test_fewer_blocks_than_a_request_needs_are_refused() -> None:
    refused = verdict("num-gpu-blocks-override: 100")
    assert isinstance(refused, Rejection)
    assert refused.code == "kv_cache"


def test_offloading_moves_parameters_of_layers_in_order() -> None:
    checkpoint = load_catalog().find_model("meta-llama/Llama-3.1-8B-Instruct")
    assert checkpoint is not None
    facts = make_facts(checkpoint)
    engine = engine_of(facts, extra_args={"cpu-offload-gb": 1})
    moved = offloaded_bytes(facts, gpu("H100"), engine, 1, 1, 0)
    layer = 2 * (4096 * (4096 + 2048 + 4096 + 3 * 14336) + 2 * 4096)
    assert moved == 2 * layer + 2 * 4096 * (6144 + 4096) + 2 * 4096 * 2 * 14336  # up to the third layer's gate and up
    assert offloaded_bytes(facts, gpu("H100"), replace(engine, cpu_offload_bytes=99 * GIB), 1, 1, 0) == 32 * layer
    less = option("").memory.model_loading_bytes - option("cpu-offload-gb: 1").memory.model_loading_bytes
    assert less == moved


@pytest.mark.parametrize("facts", [LLAMA_3_8B, DEEPSEEK_V3])
@pytest.mark.parametrize("version", ["0.25.0", "0.33.0"])
def test_context_parallel_ranks_share_a_sequence(facts: Any, version: str) -> None:
    plain = engine_of(facts, tp=16, version=version, max_model_len=32768)
    shared = engine_of(
        facts, tp=16, version=version, max_model_len=32768, extra_args={"decode-context-parallel-size": 2}
    )
    (layout,) = stage_layouts(facts, gpu("H100"), plain, 16, 1)
    assert stage_layouts(facts, gpu("H100"), shared, 16, 1) == (layout,)
    assert 2 * request_blocks(layout, shared, 32768) == request_blocks(layout, plain, 32768)


def refusal(facts: Any, tp: int, version: str = "0.33.0", **keys: Any) -> str | None:
    engine = engine_of(facts, tp=tp, version=version, **keys)
    candidate = Candidate(gpu("H100"), None, tp, tp, 1)
    found = next((found for check in CHECKS if (found := check(facts, candidate, engine))), None)
    assert found is None or found.code == "engine_support"
    return found.reason if found else None


DCP_2 = {"decode-context-parallel-size": 2}
ONE_KV_HEAD = facts_of([replace(FULL, num_kv_heads=1)], 4, num_key_value_heads=1)


@pytest.mark.parametrize(
    ("facts", "tp", "flags", "says"),
    [
        (ONE_KV_HEAD, 2, DCP_2, None),
        (ONE_KV_HEAD, 1, DCP_2, "tp_size=1 must be divisible by dcp_size=2."),
        (
            LLAMA_3_8B,
            8,
            DCP_2,
            "Decode context parallelism for GQA/MQA requires tensor_parallel_size (8) to be greater",
        ),
        (LLAMA_3_8B, 16, {"decode-context-parallel-size": 4}, "exceeds the maximum supported value (2)"),
        (DEEPSEEK_V3, 8, {"decode-context-parallel-size": 8}, None),
        (GPT_OSS_120B, 8, DCP_2, "DCP not support sliding window"),
        (QWEN3_NEXT, 8, DCP_2, "DCP not support sliding window"),
        (LLAMA_3_8B, 1, {"kv-cache-memory-bytes": "ten"}, "kv-cache-memory-bytes: ten is no whole number"),
    ],
)
def test_what_cannot_be_had_is_refused(facts: Any, tp: int, flags: dict[str, Any], says: str | None) -> None:
    reason = refusal(facts, tp, extra_args=flags)
    assert reason is None if says is None else says in str(reason)


def test_two_formats_of_kv_cache_are_refused_where_they_differ() -> None:
    flags = {"kv-cache-dtype-skip-layers": ("0", "1")}
    assert refusal(LLAMA_3_8B, 1, extra_args=flags) is None
    assert "two number formats" in str(refusal(LLAMA_3_8B, 1, extra_args=flags, kv_cache_dtype="fp8"))


def test_fewer_captured_graphs_take_less() -> None:
    assert option("max-cudagraph-capture-size: 16").memory.cuda_graph_bytes < option("").memory.cuda_graph_bytes


def test_what_is_not_planned_is_said() -> None:
    assert list(flag_warnings({})) == []
    for name in UNCOUNTED:
        (warning,) = flag_warnings({name: "x"})
        assert warning.startswith(f"engine.extra_args.{name}: passed to the engine as it is; ")
    (warning,) = flag_warnings({"cpu_offload_gb": 4})
    assert "its speed is not: its weights are read over PCIe" in warning


@pytest.mark.parametrize("version", ["0.25.0", "0.33.0"])
def test_prefix_caching_is_on_where_it_is_asked_for(version: str) -> None:
    states_only = facts_of([QWEN3_NEXT.layers[0].layer.caches[0]], 4)
    for facts in (QWEN3_NEXT, states_only):
        engine = engine_of(facts, version=version, enable_prefix_caching=True)
        assert (engine.enable_prefix_caching, engine.mamba_cache_mode) == (True, "align")


UNKNOWN = [  # flag, version, what is said of it
    ("seed", "0.33.0", None),
    ("chat_template", "0.33.0", None),
    ("no-enable-chunked-prefill", "0.33.0", None),
    ("compilation-config.mode", "0.33.0", None),
    ("enable-chunked", "0.33.0", None),  # argparse completes what begins just one flag
    ("sleep-mode-backend", "0.28.0", None),  # between two versions known: either's will do
    ("foo", "0.6.3", None),  # no version known
    ("foo", "0.33.0", "no flag of vLLM 0.33.0. An engine that does not know it refuses to start."),
    ("tool-call-parsr", "0.33.0", "no flag of vLLM 0.33.0, did you mean tool-call-parser?"),
    ("calculate-kv-scales", "0.25.0", None),
    ("calculate-kv-scales", "0.33.0", "no flag of vLLM 0.33.0"),
    ("sleep-mode-backend", "0.25.0", "no flag of vLLM 0.25.0"),
    ("foo", "0.28.0", "no flag of vLLM 0.25.0 and 0.33.0"),
    ("foo", "0.40.0", "no flag of vLLM 0.33.0"),
]


@pytest.mark.parametrize(("flag", "version", "said"), UNKNOWN)
def test_a_flag_that_the_engine_does_not_have_is_told_before_it_is_paid_for(
    flag: str, version: str, said: str | None
) -> None:
    warnings = list(unknown_flags([flag], version))
    assert len(warnings) == (said is not None)
    assert all(warning.startswith(f"engine.extra_args.{flag}: {said}") for warning in warnings)


def test_every_flag_that_is_planned_refused_or_rendered_is_one_of_vllms() -> None:
    planned = plan_text(SPEC.format(flags="seed: 7"), "a test", offline=True)
    args = serve_args(planned.spec, planned.plan.options[0].candidate, planned.plan.options[0].engine)
    rendered = {arg[0].removeprefix("--no-").removeprefix("--") for arg in args}
    short = {"q", "tp", "pp", "dp", "ep"}
    engine = {*UNCOUNTED, *COUNTED_WITHOUT_SPEED, *KEY_OF_FLAG, *rendered} - short
    assert engine - FLAGS[V0_33] == set()


def test_a_flag_no_version_has_is_a_warning_of_the_plan() -> None:
    planned = plan_text(
        "name: x\nmodel: {repo: Qwen/Qwen3-0.6B}\ngpu: {types: [L4], counts: [1]}\nengine: {extra_args: {foo: 1}}\n",
        "a test",
        offline=True,
    )
    assert any(warning.startswith("engine.extra_args.foo: no flag of vLLM") for warning in planned.plan.warnings)


def test_without_chunked_prefill_the_longest_prompt_goes_into_one_step() -> None:
    whole = option("no-enable-chunked-prefill: true")
    assert (whole.engine.max_num_batched_tokens, option("seed: 7").engine.max_num_batched_tokens) == (8192, 8192)
    long = plan_text(
        SPEC.format(flags="no-enable-chunked-prefill: true"),
        "a test",
        overrides=["engine.max_model_len=32768"],
        offline=True,
    )
    assert long.plan.options[0].engine.max_num_batched_tokens == 32768
    short = plan_text(
        SPEC.format(flags="no-enable-chunked-prefill: true"),
        "a test",
        overrides=["engine.max_num_batched_tokens=4096"],
        offline=True,
    )
    lost = short.plan.rejections[0]
    assert (lost.code, lost.needed, lost.available) == ("engine_support", 8192, 4096)
    assert lost.reason.startswith("max_num_batched_tokens (4096) is smaller than max_model_len (8192).")
