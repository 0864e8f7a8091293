"""Bytes of shards after loading, against what vLLM's own classes leave under each GPU's identity.

Each row: the storages of one module after process_weights_after_loading, run on real layer objects of that version
with the GPU's capability faked and the compiled repacking kernels replaced by their output shapes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from planner.memory.formats import absorbed_copies, expert_tensors, head_tensors, linear_tensors
from planner.memory.formats.shard import expert_shard, linear_shard
from planner.memory.formats.tiles import marlin_padded, marlin_padded_experts
from planner.model.facts import Experts, Linear, Output
from planner.model.quantization import Scheme, parse_quantization, scheme_for
from planner.model.quantization.float8 import ONLINE_FP8
from tests.hand_made import LLAMA_3_8B, engine_of, gpu
from tests.published import PUBLISHED

QKV = Linear("qkv_proj", 1536, (Output(1536), Output(512), Output(512)), "column", bias=True)
ODD = Linear("odd_proj", 1536, (Output(1536), Output(32)), "column")
WIDE = Experts("experts", 8, 2, 512, 768)
NARROW = Experts("experts", 8, 2, 640, 384)


def scheme_of(name: str, kind: Any) -> Scheme | None:
    if name == "online_fp8":
        return ONLINE_FP8
    model_type = "gpt_oss" if name == "gpt_oss_mxfp4" else ""
    prefix = "model.layers.0.mlp.experts" if kind == "experts" else "model.layers.0.self_attn.qkv_proj"
    return scheme_for(parse_quantization(PUBLISHED[name], model_type), prefix, kind)


def dtype_on(gpu_name: str) -> str:
    return "float16" if gpu_name == "T4" else "bfloat16"


LINEARS = [
    ("fp8_tensor_dyn", "H100", "0.33.0", QKV, (4, 5_120, 3_932_160)),
    ("fp8_tensor_static", "H100", "0.33.0", QKV, (4, 4, 5_120, 3_932_160)),
    ("fp8_block", "H100", "0.33.0", QKV, (960, 5_120, 3_932_160)),
    ("ct_fp8_dyn", "H100", "0.33.0", QKV, (5_120, 10_240, 3_932_160)),
    ("ct_int8_dyn", "H100", "0.33.0", QKV, (5_120, 10_240, 3_932_160)),
    ("ct_int8_static", "H100", "0.33.0", QKV, (4, 5_120, 10_240, 3_932_160)),
    ("ct_w4a16", "H100", "0.33.0", QKV, (16, 5_120, 61_440, 1_966_080)),
    ("ct_w4a16_asym", "H100", "0.33.0", QKV, (16, 5_120, 61_440, 61_440, 1_966_080)),
    ("ct_w8a16", "H100", "0.33.0", QKV, (16, 5_120, 5_120, 3_932_160)),
    ("mo_fp8", "H100", "0.33.0", QKV, (4, 4, 5_120, 3_932_160)),
    ("mo_fp8_pc", "H100", "0.33.0", QKV, (5_120, 10_240, 3_932_160)),
    ("mo_fp8_pb", "H100", "0.33.0", QKV, (960, 5_120, 3_932_160)),
    ("gptq", "H100", "0.33.0", QKV, (5_120, 15_360, 61_440, 1_966_080)),
    ("awq", "H100", "0.33.0", QKV, (5_120, 61_440, 61_440, 1_966_080)),
    ("fbgemm", "H100", "0.33.0", QKV, (4, 5_120, 10_240, 3_932_160)),
    ("fp8_tensor_dyn", "A100-80GB", "0.33.0", QKV, (5_120, 5_120, 3_932_160)),
    ("fp8_tensor_static", "A100-80GB", "0.33.0", QKV, (5_120, 5_120, 3_932_160)),
    ("fp8_block", "A100-80GB", "0.33.0", QKV, (5_120, 61_440, 3_932_160)),
    ("online_fp8", "A100-80GB", "0.33.0", QKV, (5_120, 5_120, 3_932_160)),
    ("ct_w4a16_g32", "A100-80GB", "0.33.0", QKV, (16, 5_120, 245_760, 1_966_080)),
    ("ct_nvfp4a16", "A100-80GB", "0.33.0", QKV, (4, 5_120, 245_760, 1_966_080)),
    ("ct_mxfp4", "A100-80GB", "0.33.0", QKV, (5_120, 122_880, 1_966_080)),
    ("mo_fp8", "A100-80GB", "0.33.0", QKV, (5_120, 5_120, 3_932_160)),
    ("mo_nvfp4", "A100-80GB", "0.33.0", QKV, (4, 4, 4, 4, 5_120, 245_760, 1_966_080)),
    ("mo_mxfp8", "A100-80GB", "0.33.0", QKV, (5_120, 122_880, 3_932_160)),
    ("gptq", "A100-80GB", "0.33.0", QKV, (5_120, 61_440, 1_966_080)),
    ("gptq8", "A100-80GB", "0.33.0", QKV, (5_120, 245_760, 3_932_160)),
    ("gptq_gm1", "A100-80GB", "0.33.0", QKV, (5_120, 5_120, 1_966_080)),
    ("awq", "A100-80GB", "0.33.0", QKV, (5_120, 15_360, 61_440, 1_966_080)),
    ("fp8_tensor_dyn", "A100-80GB", "0.33.0", ODD, (3_200, 2_457_600)),
    ("ct_mxfp4", "A100-80GB", "0.33.0", ODD, (76_800, 1_228_800)),
    ("mo_nvfp4", "A100-80GB", "0.33.0", ODD, (4, 4, 4, 4, 153_600, 1_228_800)),
    ("gptq", "A100-80GB", "0.33.0", ODD, (38_400, 1_228_800)),
    ("awq", "A100-80GB", "0.33.0", ODD, (9_600, 38_400, 1_228_800)),
    ("fp8_block", "L40S", "0.33.0", QKV, (5_120, 61_440, 3_932_160)),
    ("online_fp8", "L40S", "0.33.0", QKV, (4, 5_120, 3_932_160)),
    ("mo_nvfp4", "L40S", "0.33.0", QKV, (4, 4, 4, 4, 5_120, 245_760, 1_966_080)),
    ("fp8_block", "L40S", "0.25.0", QKV, (960, 5_120, 3_932_160)),
    ("fp8_block", "T4", "0.33.0", QKV, (5_120, 61_440, 3_932_160)),
    ("gptq", "T4", "0.33.0", QKV, (5_120, 61_440, 1_966_080)),
    ("awq", "T4", "0.33.0", QKV, (5_120, 15_360, 61_440, 1_966_080)),
    ("fp8_tensor_static", "B200", "0.33.0", QKV, (4, 4, 5_120, 3_932_160)),
    ("fp8_block", "B200", "0.33.0", QKV, (960, 5_120, 3_932_160)),
    ("ct_nvfp4", "B200", "0.33.0", QKV, (4, 4, 4, 4, 5_120, 245_760, 1_966_080)),
    ("ct_mxfp4", "B200", "0.33.0", QKV, (5_120, 122_880, 1_966_080)),
    ("mo_nvfp4", "B200", "0.33.0", QKV, (4, 4, 4, 4, 5_120, 245_760, 1_966_080)),
    ("mo_mxfp8", "B200", "0.33.0", QKV, (5_120, 122_880, 3_932_160)),
    ("fp8_block", "RTX-PRO-6000", "0.33.0", QKV, (960, 5_120, 3_932_160)),
    ("mo_nvfp4", "RTX-PRO-6000", "0.33.0", QKV, (4, 4, 4, 4, 5_120, 245_760, 1_966_080)),
    ("mo_nvfp4", "B200", "0.33.0", ODD, (4, 4, 4, 4, 159_744, 1_204_224)),
]


LINEARS += [  # AutoRound packs as GPTQ, Quark as static FP8
    (same, *row[1:])
    for same, as_is in (("auto_round", "gptq"), ("quark", "mo_fp8"))
    for row in LINEARS
    if row[0] == as_is and row[3] is QKV and row[1] != "A100-80GB"
]


@pytest.mark.parametrize(("name", "gpu_name", "version", "linear", "expected"), LINEARS)
def test_linear_layers_end_as_vllm_leaves_them(
    name: str, gpu_name: str, version: str, linear: Linear, expected: tuple[int, ...]
) -> None:
    engine = engine_of(LLAMA_3_8B, gpu_name, version=version)
    found = linear_tensors(linear, scheme_of(name, "linear"), dtype_on(gpu_name), gpu(gpu_name), engine, 1)
    assert tuple(sorted(found)) == expected


EXPERTS = [
    ("fp8_tensor_dyn", "H100", "0.33.0", WIDE, 2, (32, 32, 1_572_864, 3_145_728)),
    ("fp8_block", "H100", "0.33.0", WIDE, 2, (384, 768, 1_572_864, 3_145_728)),
    ("online_fp8", "H100", "0.33.0", WIDE, 2, (32, 32, 1_572_864, 3_145_728)),
    ("ct_int8_dyn", "H100", "0.33.0", WIDE, 2, (16_384, 24_576, 1_572_864, 3_145_728)),
    ("experts_int8", "H100", "0.33.0", WIDE, 2, (16_384, 24_576, 1_572_864, 3_145_728)),
    ("fp8_block", "H100", "0.33.0", NARROW, 4, (1_920, 3_840, 491_520, 983_040)),
    ("fp8_tensor_dyn", "A100-80GB", "0.33.0", WIDE, 2, (8_192, 12_288, 1_572_864, 3_145_728)),
    ("fp8_tensor_static", "A100-80GB", "0.33.0", WIDE, 2, (4, 4, 8_192, 12_288, 1_572_864, 3_145_728)),
    ("fp8_block", "A100-80GB", "0.33.0", WIDE, 2, (24_576, 49_152, 1_572_864, 3_145_728)),
    ("ct_w4a16", "A100-80GB", "0.33.0", WIDE, 2, (32, 32, 24_576, 49_152, 786_432, 1_572_864)),
    ("ct_w4a16_g32", "A100-80GB", "0.33.0", WIDE, 2, (32, 32, 98_304, 196_608, 786_432, 1_572_864)),
    ("ct_nvfp4", "A100-80GB", "0.33.0", WIDE, 2, (32, 32, 32, 32, 64, 64, 98_304, 196_608, 786_432, 1_572_864)),
    ("mo_nvfp4", "A100-80GB", "0.33.0", WIDE, 2, (32, 32, 98_304, 196_608, 786_432, 1_572_864)),
    ("gptq", "A100-80GB", "0.33.0", WIDE, 2, (6_144, 12_288, 24_576, 49_152, 786_432, 1_572_864)),
    ("awq", "A100-80GB", "0.33.0", WIDE, 2, (6_144, 12_288, 24_576, 49_152, 786_432, 1_572_864)),
    ("mxfp4", "A100-80GB", "0.33.0", WIDE, 2, (49_152, 98_304, 786_432, 1_572_864)),
    ("gpt_oss_mxfp4", "A100-80GB", "0.33.0", WIDE, 2, (8_192, 12_288, 49_152, 98_304, 786_432, 1_572_864)),
    ("gptq", "A100-80GB", "0.33.0", NARROW, 4, (30_720, 61_440, 245_760, 491_520)),
    ("awq", "A100-80GB", "0.33.0", NARROW, 4, (7_680, 15_360, 30_720, 61_440, 245_760, 491_520)),
    ("gpt_oss_mxfp4", "A100-80GB", "0.33.0", NARROW, 4, (4_096, 12_288, 24_576, 49_152, 393_216, 786_432)),
    ("fp8_block", "B200", "0.33.0", WIDE, 2, (384, 768, 1_572_864, 3_145_728)),
    ("mo_nvfp4", "B200", "0.33.0", WIDE, 2, (32, 32, 32, 32, 32, 32, 32, 98_304, 196_608, 786_432, 1_572_864)),
    ("mo_mxfp8", "B200", "0.33.0", WIDE, 2, (49_152, 98_304, 1_572_864, 3_145_728)),
    ("fbgemm", "B200", "0.33.0", WIDE, 2, (3_145_728, 6_291_456)),
    ("mo_mxfp8", "B200", "0.33.0", NARROW, 4, (24_576, 49_152, 786_432, 1_572_864)),
    ("fbgemm", "B200", "0.33.0", NARROW, 4, (1_310_720, 2_621_440)),
]


@pytest.mark.parametrize(("name", "gpu_name", "version", "experts", "tp", "expected"), EXPERTS)
def test_experts_end_as_vllm_leaves_them(
    name: str, gpu_name: str, version: str, experts: Experts, tp: int, expected: tuple[int, ...]
) -> None:
    engine = engine_of(LLAMA_3_8B, gpu_name, version=version)
    experts = replace(experts, bias=name == "gpt_oss_mxfp4")
    found = expert_tensors(experts, scheme_of(name, "experts"), dtype_on(gpu_name), gpu(gpu_name), engine, tp, 1)
    assert tuple(sorted(found)) == expected


GPT_OSS = Experts("experts", 128, 4, 2880, 2880, bias=True)


@pytest.mark.parametrize(
    ("gpu_name", "version", "tp", "extra_bytes"),
    [
        # What the kernel adds to the checkpoint's 128 experts of one layer, in bytes.
        ("H100", "0.33.0", 1, 128 * 64_000),  # fp32 biases, scales in tiles of 256 rows and 4 groups
        ("H100", "0.25.0", 1, 128 * 46_080),  # the same with 2 groups
        ("H100", "0.25.0", 2, 128 * 32_000),
    ],
)
def test_gpt_oss_on_hopper_is_swizzled_for_triton(gpu_name: str, version: str, tp: int, extra_bytes: int) -> None:
    engine = engine_of(LLAMA_3_8B, gpu_name, version=version)
    found = expert_tensors(GPT_OSS, scheme_of("gpt_oss_mxfp4", "experts"), "bfloat16", gpu(gpu_name), engine, tp, 1)
    width = 2880 if tp == 1 else 1472  # the shard in whole 64s
    elements = 3 * width * 2880
    checkpoint = 128 * (elements // 2 + 2 * width * 90 + 2880 * width // 32 + 2 * (2 * width + 2880))
    assert sum(found) == checkpoint + extra_bytes


def test_marlin_pads_gpt_oss_more_than_hopper_does() -> None:
    sizes = {
        name: sum(
            expert_tensors(
                GPT_OSS,
                scheme_of("gpt_oss_mxfp4", "experts"),
                "bfloat16",
                gpu(name),
                engine_of(LLAMA_3_8B, name),
                1,
                1,
            )
        )
        for name in ("A100-80GB", "H100", "B200")
    }
    assert sizes["A100-80GB"] == 128 * 14_431_744  # 2944 × 3072 in place of 2880 × 2880
    assert sizes["H100"] < sizes["A100-80GB"] < sizes["B200"]  # TRT-LLM: the same tiles and fp32 biases


def test_expert_parallelism_keeps_widths_and_divides_experts() -> None:
    shard = expert_shard(replace(WIDE, count=10), tp=4, ep_size=4)
    assert (shard.count, shard.intermediate) == (3, 768)  # early ranks take the ceiling


def test_blocks_that_straddle_shards_are_refined_from_0_33() -> None:
    engine = engine_of(LLAMA_3_8B, "H100")
    found = expert_tensors(NARROW, scheme_of("fp8_block", "experts"), "bfloat16", gpu("H100"), engine, 4, 1)
    # 384 / 4 = 96 columns: 32 × 32 blocks in place of 128 × 128
    assert found[2:] == (8 * 2 * 3 * 20 * 4, 8 * 20 * 3 * 4)


def test_latent_attention_keeps_unpacked_copies_beside_a_quantized_projection() -> None:
    kv_b = Linear("kv_b_proj", 512, (Output(128 * 256, 128),), "column", absorbed=True)
    engine = engine_of(LLAMA_3_8B, "H200", tp=8)
    plain = linear_tensors(kv_b, None, "bfloat16", gpu("H200"), engine, 8)
    quantized = linear_tensors(kv_b, scheme_of("fp8_block", "linear"), "bfloat16", gpu("H200"), engine, 8)
    copies = absorbed_copies(linear_shard(kv_b, 8), "bfloat16")
    assert plain == (4096 * 512 * 2,)  # views of one storage
    assert sum(copies) == 4 * 2**20  # 61 of them: the 256 MB that DeepSeek-V3 gains at tp 8
    assert quantized == (4096 * 512, 32 * 4 * 4, *copies)


def test_a_quantized_head_is_counted_like_a_linear_layer() -> None:
    engine = engine_of(LLAMA_3_8B, "A100-80GB")
    scheme = scheme_for(parse_quantization({**PUBLISHED["gptq"], "lm_head": True}), "lm_head", "head")
    assert scheme is not None
    assert head_tensors(32000, 4096, scheme, "float16", gpu("A100-80GB"), engine) == (
        32000 * 4096 // 2,
        32 * 32000 * 2,
    )


def test_key_heads_are_stored_whole_where_ranks_outnumber_them() -> None:
    qkv = Linear("qkv_proj", 4096, (Output(4096, 32), Output(512, 4, True), Output(512, 4, True)), "column")
    assert [linear_shard(qkv, tp).outputs for tp in (2, 8)] == [(2048, 256, 256), (512, 128, 128)]


@given(rows=st.integers(1, 20000), columns=st.integers(1, 20000), group=st.sampled_from([-1, 16, 32, 64, 128]))
def test_marlin_tiles_cover_the_shape_and_keep_groups_whole(rows: int, columns: int, group: int) -> None:
    width, depth = marlin_padded(rows, columns, group)
    assert width >= rows
    assert depth >= columns
    assert (width % 64, depth % 128) == (0, 0) or (width % 128, depth % 64) == (0, 0)
    assert depth % max(group, 1) == 0
    assert marlin_padded_experts(rows, group) % 64 == 0


@given(
    name=st.sampled_from(["fp8_tensor_dyn", "fp8_block", "gptq", "awq", "ct_w4a16", "ct_fp8_dyn", "mo_nvfp4"]),
    gpu_name=st.sampled_from(["T4", "A100-80GB", "L40S", "H100", "B200", "RTX-PRO-6000"]),
    width=st.integers(1, 32),
    split=st.sampled_from(["column", "row"]),
)
def test_more_gpus_never_hold_more_of_a_layer(name: str, gpu_name: str, width: int, split: Any) -> None:
    linear = Linear("proj", 1024 * width, (Output(1024 * width),), split)
    scheme, engine = scheme_of(name, "linear"), engine_of(LLAMA_3_8B, gpu_name)
    sizes = [sum(linear_tensors(linear, scheme, dtype_on(gpu_name), gpu(gpu_name), engine, tp)) for tp in (1, 2, 4, 8)]
    assert all(more >= fewer for more, fewer in pairwise(sizes))
    assert sizes[0] < sum(linear_tensors(linear, None, "bfloat16", gpu(gpu_name), engine, 1))
