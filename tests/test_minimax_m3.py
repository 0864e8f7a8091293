"""MiniMax-M3: storages of vLLM 0.33.0's own classes, with the buffer of picked blocks; blocks of the index's size."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest

from planner.candidates import Candidate
from planner.checks.attention import check_attention_backend
from planner.checks.shards import check_architecture
from planner.memory.kv_cache import plan_kv_cache, stage_layouts
from planner.memory.weights import stage_loading_bytes
from planner.model.architectures import make_facts
from planner.model.identity import Checkpoint
from planner.model.parameters import count_parameters
from tests.made_facts import catalog, engine_of, facts_of, gpu_of

if TYPE_CHECKING:
    from planner.model.facts import ModelFacts

NVFP4 = "nvidia/MiniMax-M3-NVFP4"
PARAMETERS = 427_040_140_160


def published() -> dict[str, Any]:
    checkpoint = catalog().find_model(NVFP4)
    assert checkpoint
    return dict(checkpoint.config)


@lru_cache
def bfloat16(architecture: str = "MiniMaxM3SparseForConditionalGeneration") -> ModelFacts:
    """The same layers without the format; a text class has the text's config alone."""
    config = published()
    config.pop("quantization_config")
    if not architecture.endswith("ConditionalGeneration"):
        config = dict(config["text_config"])
    return make_facts(Checkpoint(repo="made/m3", source="path", config={**config, "architectures": [architecture]}))


@pytest.mark.parametrize(
    ("gpu", "tp", "pp", "ep", "stages"),
    [
        ("H100", 1, 1, False, (854_306_447_360,)),
        ("H100", 8, 1, False, (107_285_187_584,)),
        ("H100", 8, 1, True, (107_285_216_768,)),
        ("H100", 4, 2, False, (101_908_712_448, 112_108_997_632)),
    ],
)
def test_loading_is_the_engines_own_figure(gpu: str, tp: int, pp: int, ep: bool, stages: tuple[int, ...]) -> None:
    engine = engine_of(NVFP4, gpu, tp=tp, pp=pp, enable_expert_parallel=ep)
    assert stage_loading_bytes(bfloat16(), gpu_of(gpu), engine, tp, pp) == stages


def test_the_tower_stands_on_the_first_stage_and_can_be_left_out() -> None:
    engine = engine_of(NVFP4, "H100", tp=8, language_model_only=True)
    assert stage_loading_bytes(bfloat16(), gpu_of("H100"), engine, 8, 1) == (107_065_169_408 + 524_288,)


@pytest.mark.parametrize(
    ("tp", "pp", "before_packing"), [(8, 1, (31_669_180_416,)), (2, 2, (60_213_102_592, 65_215_050_752))]
)
def test_experts_in_nvfp4_and_the_rest_in_mxfp8(tp: int, pp: int, before_packing: tuple[int, ...]) -> None:
    """Marlin packs in place: beside the picked blocks it adds its locks and scales of experts."""
    facts, engine = facts_of(NVFP4), engine_of(NVFP4, "H100", tp=tp, pp=pp)
    assert count_parameters(facts) == PARAMETERS
    for loaded, before in zip(stage_loading_bytes(facts, gpu_of("H100"), engine, tp, pp), before_packing, strict=True):
        assert 0 <= loaded - before < before * 2e-5


@pytest.mark.parametrize(("kv_cache_dtype", "itemsize"), [("bfloat16", 2), ("fp8", 1)])
@pytest.mark.parametrize(("gpu", "tp", "heads"), [("H100", 8, 1), ("A100-80GB", 4, 1), ("B200", 2, 2)])
def test_a_block_is_what_the_index_scores(gpu: str, tp: int, heads: int, kv_cache_dtype: str, itemsize: int) -> None:
    """K and V of 60 layers in the cache's format; index keys of 57 in bf16; 128 tokens."""
    facts, engine = facts_of(NVFP4), engine_of(NVFP4, gpu, tp=tp, kv_cache_dtype=kv_cache_dtype)
    (layout,) = stage_layouts(facts, gpu_of(gpu), engine, tp, 1)
    assert layout.bytes_per_block == 128 * (60 * heads * 256 * itemsize + 57 * 128 * 2)


@pytest.mark.parametrize(
    ("gpu", "tp", "pp", "kv_cache_dtype", "stages", "blocks", "tokens"),
    [
        ("H100", 8, 1, "bfloat16", [5_799_936], 172_415_695, 22_069_208_960),
        ("B200", 4, 1, "bfloat16", [5_799_936], 172_415_695, 22_069_208_960),
        ("H100", 2, 2, "fp8", [2_850_816, 2_949_120], 339_084_201, 43_402_777_728),
    ],
)
def test_the_pool_is_what_vllm_plans(
    gpu: str, tp: int, pp: int, kv_cache_dtype: str, stages: list[int], blocks: int, tokens: int
) -> None:
    engine = engine_of(NVFP4, gpu, tp=tp, pp=pp, kv_cache_dtype=kv_cache_dtype, max_model_len=65_536)
    layouts = stage_layouts(facts_of(NVFP4), gpu_of(gpu), engine, tp, pp)
    kv_cache = plan_kv_cache(layouts, [10**15] * pp, engine)
    assert [layout.bytes_per_block for layout in layouts] == stages
    assert (kv_cache.block_size, kv_cache.num_blocks, kv_cache.tokens) == (128, blocks, tokens)


def test_text_alone_has_a_class_and_another_name_has_none() -> None:
    text, other = bfloat16("MiniMaxM3SparseForCausalLM"), bfloat16("MiniMaxM3ForCausalLM")
    assert count_parameters(text) == count_parameters(other) == 426_174_572_928
    gpu = Candidate(gpu_of("H100"), None, 8, 8, 1)
    engine = engine_of(NVFP4, "H100", tp=8)
    assert check_architecture(text, gpu, engine) is None
    refusal = check_architecture(other, gpu, engine)
    assert refusal is not None
    assert refusal.code == "engine_support"
    assert refusal.reason == "Model architectures ['MiniMaxM3ForCausalLM'] are not supported for now."


@pytest.mark.parametrize(
    ("version", "asked", "says"),
    [
        ("0.33.0", None, None),  # picks 128 itself
        ("0.33.0", 256, None),
        ("0.33.0", 64, "No common block size for 64: "),
        ("0.25.0", None, "No common block size for 16: "),  # asks the first layer alone, which is dense
        ("0.25.0", 128, None),
    ],
)
def test_blocks_that_the_index_cannot_score_are_refused(version: str, asked: int | None, says: str | None) -> None:
    engine = engine_of(NVFP4, "H100", tp=8, version=version, kv_cache_dtype="bfloat16", block_size=asked)
    refusal = check_attention_backend(facts_of(NVFP4), Candidate(gpu_of("H100"), None, 8, 8, 1), engine)
    if says is None:
        assert refusal is None
        return
    assert refusal is not None
    assert (refusal.code, refusal.needed) == ("attention_backend", 128)
    assert refusal.reason.startswith(says)
