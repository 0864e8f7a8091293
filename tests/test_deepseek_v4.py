"""DeepSeek V4: storages and KV cache of vLLM 0.33.0's own classes; what its kernels and its packed cache refuse."""

from __future__ import annotations

from typing import Any

import pytest

from planner.candidates import Candidate
from planner.checks.attention import check_attention_backend
from planner.checks.shards import check_architecture, check_dimensions
from planner.errors import ModelError
from planner.memory.activations import peak_activation_bytes
from planner.memory.kv_cache import longest_context, plan_kv_cache, stage_layouts
from planner.memory.packed_latent import packed_attention_bytes, packed_workspace_bytes
from planner.memory.weights import stage_loading_bytes
from planner.model.architectures import make_facts
from planner.model.identity import Checkpoint
from planner.model.parameters import count_parameters
from planner.throughput.work import count_work
from tests.made_facts import catalog, engine_of, facts_of, gpu_of

FLASH, PRO = "deepseek-ai/DeepSeek-V4-Flash", "deepseek-ai/DeepSeek-V4-Pro"
NVFP4, PRO_NVFP4 = "nvidia/DeepSeek-V4-Flash-NVFP4", "nvidia/DeepSeek-V4-Pro-NVFP4"
# transformers' model, which counts routing tables and biases as buffers
TRANSFORMERS = {FLASH: 284_332_230_231, PRO: 1_572_997_179_491}


def published(**changes: Any) -> Checkpoint:
    checkpoint = catalog().find_model(FLASH)
    assert checkpoint
    return Checkpoint(repo="made/v4", source="path", config={**checkpoint.config, **changes})


@pytest.mark.parametrize(("repo", "biased_layers", "experts"), [(FLASH, 40, 256), (PRO, 58, 384)])
def test_parameters_are_those_of_transformers_and_what_it_keeps_as_buffers(
    repo: str, biased_layers: int, experts: int
) -> None:
    tables, biases = 3 * 129_280 * 6, biased_layers * experts
    assert count_parameters(facts_of(repo)) == TRANSFORMERS[repo] + tables + biases


# what the classes allocate, the picked rows of a batch, and on the first stage one sum of hyper-connections
@pytest.mark.parametrize(
    ("repo", "gpu", "tp", "pp", "ep", "stages"),
    [
        (FLASH, "B200", 1, 1, False, (156_577_310_208,)),
        (FLASH, "H100", 4, 1, False, (40_519_256_576 + 16_777_216 + 393_216,)),
        (FLASH, "H100", 2, 2, False, (40_765_284_352, 38_731_313_152)),
        (FLASH, "H100", 8, 1, True, (21_199_156_736,)),
        (PRO, "H100", 8, 1, False, (109_750_604_800,)),
        (PRO, "B200", 4, 2, False, (109_763_220_480, 106_255_672_832)),
    ],
)
def test_loading_is_the_engines_own_figure(
    repo: str, gpu: str, tp: int, pp: int, ep: bool, stages: tuple[int, ...]
) -> None:
    engine = engine_of(repo, gpu, tp=tp, pp=pp, enable_expert_parallel=ep)
    assert stage_loading_bytes(facts_of(repo), gpu_of(gpu), engine, tp, pp) == stages


@pytest.mark.parametrize(
    ("repo", "gpu", "tp", "ep", "before_packing"),
    [
        (NVFP4, "B200", 4, False, 42_717_729_280),
        (PRO_NVFP4, "H100", 8, False, 115_795_683_328),
        (PRO_NVFP4, "B200", 8, True, 115_829_112_832),
    ],
)
def test_nvidias_experts_differ_by_the_scalars_that_kernels_keep(
    repo: str, gpu: str, tp: int, ep: bool, before_packing: int
) -> None:
    engine = engine_of(repo, gpu, tp=tp, enable_expert_parallel=ep)
    (loaded,) = stage_loading_bytes(facts_of(repo), gpu_of(gpu), engine, tp, 1)
    assert loaded == pytest.approx(before_packing, rel=4e-6)


@pytest.mark.parametrize(
    ("repo", "gpu", "tp", "pp", "length", "block_bytes", "available", "blocks", "tokens"),
    [
        (FLASH, "H200", 4, 1, 131_072, (1_002_240,), 24_298_086_067, 24_243, 441_698),
        (FLASH, "RTX-PRO-6000", 4, 1, 131_072, (1_002_240,), 145_089_135_290, 144_764, 2_637_546),
        (FLASH, "H100", 2, 4, 1_048_576, (237_312, 240_768, 285_120, 239_040), 19_949_259_052, 69_967, 3_533_653),
        (PRO, "B200", 1, 4, 1_048_576, (336_384, 336_384, 382_464, 380_736), 48_207_575_439, 126_044, 3_533_680),
        (PRO_NVFP4, "B200", 2, 1, 8_192, (1_435_968,), 16_279_109_706, 11_336, 27_605),
        (NVFP4, "H100", 4, 4, 8_192, (237_312, 240_768, 285_120, 239_040), 3_232_314_201, 11_336, 27_605),
    ],
)
def test_the_packed_cache_is_the_engines_own(
    repo: str,
    gpu: str,
    tp: int,
    pp: int,
    length: int,
    block_bytes: tuple[int, ...],
    available: int,
    blocks: int,
    tokens: int,
) -> None:
    engine = engine_of(repo, gpu, tp=tp, pp=pp, max_model_len=length)
    layouts = stage_layouts(facts_of(repo), gpu_of(gpu), engine, tp, pp)
    assert tuple(layout.bytes_per_block for layout in layouts) == block_bytes
    cache = plan_kv_cache(layouts, [available] * pp, engine)
    assert (cache.block_size, cache.num_blocks, cache.tokens) == (256, blocks, tokens)


def test_the_longest_context_is_the_engines_estimate() -> None:
    engine = engine_of(FLASH, "H200", tp=4, max_model_len=131_072)
    layouts = stage_layouts(facts_of(FLASH), gpu_of("H200"), engine, 4, 1)
    assert longest_context(layouts, [7_210_114_560], engine) == 130_816
    assert longest_context(layouts, [3_605_057_280], engine) == 8_752


@pytest.mark.parametrize(
    ("gpu", "kv_cache_dtype", "says"),
    [
        ("H100", "fp8_ds_mla", None),
        ("B300", "fp8", None),
        ("RTX-PRO-6000", "fp8", None),
        ("H200", "bfloat16", "only supports fp8 kv-cache, got bfloat16"),
        ("A100-80GB", "fp8_ds_mla", "only supported on Hopper and Blackwell"),
        ("L40S", "fp8_ds_mla", "only supported on Hopper and Blackwell"),
    ],
)
def test_its_kernels_take_fp8_on_hopper_and_blackwell(gpu: str, kv_cache_dtype: str, says: str | None) -> None:
    engine = engine_of(FLASH, gpu, tp=4, kv_cache_dtype=kv_cache_dtype)
    refusal = check_attention_backend(facts_of(FLASH), Candidate(gpu_of(gpu), None, 4, 4, 1), engine)
    assert (refusal is None) == (says is None)
    if refusal and says:
        assert refusal.code == "attention_backend"
        assert says in refusal.reason


def test_blackwell_workstations_need_flashinfer() -> None:
    engine = engine_of(FLASH, "RTX-PRO-6000", tp=4, flashinfer=False)
    refusal = check_attention_backend(facts_of(FLASH), Candidate(gpu_of("RTX-PRO-6000"), None, 4, 4, 1), engine)
    assert refusal is not None
    assert "requires FlashInfer" in refusal.reason


def test_auto_is_the_packed_format() -> None:
    assert engine_of(FLASH, "H100", tp=4).kv_cache_dtype == "fp8_ds_mla"


@pytest.mark.parametrize(("version", "counted"), [("0.25.0", False), ("0.26.0", False), ("0.33.0", True)])
def test_versions_that_lay_the_cache_out_otherwise_are_refused(version: str, counted: bool) -> None:
    engine = engine_of(FLASH, "H100", tp=4, version=version)
    refusal = check_architecture(facts_of(FLASH), Candidate(gpu_of("H100"), None, 4, 4, 1), engine)
    assert (refusal is None) == counted
    if refusal:
        assert refusal.code == "engine_support"
        assert 'engine.version: "0.33.0"' in refusal.reason


def test_output_groups_are_not_cut() -> None:
    engine = engine_of(FLASH, "H100", tp=16)
    refusal = check_dimensions(facts_of(FLASH), Candidate(gpu_of("H100"), None, 16, 16, 1), engine)
    assert refusal is not None
    assert refusal.code == "dimension"
    assert "8 is not divisible by 16" in refusal.reason


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "deepseek_ref"}, "model_type deepseek_ref"),
        ({"vision_n_layers": 24}, "vision_n_layers"),
        ({"compress_ratios": [0, 2] * 22}, r"compress_ratios \[2\]"),
    ],
)
def test_what_the_class_would_not_read_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        make_facts(published(**changes))


def test_a_step_reads_compressed_rows() -> None:
    """Per token of context: 41 layers of 584 bytes over 4 or 128 tokens, and 132 over 4 of the indexer."""
    caches = count_work(facts_of(FLASH), "bfloat16").caches
    growing = [cache for cache in caches if cache.window_tokens is None]
    assert {(cache.layers, cache.extra_bytes_per_token) for cache in growing} == {(21, 146), (21, 33), (20, 5)}
    assert all(cache.elements_per_token == 0 for cache in caches)


@pytest.mark.parametrize(("gpu", "tp", "padded"), [("H200", 4, 64), ("RTX-PRO-6000", 4, 16), ("H200", 1, 64)])
def test_the_profile_run_holds_padded_queries_and_room_for_scores(gpu: str, tp: int, padded: int) -> None:
    """Four residual streams and the input, queries and outputs of the padded heads, in bf16; 512 MiB of scores."""
    engine = engine_of(FLASH, gpu, tp=tp, max_num_batched_tokens=8192)
    assert packed_attention_bytes(facts_of(FLASH), gpu_of(gpu), engine, tp) == (
        8192 * (5 * 4096 + 2 * padded * 512) * 2 + 512 * 2**20
    )


@pytest.mark.parametrize(
    ("gpu", "length", "expected"),
    [
        ("H200", 1_048_576, 4 * (262_144 + 128 + 8192) * 512 * 2 + 8192 * (640 + 1) * 4),
        ("H200", 262_144, 262_144 * 8 * 5 // 4 * 132 + 2**20),
        ("RTX-PRO-6000", 1_048_576, 1_048_576 * 8 * 2 // 4 * 132 + 2**20),
    ],
)
def test_the_workspace_is_what_a_prefill_gathers_or_what_the_indexer_scores(
    gpu: str, length: int, expected: int
) -> None:
    engine = engine_of(FLASH, gpu, tp=4, max_num_batched_tokens=8192, max_model_len=length)
    assert packed_workspace_bytes(facts_of(FLASH), gpu_of(gpu), engine) == expected
    peak = peak_activation_bytes(facts_of(FLASH), gpu_of(gpu), engine, 4, 1)
    assert peak >= expected + packed_attention_bytes(facts_of(FLASH), gpu_of(gpu), engine, 4)


def test_other_models_have_no_such_workspace() -> None:
    engine = engine_of("zai-org/GLM-5", "H200", tp=8)
    assert packed_workspace_bytes(facts_of("zai-org/GLM-5"), gpu_of("H200"), engine) == 0


def test_experts_in_fp8_are_named_beside_the_quantization() -> None:
    """The base models' experts: twice the bytes, scales in fp32."""
    facts, engine = make_facts(published(expert_dtype="fp8")), engine_of(FLASH, "H100", tp=8)
    assert stage_loading_bytes(facts, gpu_of("H100"), engine, 8, 1) == (37_422_495_232 + 17_170_432,)
