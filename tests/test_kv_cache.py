"""The KV cache against vLLM's own figures, and what must hold for every layout.

Figures: vLLM's own planning code of the version named (v1/core/kv_cache_utils.py, kv_cache_planning.py), run without
a GPU on models of these shapes; Qwen3.6-35B-A3B: the log lines of real starts (noonghunna/club-3090 #612, #652).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from planner.checks.kv_cache import check_kv_cache
from planner.memory.kv_cache import highest_concurrency, longest_context, needed_bytes, plan_kv_cache, stage_layouts
from tests.hand_made import (
    CHUNK,
    DEEPSEEK_V3,
    FULL,
    GIB,
    GPT_OSS_120B,
    LLAMA_3_8B,
    QWEN3_6_35B,
    QWEN3_NEXT,
    SPARSE,
    WINDOW,
    engine_of,
    facts_of,
    gated_delta_net,
    gpu,
)

if TYPE_CHECKING:
    from planner.engine import EngineConfig
    from planner.memory.kv_cache import KvLayout
    from planner.model.facts import ModelFacts

GEMMA_3_12B = facts_of(
    [*[replace(WINDOW, head_size=256)] * 5, replace(FULL, head_size=256)], 8, num_attention_heads=16, mm_prefix=True
)
SMALL_WINDOW = replace(WINDOW, num_kv_heads=1, head_size=256, window_tokens=512)
GEMMA_3_1B = facts_of(
    [*[*[SMALL_WINDOW] * 5, replace(FULL, num_kv_heads=1, head_size=256)] * 4, SMALL_WINDOW, SMALL_WINDOW],
    num_attention_heads=4,
    max_model_len=32768,
)
GEMMA_4_31B = facts_of(
    [
        *[replace(WINDOW, num_kv_heads=16, head_size=256)] * 5,
        replace(FULL, num_kv_heads=4, head_size=512),
    ],
    10,
    mm_prefix=True,
    flash_attn_version=4,
)
LLAMA_4_SCOUT = facts_of([*[CHUNK] * 3, FULL], 12, num_attention_heads=40)
MIMO_V2 = facts_of(
    [
        *[replace(FULL, num_kv_heads=4, head_size=192, head_size_v=128)] * 9,
        *[replace(WINDOW, head_size=192, head_size_v=128, window_tokens=128, sinks=True)] * 39,
    ],
    num_attention_heads=64,
    max_model_len=262144,
)
GLM_5 = facts_of([SPARSE], 78, num_attention_heads=64)


@dataclass(frozen=True, slots=True)
class Reported:
    """One configuration and what vLLM makes of it; ``blocks`` and ``tokens`` are of ``available`` bytes per GPU."""

    facts: ModelFacts
    gpu: str
    tp: int
    pp: int
    version: str
    max_model_len: int
    kv_cache_dtype: str
    available: int
    bytes_per_block: int  # of each stage
    block_size: int
    blocks: int
    tokens: int


REPORTED = [
    Reported(LLAMA_3_8B, "H100", 1, 1, "0.25.0", 8192, "auto", GIB, 2097152, 16, 512, 8192),
    Reported(LLAMA_3_8B, "H100", 1, 1, "0.33.0", 8192, "auto", GIB + 2097152, 2097152, 16, 513, 8208),
    Reported(LLAMA_3_8B, "T4", 2, 1, "0.33.0", 4096, "auto", 5 * GIB, 1048576, 16, 5120, 81920),
    Reported(LLAMA_3_8B, "H100", 1, 2, "0.33.0", 8192, "auto", GIB, 1048576, 16, 1024, 16384),
    Reported(DEEPSEEK_V3, "H100", 8, 1, "0.33.0", 32768, "auto", 10 * GIB, 1124352, 16, 9549, 152784),
    Reported(DEEPSEEK_V3, "H100", 8, 1, "0.33.0", 32768, "fp8", 10 * GIB, 2248704, 64, 4774, 305536),
    Reported(DEEPSEEK_V3, "B200", 8, 1, "0.33.0", 32768, "auto", 10 * GIB, 2248704, 32, 4774, 152768),
    Reported(GLM_5, "H200", 8, 1, "0.33.0", 65536, "auto", 10 * GIB, 6409728, 64, 1675, 107200),
    Reported(GPT_OSS_120B, "H100", 2, 1, "0.33.0", 131072, "auto", 10 * GIB, 294912, 16, 36408, 517297),
    Reported(GEMMA_3_12B, "A100-80GB", 2, 1, "0.33.0", 131072, "auto", 10 * GIB, 524288, 16, 20480, 273997),
    Reported(GEMMA_3_1B, "H100", 4, 1, "0.33.0", 32768, "auto", 10 * GIB, 65536, 16, 163840, 639893),
    Reported(GEMMA_4_31B, "B200", 1, 1, "0.33.0", 131072, "fp8", 141480500449, 5242880, 64, 26985, 964016),
    Reported(GEMMA_4_31B, "H100", 1, 1, "0.33.0", 32768, "fp8", 43275066593, 5242880, 64, 8254, 166851),
    Reported(LLAMA_4_SCOUT, "H100", 4, 1, "0.33.0", 131072, "auto", 10 * GIB, 196608, 16, 54613, 559237),
    Reported(MIMO_V2, "H100", 8, 1, "0.33.0", 262144, "auto", 10 * GIB, 92160, 16, 116508, 1417322),
    Reported(QWEN3_NEXT, "H100", 4, 1, "0.33.0", 262144, "auto", 36572300001, 3932160, 320, 9300, 2940819),
    Reported(QWEN3_NEXT, "B200", 1, 1, "0.33.0", 131072, "auto", 15354692321, 14155776, 576, 1084, 599502),
    Reported(QWEN3_NEXT, "H100", 4, 1, "0.25.0", 262144, "auto", 36572281569, 3342336, 272, 10942, 2966266),
    Reported(QWEN3_6_35B, "H100", 4, 2, "0.33.0", 131072, "auto", 67557479649, 2949120, 576, 22907, 12668634),
    Reported(QWEN3_6_35B, "L40S", 4, 1, "0.33.0", 131072, "auto", 24656744386, 5406720, 528, 4560, 2343875),
    Reported(QWEN3_6_35B, "H100", 2, 1, "0.33.0", 131072, "fp8", 41364380385, 10813440, 2112, 3825, 6963200),
]


def planned(row: Reported) -> tuple[EngineConfig, tuple[KvLayout, ...]]:
    keys = {"max_model_len": row.max_model_len, "kv_cache_dtype": row.kv_cache_dtype}
    engine = engine_of(row.facts, row.gpu, row.tp, row.pp, row.version, **keys)
    return engine, stage_layouts(row.facts, gpu(row.gpu), engine, row.tp, row.pp)


@pytest.mark.parametrize("row", REPORTED)
def test_what_vllm_reports(row: Reported) -> None:
    engine, layouts = planned(row)
    kv_cache = plan_kv_cache(layouts, [row.available] * row.pp, engine)
    assert [layout.bytes_per_block for layout in layouts] == [row.bytes_per_block] * row.pp
    assert (kv_cache.block_size, kv_cache.num_blocks, kv_cache.tokens) == (row.block_size, row.blocks, row.tokens)
    assert kv_cache.tokens == int(kv_cache.max_concurrency * row.max_model_len)


@pytest.mark.parametrize("row", REPORTED)
def test_the_start_up_check_turns_at_one_byte(row: Reported) -> None:
    """0.33.0 holds one block back for the null block; 0.25.0 does not."""
    engine, layouts = planned(row)
    blocks = plan_kv_cache(layouts, [row.available] * row.pp, engine).blocks_per_request
    needed = (blocks + (row.version == "0.33.0")) * row.bytes_per_block
    assert [needed_bytes(layout, engine) for layout in layouts] == [needed] * row.pp
    for available, starts in ((needed, True), (needed - 1, False)):
        longest = longest_context(layouts, [available] * row.pp, engine)
        assert (longest >= row.max_model_len) == starts
        refusal = check_kv_cache(layouts, [available] * row.pp, engine, longest)
        assert (refusal is None) == starts
        if refusal:
            assert (refusal.code, refusal.needed, refusal.available) == ("kv_cache", needed, available)
            assert f"{longest:,} tokens" in refusal.reason


def test_one_gib_for_8192_tokens_starts_on_0_25_only() -> None:
    for version, starts in (("0.25.0", True), ("0.33.0", False)):
        engine = engine_of(LLAMA_3_8B, version=version, max_model_len=8192)
        layouts = stage_layouts(LLAMA_3_8B, gpu("H100"), engine, 1, 1)
        assert (check_kv_cache(layouts, [GIB], engine, 8192) is None) == starts


def test_nothing_left_is_said_as_vllm_says_it() -> None:
    engine = engine_of(LLAMA_3_8B)
    layouts = stage_layouts(LLAMA_3_8B, gpu("H100"), engine, 1, 1)
    refusal = check_kv_cache(layouts, [-5], engine, 0)
    assert refusal
    assert refusal.reason.startswith("No available memory for the cache blocks")


@pytest.mark.parametrize(("gib", "tokens", "concurrency"), [(5.98, 567978, "4.33"), (6.01, 569878, "4.35")])
def test_log_lines_of_a_real_start(gib: float, tokens: int, concurrency: str) -> None:
    """RTX 5090, vLLM 0.24.0, fp8 KV cache, prefix caching switched on by hand."""
    engine = replace(
        engine_of(QWEN3_6_35B, "RTX-PRO-6000", version="0.25.0", kv_cache_dtype="fp8", max_model_len=131072),
        enable_prefix_caching=True,
        mamba_cache_mode="align",
    )
    layouts = stage_layouts(QWEN3_6_35B, gpu("RTX-PRO-6000"), engine, 1, 1)
    kv_cache = plan_kv_cache(layouts, [int(gib * GIB)], engine)
    assert kv_cache.block_size == 2096
    assert kv_cache.tokens == tokens
    assert f"{kv_cache.max_concurrency:.2f}" == concurrency


def test_stages_take_the_smallest_number_of_blocks() -> None:
    engine = engine_of(LLAMA_3_8B, pp=2, max_model_len=4096)
    layouts = stage_layouts(LLAMA_3_8B, gpu("H100"), engine, 1, 2)
    assert plan_kv_cache(layouts, [2 * GIB, GIB], engine).num_blocks == GIB // layouts[1].bytes_per_block


def test_uneven_stages_differ_in_bytes_per_block() -> None:
    uneven = facts_of([FULL], 5)
    engine = engine_of(uneven, pp=2)
    layouts = stage_layouts(uneven, gpu("H100"), engine, 1, 2)
    assert [layout.bytes_per_block for layout in layouts] == [3 * 65536, 2 * 65536]


def test_layers_that_share_a_cache_cost_nothing() -> None:
    shared = facts_of([FULL, None], 16)
    engine = engine_of(shared)
    (layout,) = stage_layouts(shared, gpu("H100"), engine, 1, 1)
    assert layout.bytes_per_block == 16 * 65536


def test_a_model_that_only_keeps_states_holds_one_block_per_request() -> None:
    states = facts_of([gated_delta_net(16, 32)], 4, attention_free=True)
    engine = engine_of(states, max_model_len=100_000)
    layouts = stage_layouts(states, gpu("H100"), engine, 1, 1)
    kv_cache = plan_kv_cache(layouts, [GIB], engine)
    assert kv_cache.blocks_per_request == 1
    assert longest_context(layouts, [GIB], engine) == states.max_model_len


def test_windows_kept_in_full_where_the_hybrid_manager_is_off() -> None:
    mixed = facts_of([WINDOW, FULL], 8)
    engine = engine_of(mixed, extra_args={"disable-hybrid-kv-cache-manager": True}, max_model_len=8192)
    (layout,) = stage_layouts(mixed, gpu("H100"), engine, 1, 1)
    assert layout.bytes_per_block == 16 * 65536
    assert needed_bytes(layout, engine) == (512 + 1) * 16 * 65536


def test_pages_that_cannot_be_made_equal_are_refused_in_vllms_sense() -> None:
    odd = facts_of([replace(FULL, head_size=128), replace(WINDOW, head_size=96)], 8)
    engine = engine_of(odd, version="0.25.0", max_model_len=4096)
    layouts = stage_layouts(odd, gpu("H100"), engine, 1, 1)
    refusal = check_kv_cache(layouts, [GIB], engine, 0)
    assert refusal
    assert refusal.code == "engine_support"
    newer = engine_of(odd, max_model_len=4096)
    (layout,) = stage_layouts(odd, gpu("H100"), newer, 1, 1)
    assert layout.bytes_per_block == 8 * 65536  # padded instead, from 0.33.0


def test_block_size_of_the_flags_is_kept() -> None:
    engine = engine_of(LLAMA_3_8B, extra_args={"block-size": 64})
    (layout,) = stage_layouts(LLAMA_3_8B, gpu("H100"), engine, 1, 1)
    assert (layout.block_size, layout.bytes_per_block) == (64, 4 * 2097152)


def test_highest_concurrency_counts_whole_blocks_and_max_num_seqs() -> None:
    engine = engine_of(LLAMA_3_8B, max_model_len=4096, max_num_seqs=40)
    layouts = stage_layouts(LLAMA_3_8B, gpu("H100"), engine, 1, 1)
    assert highest_concurrency(layouts, [GIB], engine, 256) == (512 - 1) // 16
    assert highest_concurrency(layouts, [GIB], engine, 32) == 40
    assert highest_concurrency(layouts, [0], engine, 32) == 0
