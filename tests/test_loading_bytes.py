"""Model loading, to the byte, as vLLM 0.33.0's own classes allocate it on the meta device ("Model loading took")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from planner.measurements import shipped_measurements
from planner.memory.allocator import MIB, block_bytes, oversize_bytes, rounded
from planner.memory.blocks import stage_block_bytes
from planner.memory.weights import stage_loading_bytes
from planner.model.architectures import make_facts
from planner.model.parameters import count_parameters
from tests.made_facts import catalog, engine_of, facts_of, gpu_of

if TYPE_CHECKING:
    from planner.measurements import Measurement

TABLE = [  # repo, gpu, tp, pp, parameters, bytes of each stage
    ("01-ai/Yi-34B", "A100-40GB", 4, 1, 34_388_917_248, (17_196_931_072,)),
    ("01-ai/Yi-34B", "H100", 1, 1, 34_388_917_248, (68_779_005_952,)),
    ("MiniMaxAI/MiniMax-M2.5", "H200", 4, 1, 228_689_764_864, (57_702_624_256,)),
    ("MiniMaxAI/MiniMax-M2.7", "H100", 4, 1, 228_689_764_864, (57_703_672_832,)),
    ("Qwen/QwQ-32B", "H100", 2, 1, 32_763_876_352, (32_775_153_664,)),
    ("Qwen/Qwen1.5-MoE-A2.7B-Chat", "A100-40GB", 1, 1, 14_315_784_192, (28_640_006_144,)),
    ("Qwen/Qwen1.5-MoE-A2.7B-Chat", "H100", 2, 1, 14_315_784_192, (14_327_320_576,)),
    ("Qwen/Qwen2-7B-Instruct", "A10", 2, 1, 7_615_616_512, (7_624_266_752,)),
    ("Qwen/Qwen2.5-32B-Instruct-AWQ", "A100-40GB", 1, 1, 32_763_876_352, (19_337_324_544,)),
    ("Qwen/Qwen2.5-32B-Instruct-AWQ", "L4", 8, 1, 32_763_876_352, (2_425_792_512,)),
    ("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", "A100-40GB", 1, 1, 32_763_876_352, (19_215_427_584,)),
    ("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", "L40S", 2, 1, 32_763_876_352, (9_612_634_112,)),
    ("Qwen/Qwen3-0.6B", "L4", 1, 1, 596_049_920, (1_202_657_280,)),
    ("Qwen/Qwen3-1.7B", "T4", 1, 1, 1_720_574_976, (3_451_707_392,)),
    ("Qwen/Qwen3-14B-AWQ", "A10", 2, 1, 14_768_307_200, (4_999_301_120,)),
    ("Qwen/Qwen3-14B-AWQ", "L4", 1, 1, 14_768_307_200, (9_987_164_160,)),
    ("Qwen/Qwen3-235B-A22B", "H100", 8, 1, 235_093_634_560, (58_970_343_424,)),
    ("Qwen/Qwen3-235B-A22B-FP8", "H100", 4, 1, 235_093_634_560, (59_197_236_224,)),
    ("Qwen/Qwen3-235B-A22B-FP8", "H100", 8, 1, 235_093_634_560, (29_724_161_024,)),
    ("Qwen/Qwen3-30B-A3B", "A100-80GB", 2, 2, 30_532_122_624, (15_594_172_416, 15_594_172_416)),
    ("Qwen/Qwen3-32B-FP8", "A100-80GB", 1, 1, 32_762_123_264, (34_816_862_208,)),
    ("Qwen/Qwen3-32B-FP8", "H100", 2, 1, 32_762_123_264, (17_174_505_472,)),
    ("XiaomiMiMo/MiMo-V2-Flash", "H100", 8, 1, 308_778_780_864, (39_027_868_160,)),
    ("XiaomiMiMo/MiMo-V2-Flash", "H200", 4, 1, 308_778_780_864, (77_778_733_056,)),
    ("allenai/OLMo-2-1124-13B", "H100", 2, 1, 13_716_198_400, (13_717_105_664,)),
    ("allenai/OLMo-2-1124-7B", "A100-80GB", 1, 1, 7_298_617_344, (14_597_301_248,)),
    ("allenai/Olmo-3.1-32B-Instruct", "A100-80GB", 2, 1, 32_233_522_176, (32_234_811_392,)),
    ("bigcode/starcoder2-7b", "L4", 1, 1, 7_173_923_840, (14_347_914_240,)),
    ("deepseek-ai/DeepSeek-R1", "H200", 8, 1, 671_026_419_200, (85_417_132_544,)),
    ("deepseek-ai/DeepSeek-V2-Lite-Chat", "A100-40GB", 1, 1, 15_706_484_224, (31_433_995_264,)),
    ("deepseek-ai/DeepSeek-V2-Lite-Chat", "H100", 2, 1, 15_706_484_224, (15_762_895_872,)),
    ("deepseek-ai/DeepSeek-V3", "B200", 8, 1, 671_026_419_200, (85_417_132_544,)),
    ("ibm-granite/granite-3.3-8b-instruct", "H100", 2, 1, 8_170_864_640, (8_205_066_240,)),
    ("ibm-granite/granite-3.3-8b-instruct", "L4", 1, 1, 8_170_864_640, (16_375_832_576,)),
    ("meta-llama/Llama-3.1-405B-Instruct-FP8", "H100", 8, 1, 405_853_388_800, (52_048_537_600,)),
    ("microsoft/Phi-3-mini-128k-instruct", "H100", 1, 1, 3_821_079_552, (7_668_176_896,)),
    ("microsoft/Phi-3.5-MoE-instruct", "A100-80GB", 2, 1, 41_873_153_344, (41_910_582_784,)),
    ("microsoft/Phi-3.5-mini-instruct", "A100-40GB", 1, 1, 3_821_079_552, (7_668_176_896,)),
    ("mistralai/Mistral-7B-Instruct-v0.2", "A10", 1, 1, 7_241_732_096, (14_491_918_336,)),
    ("mistralai/Mistral-7B-Instruct-v0.3", "A10", 1, 1, 7_248_023_552, (14_504_501_248,)),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", "A100-80GB", 2, 1, 46_702_792_704, (46_712_561_664,)),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", "H100", 1, 1, 46_702_792_704, (93_414_039_552,)),
    ("nvidia/Llama-3.1-70B-Instruct-FP8", "A100-80GB", 2, 1, 70_553_706_496, (36_371_251_200,)),
    ("nvidia/Llama-3.1-70B-Instruct-FP8", "H100", 4, 1, 70_553_706_496, (18_200_117_248,)),
    ("nvidia/MiniMax-M2.7-NVFP4", "H100", 4, 1, 228_689_764_864, (33_797_043_200,)),
    ("openai/gpt-oss-120b", "A100-80GB", 2, 1, 116_829_156_672, (36_884_805_632,)),
    ("openai/gpt-oss-120b", "L40S", 4, 1, 116_829_156_672, (18_486_996_992,)),
    ("zai-org/GLM-4.5", "H200", 8, 1, 352_797_829_024, (88_491_664_384,)),
    ("zai-org/GLM-4.5-Air", "A100-80GB", 4, 1, 106_852_251_264, (53_526_163_968,)),
    ("zai-org/GLM-5-FP8", "H200", 8, 1, 743_911_218_432, (95_669_501_440,)),
    ("zai-org/GLM-5.1-FP8", "H200", 8, 1, 743_911_218_432, (95_669_501_440,)),
]


@pytest.mark.parametrize(("repo", "gpu", "tp", "pp", "parameters", "stages"), TABLE)
def test_loading_is_the_engines_own_figure(
    repo: str, gpu: str, tp: int, pp: int, parameters: int, stages: tuple[int, ...]
) -> None:
    facts = facts_of(repo)
    assert count_parameters(facts) == parameters
    assert stage_loading_bytes(facts, gpu_of(gpu), engine_of(repo, gpu, tp=tp, pp=pp), tp, pp) == stages


@pytest.mark.parametrize("repo", sorted({row[0] for row in TABLE}))
def test_more_gpus_never_need_more_on_each(repo: str) -> None:
    facts, gpu = facts_of(repo), gpu_of("H100")
    sizes = [max(stage_loading_bytes(facts, gpu, engine_of(repo, "H100", tp=tp), tp, 1)) for tp in (1, 2, 4, 8)]
    assert sizes == sorted(sizes, reverse=True)
    stages = [max(stage_loading_bytes(facts, gpu, engine_of(repo, "H100", pp=pp), 1, pp)) for pp in (1, 2, 4)]
    assert stages == sorted(stages, reverse=True)


def test_qwen3_vl_keeps_four_rows_per_position_until_0_33() -> None:
    repo = "Qwen/Qwen3-VL-8B-Instruct"
    older, newer = (
        stage_loading_bytes(facts_of(repo), gpu_of("H100"), engine_of(repo, "H100", version=version), 1, 1)[0]
        for version in ("0.25.0", "0.33.0")
    )
    assert older - newer == 3 * 262_144 * 128 * 2


@given(st.integers(min_value=0, max_value=2**40))
def test_blocks_are_rounded_up_to_512(nbytes: int) -> None:
    assert rounded(nbytes) % 512 == 0
    assert 0 <= rounded(nbytes) - nbytes < 512


@pytest.mark.parametrize(
    ("nbytes", "block"),
    [
        (0, 0),
        (1, 512),
        (9 * MIB + 1, 9 * MIB + 512),  # cut from a segment of 20 MiB
        (10 * MIB, 10 * MIB),
        (11 * MIB, 12 * MIB),  # a segment of 12 MiB, whose last MiB is not split off
        (11 * MIB - 512, 11 * MIB - 512),  # more than 1 MiB is
        (20 * MIB + 1, 22 * MIB),  # nothing is split off from 20 MiB on while vLLM loads
        (44 * MIB, 44 * MIB),
    ],
)
def test_a_block_is_as_large_as_the_allocator_makes_it(nbytes: int, block: int) -> None:
    assert block_bytes(nbytes) == block


@pytest.mark.parametrize(
    ("nbytes", "block"),
    [(501 * MIB, 502 * MIB), (2004 * MIB, 2004 * MIB), (149 * MIB - 700_416, 149 * MIB - 700_416)],
)
def test_large_blocks_are_split_where_nothing_forbids_it(nbytes: int, block: int) -> None:
    assert block_bytes(nbytes, whole_from=None) == block


def test_blocks_left_behind_are_taken_where_they_are_not_much_too_large() -> None:
    llama_3_1_8b = [32 * MIB, 32 * MIB, 64 * MIB]  # of a rope cache for 131,072 positions
    assert oversize_bytes(llama_3_1_8b, [224 * MIB, 112 * MIB, 48 * MIB, 32 * MIB]) == 16 * MIB
    assert (
        oversize_bytes(llama_3_1_8b, [112 * MIB, 56 * MIB, 24 * MIB, 16 * MIB, 112 * MIB, 56 * MIB, 24 * MIB])
        == 24 * MIB
    )
    assert oversize_bytes([8 * MIB, 8 * MIB, 16 * MIB], [24 * MIB, 8 * MIB]) == 0
    assert oversize_bytes([], [24 * MIB]) == 0


STARTS = [  # repo, tp, what vLLM 0.26.0 logged on H100 and H200 with dummy weights (measurements.json)
    ("meta-llama/Llama-2-7b-chat-hf", 1, 13_477_945_344),
    ("meta-llama/Llama-2-7b-chat-hf", 2, 6_775_447_552),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", 2, 46_714_658_816),
    ("Qwen/Qwen3-30B-A3B", 1, 61_075_902_464),
    ("Qwen/Qwen3-32B", 1, 65_535_420_416),
    ("meta-llama/Llama-3.1-70B-Instruct", 1, 141_141_131_264),
    ("meta-llama/Llama-3.2-1B-Instruct", 1, 2_489_487_360),
    ("meta-llama/Llama-2-70b-chat-hf", 2, 68_979_179_520),
    ("deepseek-ai/DeepSeek-V2-Lite-Chat", 1, 31_481_967_616),
]


@pytest.mark.parametrize(("repo", "tp", "logged"), STARTS)
def test_a_real_start_took_the_blocks_of_its_storages(repo: str, tp: int, logged: int) -> None:
    engine = engine_of(repo, "H100", tp=tp, version="0.26.0")
    assert stage_block_bytes(facts_of(repo), gpu_of("H100"), engine, tp, 1) == (logged,)


# relative; repacked tensors reuse freed blocks and leave remainders, others differ by some scalars
REPACKED = {"Qwen/Qwen2.5-7B-Instruct-AWQ": 0.006, "openai/gpt-oss-120b": 0.003}
SOME_SCALARS = 1e-5


@pytest.mark.parametrize("row", [row for row in shipped_measurements() if row.model_loading_bytes])
def test_every_shipped_start_took_the_blocks_of_its_storages(row: Measurement) -> None:
    checkpoint = catalog().find_model(row.model)
    assert checkpoint is not None
    facts = make_facts(replace(checkpoint, config={**checkpoint.config, **row.overrides}))
    engine = engine_of(row.model, row.gpu, tp=row.tensor_parallel_size, version=row.engine_version)
    at_load = row.quantization if row.quantization == "fp8" and not facts.quantization else None
    quantization = row.flags.get("quantization", at_load)
    engine = replace(engine, quantization=quantization, max_num_batched_tokens=row.max_num_batched_tokens)
    loading = stage_block_bytes(facts, gpu_of(row.gpu), engine, row.tensor_parallel_size, 1)[0]
    assert loading == pytest.approx(row.model_loading_bytes, rel=REPACKED.get(row.model, SOME_SCALARS))


def test_ranks_hold_the_checkpoint_and_what_is_copied() -> None:
    """Llama-2-7b over 2 ranks: twice the shard is the whole plus one more copy of norms, rope cache and scales."""
    facts, gpu = facts_of("meta-llama/Llama-2-7b-chat-hf"), gpu_of("H100")
    whole, shard = (
        stage_loading_bytes(facts, gpu, engine_of("meta-llama/Llama-2-7b-chat-hf", "H100", tp=tp), tp, 1)[0]
        for tp in (1, 2)
    )
    norms = 65 * 4096 * 2  # two per layer and the last one
    rope = 4096 * 128 * 2
    scales = 32 * 4 * 512
    assert 2 * shard - whole == norms + rope + scales


@pytest.mark.parametrize(
    ("repo", "pp", "groups"), [("zai-org/GLM-5-FP8", 1, (78,)), ("zai-org/GLM-5.2-FP8", 3, (8, 7, 7))]
)
def test_what_indexers_picked_lies_beside_the_weights(repo: str, pp: int, groups: tuple[int, ...]) -> None:
    """[1,025, 2,048] and [1,025] of int32 for each group of layers, as vLLM 0.33.0 makes them; before, none."""
    facts, gpu, engine = facts_of(repo), gpu_of("H200"), engine_of(repo, "H200")
    few = replace(engine, max_num_seqs=1)

    def grown(version: tuple[int, int, int]) -> tuple[int, ...]:
        many_bytes, few_bytes = (
            stage_block_bytes(facts, gpu, replace(one, rules=version), 8, pp) for one in (engine, few)
        )
        return tuple(many - least for many, least in zip(many_bytes, few_bytes, strict=True))

    assert engine.max_num_seqs == 1024
    assert grown((0, 33, 0)) == tuple(count * (8_396_800 + 4_608 - 16_384 - 512) for count in groups)
    assert set(grown((0, 25, 0))) == {0}


@pytest.mark.parametrize(
    ("repo", "gpu", "tp", "more"),
    [
        ("Qwen/Qwen3-32B-FP8", "B200", 1, 236_158_976),
        ("MiniMaxAI/MiniMax-M2.5", "B200", 4, 5_142_528),  # its experts go to FlashInfer, with the checkpoint's scales
        ("MiniMaxAI/MiniMax-M2.5", "RTX-PRO-6000", 4, 479_016_960),
    ],
)
def test_scales_of_fp8_blocks_are_packed_for_deep_gemm_on_blackwell(repo: str, gpu: str, tp: int, more: int) -> None:
    """Beyond what Hopper keeps, as vLLM 0.33.0's loader leaves them; not in float16, which DeepGEMM does not take."""
    facts = facts_of(repo)

    def started(name: str, **changes: str) -> int:
        return stage_block_bytes(facts, gpu_of(name), replace(engine_of(repo, name), **changes), tp, 1)[0]

    assert started(gpu) - started("H200") == more
    assert started(gpu, dtype="float16") == started("H200", dtype="float16")
    assert started(gpu) - started("H200") == more
