"""Formats against GPUs, splits and engine versions: the code, and vLLM's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.checks.formats import check_capability, check_dtype, check_format_support
from planner.checks.quantization_shard import check_quantization_shard
from planner.checks.shards import check_dimensions
from planner.model.facts import Experts, Layer, LayerRun, Linear, ModelFacts, Output
from tests.hand_made import engine_of, facts_of, gpu
from tests.published import PUBLISHED

if TYPE_CHECKING:
    from planner.checks.refusal import Refusal

DOWN = Linear("mlp.down_proj", 11008, (Output(4096),), "row")
GATE_UP = Linear("mlp.gate_up_proj", 4096, (Output(11008), Output(11008)), "column")
MOE = Experts("mlp.experts", 128, 8, 2048, 768)
CHECKS = (check_quantization_shard, check_format_support, check_dtype, check_capability)


def model(*modules: Any, published: str | None = None, **changes: Any) -> ModelFacts:
    layers = (LayerRun(Layer(modules), 2),)
    return facts_of([], layers=layers, quantization=PUBLISHED[published] if published else None, **changes)


def refuse(facts: ModelFacts, gpu_name: str, tp: int = 1, **engine: Any) -> Refusal | None:
    candidate = Candidate(gpu(gpu_name), None, tp, tp, 1)
    settings = engine_of(facts, gpu_name, tp, **engine)
    return next(filter(None, (check(facts, candidate, settings) for check in CHECKS)), None)


SHARDS = [
    ("fp8_block", (DOWN,), "H100", 4, "0.33.0", "input_size_per_partition = 2752 is not divisible by weight quantiz"),
    ("fp8_block", (DOWN,), "H100", 2, "0.33.0", None),
    ("fp8_block", (GATE_UP,), "H100", 8, "0.33.0", None),  # merged layers pass
    ("ct_fp8_block", (GATE_UP,), "H100", 8, "0.33.0", "output_partition_size = 1376 is not divisible by weight quan"),
    ("fp8_block", (MOE,), "H100", 4, "0.25.0", "The output_size of gate's and up's weight = 192 is not divisible"),
    ("fp8_block", (MOE,), "H100", 4, "0.33.0", None),  # refined to 64 × 64
    ("fp8_block", (MOE,), "L40S", 4, "0.33.0", None),
    ("fp8_block", (MOE,), "A100-80GB", 4, "0.33.0", "No FP8 MoE backend supports the deployment configuration"),
    ("fp8_block", (MOE,), "A100-80GB", 2, "0.33.0", None),
    ("ct_fp8_block", (MOE,), "H100", 4, "0.33.0", "The output_size of gate's and up's weight = 192 is not divisible"),
    ("awq", (DOWN,), "L4", 8, "0.33.0", "The input size is not aligned with the quantized weight shape"),
    ("awq", (DOWN,), "L4", 2, "0.33.0", None),
    ("awq", (MOE,), "L4", 4, "0.33.0", None),  # moe_wna16 halves its groups
    ("gptq", (DOWN,), "L4", 8, "0.25.0", "is not divisible by group_size=128. Consider reducing tensor_parallel_size"),
    ("gptq_gm1", (DOWN,), "L4", 8, "0.33.0", None),
    ("ct_w4a16", (DOWN,), "H100", 8, "0.33.0", "layer 'model.layers.0.mlp.down_proj' is not divisible by group_siz"),
    ("ct_w4a16", (MOE,), "H100", 4, "0.33.0", "MoE intermediate size per tensor-parallel partition (192) to be div"),
    ("mo_fp8_pb", (DOWN,), "H100", 8, "0.33.0", "FP8_PB_WO requires in_features divisible by 128, got 1376"),
    ("mo_fp8_pb", (GATE_UP,), "H100", 8, "0.33.0", None),  # padded to whole blocks
    ("mo_fp8_pb", (GATE_UP,), "H100", 8, "0.25.0", "FP8_PB_WO requires out_features divisible by 128, got 2752"),
    ("mo_nvfp4", (DOWN,), "H100", 8, "0.33.0", None),
    ("mo_nvfp4", (DOWN,), "B200", 5, "0.33.0", "in features size is not multiple of 16"),
    ("mo_mxfp8", (MOE,), "B200", 8, "0.33.0", None),
    ("mo_mxfp8", (DOWN,), "B200", 5, "0.33.0", "MXFP8 requires input size divisible by 32, got 2201"),
    ("ct_int8_dyn", (DOWN,), "H100", 8, "0.33.0", None),
]


@pytest.mark.parametrize(("published", "modules", "gpu_name", "tp", "version", "says"), SHARDS)
def test_groups_and_blocks_must_not_straddle_shards(
    published: str, modules: tuple[Any, ...], gpu_name: str, tp: int, version: str, says: str | None
) -> None:
    refusal = refuse(model(*modules, published=published), gpu_name, tp, version=version)
    if says is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.code == "quantization_shard"
        assert says in refusal.reason
        assert refusal.needed is not None
        assert refusal.available is not None
        assert refusal.available % refusal.needed


def test_experts_with_one_scale_per_channel_have_no_kernel_where_humming_comes_first() -> None:
    facts = model(MOE, published="ct_w8a16")
    refusal = refuse(facts, "H200")
    assert refusal
    assert refusal.code == "quantization_shard"
    assert "AssertionError: weight_quant.strategy == 'group'" in refusal.reason
    assert refuse(facts, "H200", version="0.25.0") is None
    assert refuse(facts, "L40S") is None
    assert refuse(model(DOWN, published="ct_w8a16"), "H200") is None


def test_expert_parallelism_keeps_blocks_whole() -> None:
    facts = model(MOE, published="fp8_block")
    assert refuse(facts, "H100", 4, version="0.25.0", enable_expert_parallel=True) is None


def test_groups_of_an_image_encoder_count_where_it_is_loaded_and_split() -> None:
    """vLLM 0.33.0 refuses this layer of Qwen3-VL on 8 ranks; heads that do not divide leave the tower whole."""
    proj = Linear("visual.blocks.0.attn.proj", 1152, (Output(1152),), "row")
    facts = model(published="ct_w4a16", tower=(proj,))
    refusal = refuse(facts, "H100", 8)
    assert refusal is not None
    assert "layer 'visual.blocks.0.attn.proj' is not divisible by group_size=128" in refusal.reason
    assert refuse(facts, "H100", 1) is None
    assert refuse(facts, "H100", 8, extra_args={"language-model-only": True}) == refusal  # it is made without memory
    assert refuse(replace(facts, tower_heads=12), "H100", 8) is None
    assert refuse(model(published="gptq", tower=(proj,)), "H100", 8) is None  # its tensors would say


def test_heads_of_an_image_encoder_must_divide_though_only_text_is_served() -> None:
    """vLLM 0.33.0 says "16 is not divisible by 3" of Gemma 3 on three ranks, with --language-model-only too."""
    facts = model(tower=(Linear("vision_tower.out_proj", 1152, (Output(1152),), "row", in_heads=16),))
    for flags in ({}, {"language-model-only": True}):
        settings = engine_of(facts, "H100", 3, extra_args=flags)
        refusal = check_dimensions(facts, Candidate(gpu("H100"), None, 3, 3, 1), settings)
        assert refusal is not None
        assert (refusal.code, refusal.needed) == ("dimension", 16)


CAPABILITIES = [
    ("gpt_oss_mxfp4", "T4", "0.33.0", 80, "The quantization method mxfp4 is not supported for the current GPU"),
    ("mo_fp8", "T4", "0.33.0", 80, "The quantization method modelopt is not supported for the current GPU"),
    ("mo_fp8", "A100-80GB", "0.25.0", 89, "Minimum capability: 89. Current capability: 80."),
    ("mo_fp8", "A100-80GB", "0.33.0", None, ""),
    ("mo_fp8_pc", "A100-80GB", "0.33.0", 89, "orig_dtype"),
    ("mo_fp8_pb", "L40S", "0.33.0", 90, "orig_dtype"),
    ("ct_fp8_dyn", "A100-80GB", "0.33.0", None, ""),  # weight-only
    ("ct_mxfp4", "T4", "0.33.0", 80, "Min capability: 80. Current capability: 75."),
    ("mo_nvfp4", "T4", "0.33.0", None, ""),
    ("fp8_block", "T4", "0.33.0", None, ""),
    ("awq", "T4", "0.33.0", None, ""),
    ("auto_round", "T4", "0.33.0", None, ""),
    ("quark", "A100-80GB", "0.33.0", 89, "Min capability: 89. Current capability: 80."),
    ("quark", "L4", "0.33.0", None, ""),
    ("experts_int8", "T4", "0.33.0", 80, "experts_int8 is not supported for the current GPU"),
]


@pytest.mark.parametrize(("published", "gpu_name", "version", "needed", "says"), CAPABILITIES)
def test_formats_need_what_vllm_says_they_need(
    published: str, gpu_name: str, version: str, needed: int | None, says: str
) -> None:
    facts = model(Linear("proj", 1024, (Output(1024),), "column"), MOE, published=published)
    candidate, engine = Candidate(gpu(gpu_name), None, 1, 1, 1), engine_of(facts, gpu_name, version=version)
    refusal = check_capability(facts, candidate, engine)
    if needed is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert (refusal.code, refusal.needed) == ("capability", needed)
        assert refusal.available == gpu(gpu_name).compute_capability
        assert says in refusal.reason


@pytest.mark.parametrize(
    ("gpu_name", "dtype", "changes", "says"),
    [
        ("T4", "bfloat16", {}, "Bfloat16 is only supported on GPUs with compute capability of at least 8.0."),
        ("T4", "auto", {}, None),
        ("A100-80GB", "float16", {"model_type": "gemma2"}, "'gemma2' does not support float16"),
        ("H100", "float16", {"published": "gpt_oss_mxfp4"}, "Supported dtypes: [torch.bfloat16]"),
        ("H100", "float32", {"published": "awq"}, "torch.float32 is not supported for quantization method auto_awq"),
        ("H100", "float32", {"published": "ct_w4a16"}, None),
        ("H100", "float32", {}, None),
    ],
)
def test_dtypes_that_cannot_be_computed_in(
    gpu_name: str, dtype: str, changes: dict[str, Any], says: str | None
) -> None:
    refusal = refuse(model(DOWN, **changes), gpu_name, dtype=dtype)
    if says is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.code == "dtype"
        assert says in refusal.reason


def test_deprecated_formats_need_the_flag() -> None:
    facts = model(DOWN, published="fbgemm")
    refusal = refuse(facts, "H100")
    assert refusal is not None
    assert refusal.code == "engine_support"
    assert "fbgemm_fp8 is deprecated" in refusal.reason
    assert "allow-deprecated-quantization: true" in refusal.reason
    assert refuse(facts, "H100", extra_args={"allow-deprecated-quantization": True}) is None


@pytest.mark.parametrize(
    ("published", "says"),
    [
        ("ct_w4a16_actorder", "actorder='group'"),
        ("ct_w8a16fp8", "For Fused MoE layers, only format: pack-quantized"),
        ("ct_int8_static", "Unsupported FusedMoe scheme"),
    ],
)
def test_formats_without_a_kernel_are_refused_by_version(published: str, says: str) -> None:
    refusal = refuse(model(DOWN, MOE, published=published), "H100")
    assert refusal is not None
    assert refusal.code == "engine_support"
    assert says in refusal.reason


def test_activation_order_is_refused_from_0_33() -> None:
    facts = model(DOWN, published="gptq_desc_act")
    refusal = refuse(facts, "H100")
    assert refusal is not None
    assert "desc_act=True" in refusal.reason
    assert refuse(facts, "H100", version="0.25.0") is None


def test_a_quantized_checkpoint_is_not_quantized_again() -> None:
    facts = model(DOWN, published="awq")
    candidate, engine = Candidate(gpu("H100"), None, 1, 1, 1), engine_of(facts, "H100")
    assert check_format_support(facts, candidate, engine) is None
    again = replace(engine, quantization="fp8")
    refusal = check_format_support(facts, candidate, again)
    assert refusal is not None
    assert refusal.code == "engine_support"
    assert "model config (auto_awq) does not match" in refusal.reason
