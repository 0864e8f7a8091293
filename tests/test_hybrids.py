"""Hybrids against vLLM's own classes on the meta device and its own cache planning, 0.33.0 and 0.25.0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.checks.shards import check_max_model_len
from planner.engine import resolve_engine
from planner.memory.kv_cache import plan_kv_cache, stage_layouts
from planner.memory.weights import stage_loading_bytes
from planner.model.architectures import make_facts
from planner.model.identity import Checkpoint
from planner.spec import parse_spec
from tests.hybrid_configs import (
    FALCON_H1,
    FALCON_MAMBA,
    GRANITE_4,
    JAMBA,
    KIMI_LINEAR,
    LFM2,
    LFM2_MOE,
    MAMBA,
    MAMBA_2,
)
from tests.made_facts import facts_of, gpu_of

if TYPE_CHECKING:
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts

# config, version, gpu, tp, pp, max_model_len, loading bytes and bytes per block of each stage, block size,
# (available bytes, blocks, tokens)
FAMILIES = [
    (JAMBA, "0.33.0", "H100", 1, 1, 8_192, (103_148_021_760,), (1_310_720,), 80, (3_085_947_371, 2_354, 164_820)),
    (JAMBA, "0.33.0", "A100-80GB", 2, 1, 8_192, (51_575_351_296,), (655_360,), 80, (1_542_973_685, 2_354, 164_820)),
    (
        JAMBA,
        "0.33.0",
        "L4",
        1,
        2,
        8_192,
        (52_110_885_888, 52_110_885_888),
        (655_360, 655_360),
        80,
        (1_542_973_685, 2_354, 164_820),
    ),
    (GRANITE_4, "0.33.0", "H100", 1, 1, 8_192, (64_414_711_808,), (8_650_752,), 528, (7_485_400_547, 865, 164_792)),
    (
        GRANITE_4,
        "0.33.0",
        "A100-80GB",
        2,
        1,
        8_192,
        (32_257_310_720,),
        (4_325_376,),
        528,
        (3_742_700_273, 865, 164_792),
    ),
    (
        GRANITE_4,
        "0.33.0",
        "L4",
        1,
        2,
        8_192,
        (32_618_401_792, 32_618_401_792),
        (4_325_376, 4_325_376),
        528,
        (3_742_700_273, 865, 164_792),
    ),
    (FALCON_H1, "0.33.0", "H100", 1, 1, 8_192, (15_238_895_616,), (70_647_808,), 1568, (12_794_812_563, 181, 164_750)),
    (
        FALCON_H1,
        "0.33.0",
        "A100-80GB",
        2,
        1,
        8_192,
        (7_722_706_944,),
        (35_323_904,),
        1568,
        (6_397_406_281, 181, 164_750),
    ),
    (
        FALCON_H1,
        "0.33.0",
        "L4",
        1,
        2,
        8_192,
        (7_652_999_168, 7_653_005_312),
        (35_323_904, 35_323_904),
        1568,
        (6_397_406_281, 181, 164_750),
    ),
    (LFM2, "0.33.0", "H100", 1, 1, 8_192, (2_357_082_112,), (196_608,), 16, (2_041_472_876, 10_383, 164_840)),
    (LFM2, "0.33.0", "A100-80GB", 2, 1, 8_192, (1_186_809_856,), (98_304,), 16, (1_020_736_438, 10_383, 164_840)),
    (
        LFM2,
        "0.33.0",
        "L4",
        1,
        2,
        8_192,
        (1_333_540_864, 1_308_360_704),
        (98_304, 131_072),
        16,
        (1_360_981_917, 10_383, 164_840),
    ),
    (LFM2_MOE, "0.33.0", "H100", 1, 1, 8_192, (16_696_271_872,), (196_608,), 16, (2_049_385_562, 10_423, 164_836)),
    (LFM2_MOE, "0.33.0", "A100-80GB", 2, 1, 8_192, (8_357_884_928,), (98_304,), 16, (1_024_692_781, 10_423, 164_836)),
    (
        LFM2_MOE,
        "0.33.0",
        "L4",
        1,
        2,
        8_192,
        (7_873_849_344, 9_107_241_984),
        (98_304, 98_304),
        16,
        (1_024_692_781, 10_423, 164_836),
    ),
    (MAMBA, "0.33.0", "H100", 1, 1, 2_048, (5_547_299_840,), (12_451_840,), 16, (250_568_376, 20, 40_960)),
    (MAMBA, "0.33.0", "A100-80GB", 2, 1, 2_048, (2_773_816_320,), (6_225_920,), 16, (125_284_188, 20, 40_960)),
    (
        MAMBA,
        "0.33.0",
        "L4",
        1,
        2,
        2_048,
        (2_902_430_720, 2_902_430_720),
        (6_225_920, 6_225_920),
        16,
        (125_284_188, 20, 40_960),
    ),
    (FALCON_MAMBA, "0.33.0", "H100", 1, 1, 2_048, (14_562_107_392,), (19_922_944,), 16, (400_909_402, 20, 40_960)),
    (FALCON_MAMBA, "0.33.0", "A100-80GB", 2, 1, 2_048, (7_281_319_936,), (9_961_472,), 16, (200_454_701, 20, 40_960)),
    (
        FALCON_MAMBA,
        "0.33.0",
        "L4",
        1,
        2,
        2_048,
        (7_813_734_400, 7_813_734_400),
        (9_961_472, 9_961_472),
        16,
        (200_454_701, 20, 40_960),
    ),
    (MAMBA_2, "0.33.0", "H100", 1, 1, 2_048, (14_570_856_448,), (138_149_888,), 16, (2_779_990_196, 20, 40_960)),
    (MAMBA_2, "0.33.0", "A100-80GB", 2, 1, 2_048, (7_285_743_616,), (69_074_944,), 16, (1_389_995_098, 20, 40_960)),
    (KIMI_LINEAR, "0.33.0", "H100", 2, 1, 32_768, (49_160_353_792,), (8_257_536,), 1024, (6_314_323_083, 764, 658_809)),
    (
        KIMI_LINEAR,
        "0.33.0",
        "H100",
        1,
        2,
        32_768,
        (49_237_492_224, 49_010_046_464),
        (8_847_360, 8_847_360),
        1920,
        (4_272_850_206, 482, 658_090),
    ),
    (JAMBA, "0.25.0", "H100", 1, 1, 8_192, (103_148_021_760,), (1_310_720,), 80, (2_901_318_041, 2_213, 164_808)),
    (FALCON_H1, "0.25.0", "H100", 1, 1, 8_192, (15_238_895_616,), (70_647_808,), 1568, (9_951_520_882, 140, 163_840)),
    (LFM2, "0.25.0", "H100", 1, 1, 8_192, (2_357_082_112,), (196_608,), 16, (2_033_560_190, 10_343, 164_844)),
    (LFM2_MOE, "0.25.0", "H100", 1, 1, 8_192, (16_696_271_872,), (196_608,), 16, (2_037_516_533, 10_363, 164_842)),
    (MAMBA, "0.25.0", "H100", 1, 1, 2_048, (5_547_299_840,), (12_451_840,), 16, (250_568_376, 20, 40_960)),
    (FALCON_MAMBA, "0.25.0", "H100", 1, 1, 2_048, (14_562_107_392,), (19_922_944,), 16, (400_909_402, 20, 40_960)),
    (MAMBA_2, "0.25.0", "H100", 1, 1, 2_048, (14_570_856_448,), (138_149_888,), 16, (2_779_990_196, 20, 40_960)),
]
# repo, gpu, tp, pp, max_model_len and the same
SHIPPED = [
    (
        "Qwen/Qwen3-Next-80B-A3B-Instruct",
        "H100",
        2,
        2,
        32_768,
        (40_207_266_816, 40_207_270_912),
        (3_538_944, 3_538_944),
        576,
        (4_700_135_227, 1_328, 659_331),
    ),
    (
        "Qwen/Qwen3.5-27B",
        "B200",
        4,
        2,
        None,
        (6_996_046_336, 7_393_810_432),
        (6_815_744, 6_815_744),
        832,
        (44_574_795_366, 6_539, 5_274_337),
    ),
    (
        "Qwen/Qwen3.5-35B-A3B",
        "B300",
        2,
        1,
        8_192,
        (35_167_281_152,),
        (11_141_120,),
        1088,
        (3_811_276_881, 342, 164_803),
    ),
    ("moonshotai/Kimi-K3", "H200", 8, 1, 8_192, (205_960_488_448,), (21_233_664,), 768, (8_545_700_413, 402, 164_659)),
    (
        "moonshotai/Kimi-K3",
        "H200",
        2,
        2,
        8_192,
        (394_158_227_968, 392_092_486_656),
        (40_697_856, 44_089_344),
        2944,
        (10_646_518_431, 241, 164_522),
    ),
    (
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        "A100-40GB",
        8,
        1,
        4_096,
        (7_930_674_176,),
        (1_622_016,),
        528,
        (652_796_559, 402, 82_329),
    ),
    (
        "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16",
        "L4",
        4,
        2,
        8_192,
        (139_437_744_128, 139_437_744_128),
        (12_779_520, 12_779_520),
        4160,
        (3_600_271_933, 281, 164_425),
    ),
    (
        "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16",
        "B200",
        4,
        1,
        32_768,
        (277_399_076_864,),
        (25_559_040,),
        4160,
        (10_286_491_238, 402, 658_636),
    ),
]
CLOSE = 1e-4  # scalars of a latent attention layer and rows that pad Kimi's projections are not counted


def engine(facts: ModelFacts, version: str, gpu: str, tp: int, pp: int, max_model_len: int | None) -> EngineConfig:
    spec = parse_spec(f'{{name: t, model: {{repo: a/b}}, engine: {{version: "{version}"}}}}', "test")
    length = replace(spec.engine, max_model_len=max_model_len)
    return resolve_engine(replace(spec, engine=length), facts, gpu_of(gpu), tp, pp)


def check(facts: ModelFacts, resolved: EngineConfig, gpu: str, tp: int, pp: int, *expected: Any) -> None:
    loading, block_bytes, block_size, (available, blocks, tokens) = expected
    assert stage_loading_bytes(facts, gpu_of(gpu), resolved, tp, pp) == pytest.approx(loading, rel=CLOSE)
    layouts = stage_layouts(facts, gpu_of(gpu), resolved, tp, pp)
    assert tuple(layout.bytes_per_block for layout in layouts) == block_bytes
    cache = plan_kv_cache(layouts, [available] * pp, resolved)
    assert (cache.block_size, cache.num_blocks, cache.tokens) == (block_size, blocks, tokens)


@pytest.mark.parametrize(
    ("config", "version", "gpu", "tp", "pp", "length", "loading", "block_bytes", "block_size", "pool"),
    FAMILIES,
    ids=lambda value: value["model_type"] if isinstance(value, dict) else None,
)
def test_a_family_is_counted_as_the_engine_does(
    config: dict[str, Any],
    version: str,
    gpu: str,
    tp: int,
    pp: int,
    length: int,
    loading: tuple[int, ...],
    block_bytes: tuple[int, ...],
    block_size: int,
    pool: tuple[int, int, int],
) -> None:
    facts = make_facts(Checkpoint("a/b", "path", config))
    resolved = engine(facts, version, gpu, tp, pp, length)
    check(facts, resolved, gpu, tp, pp, loading, block_bytes, block_size, pool)


@pytest.mark.parametrize(("repo", "gpu", "tp", "pp", "length", "loading", "block_bytes", "block_size", "pool"), SHIPPED)
def test_a_shipped_hybrid_is_counted_as_the_engine_does(
    repo: str,
    gpu: str,
    tp: int,
    pp: int,
    length: int | None,
    loading: tuple[int, ...],
    block_bytes: tuple[int, ...],
    block_size: int,
    pool: tuple[int, int, int],
) -> None:
    facts = facts_of(repo)
    resolved = engine(facts, "0.33.0", gpu, tp, pp, length)
    check(facts, resolved, gpu, tp, pp, loading, block_bytes, block_size, pool)


def test_kimi_k3_needs_a_version_that_has_its_class() -> None:
    assert facts_of("moonshotai/Kimi-K3").engine_added_in == "0.33.0"


@pytest.mark.parametrize(
    ("repo", "gpu", "version", "dtype"),
    [
        ("zai-org/GLM-5", "B200", "0.33.0", "fp8_e4m3"),
        ("zai-org/GLM-5", "H200", "0.33.0", "bfloat16"),
        ("zai-org/GLM-5", "B200", "0.25.0", "bfloat16"),
        ("deepseek-ai/DeepSeek-V3", "B200", "0.33.0", "bfloat16"),
    ],
)
def test_glm_5_keeps_its_cache_in_fp8_on_blackwell(repo: str, gpu: str, version: str, dtype: str) -> None:
    assert engine(facts_of(repo), version, gpu, 8, 1, None).kv_cache_dtype == dtype


WITHOUT_ATTENTION = [  # config, prefix caching, blocks and tokens in 20 GB at 8,192 tokens: vLLM 0.33.0's own
    (FALCON_MAMBA, False, 1_003, 8_216_576),
    (FALCON_MAMBA, True, 1_003, 4_108_288),
    (MAMBA_2, False, 144, 1_179_648),
    (MAMBA_2, True, 144, 393_216),
    (MAMBA, False, 1_606, 13_156_352),
    (MAMBA, True, 1_606, 6_578_176),
]


@pytest.mark.parametrize(("config", "prefix_caching", "blocks", "tokens"), WITHOUT_ATTENTION)
def test_mamba_takes_any_length_that_is_asked_for(
    config: dict[str, Any], prefix_caching: bool, blocks: int, tokens: int
) -> None:
    """config/model.py _get_and_verify_max_len: config.json names no length, so 2,048 is a default and no limit."""
    facts, h100 = make_facts(Checkpoint("org/mamba", "path", config)), gpu_of("H100")
    keys = f"max_model_len: 8192, enable_prefix_caching: {str(prefix_caching).lower()}"
    spec = parse_spec(f"{{name: t, model: {{repo: org/mamba}}, engine: {{{keys}}}}}", "t")
    engine = resolve_engine(spec, facts, h100, 1, 1)
    assert check_max_model_len(facts, Candidate(h100, None, 1, 1, 1), engine) is None
    layouts = stage_layouts(facts, h100, engine, 1, 1)
    planned = plan_kv_cache(layouts, [20_000_000_000], engine)
    assert (planned.num_blocks, planned.tokens) == (blocks, tokens)
    unset = resolve_engine(parse_spec("{name: t, model: {repo: org/mamba}}", "t"), facts, h100, 1, 1)
    assert unset.max_model_len == 2_048
