"""Which scheme each module gets, from settings as checkpoints publish them."""

from __future__ import annotations

from typing import Any

import pytest

from planner.errors import ModelError
from planner.model.facts import Experts, Layer, LayerRun, Linear, Output
from planner.model.quantization import (
    Quantization,
    engine_quantization,
    parse_quantization,
    quantized_modules,
    scheme_for,
)
from planner.model.quantization.parse import renamed
from tests.hand_made import facts_of
from tests.published import FP8, GPTQ, PUBLISHED, compressed, modelopt, tensors

QKV = ("q_proj", "k_proj", "v_proj")
GATE_UP = ("gate_proj", "up_proj")
LAYER_0 = "model.layers.0"


def storage(quantization: Quantization, name: str, parts: tuple[str, ...] = (), kind: Any = "linear") -> str | None:
    scheme = scheme_for(quantization, name, kind, parts)
    return scheme.storage if scheme else None


@pytest.mark.parametrize(
    ("name", "method", "storages"),
    [
        ("fp8_block", "fp8", {"fp8"}),
        ("ct_fp8_dyn", "compressed-tensors", {"fp8"}),
        ("ct_int8_static", "compressed-tensors", {"int8"}),
        ("ct_w4a16_asym", "compressed-tensors", {"int"}),
        ("ct_nvfp4", "compressed-tensors", {"nvfp4"}),
        ("ct_mxfp4", "compressed-tensors", {"mxfp4"}),
        ("mo_fp8", "modelopt", {"fp8"}),
        ("mo_nvfp4", "modelopt_fp4", {"nvfp4"}),
        ("mo_mxfp8", "modelopt_mxfp8", {"mxfp8"}),
        ("gptq", "auto_gptq", {"int"}),
        ("awq", "auto_awq", {"int"}),
        ("fbgemm", "fbgemm_fp8", {"fp8"}),
        ("auto_round", "inc", {"int"}),
        ("quark", "quark", {"fp8"}),
        ("experts_int8", "experts_int8", {"int8"}),
        ("mxfp4", "mxfp4", {"mxfp4"}),
    ],
)
def test_each_published_method_is_understood(name: str, method: str, storages: set[str]) -> None:
    quantization = parse_quantization(PUBLISHED[name])
    assert quantization.method == method
    assert {scheme.storage for scheme in quantization.all_schemes()} == storages


def test_nothing_published_is_unquantized() -> None:
    assert parse_quantization(None).method is None
    assert storage(parse_quantization(None), f"{LAYER_0}.mlp.down_proj") is None


@pytest.mark.parametrize(
    "config",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "quark"},
        {**PUBLISHED["quark"], "layer_quant_config": {"*q_proj": {}}},
        {**PUBLISHED["auto_round"], "data_type": "mx_fp"},
        {**PUBLISHED["auto_round"], "sym": False},
        {"quant_method": "torchao"},
        {"quant_method": "awq", "bits": 8, "group_size": 128},
        {**GPTQ, "sym": False},
        {**GPTQ, "bits": 3},
        {**FP8, "store_dtype": "mxfp4"},
        modelopt("W4A8_AWQ"),
        {**PUBLISHED["ct_w4a16"], "transform_config": {"config_groups": {"R1": {}}}},
        {"quant_method": "fp8", "moe_quant_algo": "W4A8", "model_type": "deepseek_v4"},
    ],
)
def test_what_is_not_derived_from_source_is_refused_not_guessed(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="Use ") as failure:
        parse_quantization(config, str(config.get("model_type", "")))
    assert "quantization_config: " in str(failure.value)


def test_fp8_leaves_alone_what_is_named_in_full() -> None:
    ignored = ["lm_head", f"{LAYER_0}.mlp.gate_proj", f"{LAYER_0}.mlp.up_proj", f"{LAYER_0}.self_attn.o_proj", "gate"]
    quantization = parse_quantization({**FP8, "modules_to_not_convert": ignored})
    assert storage(quantization, f"{LAYER_0}.mlp.gate_up_proj", GATE_UP) is None
    assert storage(quantization, f"{LAYER_0}.self_attn.o_proj") is None
    assert storage(quantization, f"{LAYER_0}.self_attn.qkv_proj", QKV) == "fp8"
    assert storage(quantization, "model.layers.1.mlp.gate_up_proj", GATE_UP) == "fp8"


def test_fp8_leaves_experts_alone_by_their_layer() -> None:
    ignored = ["model.layers.3.mlp.experts.0.down_proj"]
    quantization = parse_quantization({**FP8, "modules_to_not_convert": ignored})
    assert storage(quantization, "model.layers.3.mlp.experts", kind="experts") is None
    assert storage(quantization, "model.layers.4.mlp.experts", kind="experts") == "fp8"


def test_awq_leaves_alone_what_a_name_contains() -> None:
    quantization = parse_quantization({**PUBLISHED["awq"], "modules_to_not_convert": ["self_attn", "layers.1."]})
    assert storage(quantization, f"{LAYER_0}.self_attn.qkv_proj", QKV) is None
    assert storage(quantization, "model.layers.1.mlp.down_proj") is None
    assert storage(quantization, f"{LAYER_0}.mlp.down_proj") == "int"
    assert storage(quantization, "lm_head", kind="head") is None


def test_gptq_reads_dynamic_rules_and_the_list_of_quantized_modules() -> None:
    dynamic = {r"+:.*\.1\..*": {"bits": 8, "group_size": 64}, r"-:.*\.mlp\..*": {}}
    quantization = parse_quantization({**GPTQ, "dynamic": dynamic, "lm_head": True})
    widened = scheme_for(quantization, "model.layers.1.self_attn.o_proj", "linear")
    assert widened is not None
    assert (widened.bits, widened.group_size) == (8, 64)
    assert storage(quantization, f"{LAYER_0}.mlp.down_proj") is None
    assert storage(quantization, "lm_head", kind="head") == "int"
    listed = parse_quantization({**GPTQ, "modules_in_block_to_quantize": [["self_attn.k_proj", "self_attn.q_proj"]]})
    assert storage(listed, f"{LAYER_0}.self_attn.qkv_proj", QKV) == "int"
    assert storage(listed, f"{LAYER_0}.mlp.down_proj") is None


def test_auto_round_names_what_it_treats_otherwise() -> None:
    extra = {
        f"{LAYER_0}.self_attn.q_proj": {"bits": 16},
        "o_proj": {"bits": 8, "group_size": 32},
        r".*shared_expert_gate": {"bits": 16, "data_type": "fp"},
    }
    config = {**PUBLISHED["auto_round"], "extra_config": extra, "block_name_to_quantize": "model.layers"}
    quantization = parse_quantization(config)
    assert storage(quantization, f"{LAYER_0}.self_attn.qkv_proj", QKV) is None
    assert storage(quantization, "model.layers.1.self_attn.qkv_proj", QKV) == "int"
    assert storage(quantization, f"{LAYER_0}.mlp.shared_expert_gate") is None
    assert storage(quantization, "visual.merger.mlp") is None
    other = scheme_for(quantization, f"{LAYER_0}.self_attn.o_proj", "linear")
    assert other is not None
    assert (other.bits, other.group_size, other.method) == (8, 32, "auto_gptq")
    as_awq = parse_quantization({**PUBLISHED["auto_round"], "sym": False, "packing_format": "auto_round:auto_awq"})
    assert [scheme.method for scheme in as_awq.all_schemes()] == ["auto_awq"]


def test_compressed_tensors_matches_ignores_and_targets_in_the_engines_order() -> None:
    config = {**PUBLISHED["ct_w4a16"], "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*"]}
    quantization = parse_quantization(config)
    assert storage(quantization, f"{LAYER_0}.self_attn.qkv_proj", QKV) is None
    assert storage(quantization, f"{LAYER_0}.mlp.shared_experts.gate_up_proj", GATE_UP) is None
    assert storage(quantization, f"{LAYER_0}.mlp.experts", kind="experts") == "int"
    assert storage(quantization, "lm_head", kind="head") is None
    by_expert = parse_quantization({**config, "ignore": [f"{LAYER_0}.mlp.experts.0.gate_proj"]})
    assert storage(by_expert, f"{LAYER_0}.mlp.experts", kind="experts") is None
    assert storage(by_expert, "model.layers.1.mlp.experts", kind="experts") == "int"


def test_compressed_tensors_keeps_groups_of_different_formats_apart() -> None:
    fp8, int4 = (PUBLISHED[name]["config_groups"]["group_0"] for name in ("ct_fp8_dyn", "ct_w4a16"))
    groups = {
        "attention": {**fp8, "targets": ["re:.*self_attn.*"], "format": "float-quantized"},
        "rest": {**int4, "format": "pack-quantized"},
        "cache": {**fp8, "targets": ["LlamaAttention"]},
    }
    quantization = parse_quantization({**PUBLISHED["ct_fp8_dyn"], "config_groups": groups})
    assert storage(quantization, f"{LAYER_0}.self_attn.qkv_proj", QKV) == "fp8"
    assert storage(quantization, f"{LAYER_0}.mlp.down_proj") == "int"


def test_modelopt_excludes_by_name_by_part_and_by_wildcard() -> None:
    excluded = ["lm_head", "model.layers.0*", "*.mlp.shared_expert.*", "model.layers.2.self_attn.kv_a_proj_with_mqa"]
    quantization = parse_quantization(modelopt("NVFP4", exclude_modules=excluded))
    assert storage(quantization, f"{LAYER_0}.mlp.down_proj") is None
    assert storage(quantization, "model.layers.1.mlp.shared_expert.down_proj") is None
    assert storage(quantization, "model.layers.2.self_attn.fused_qkv_a_proj", ("kv_a_proj_with_mqa",)) is None
    assert storage(quantization, "model.layers.1.mlp.experts", kind="experts") == "nvfp4"
    assert storage(quantization, "vision_tower.blocks.0.attn.qkv") is None


def test_modelopt_leaves_a_whole_tower_alone_under_the_engines_name() -> None:
    """module_path* is the module and all below it before paths are renamed (apply_vllm_mapper; vllm issue 28072)."""
    quantization = parse_quantization(modelopt("NVFP4", exclude_modules=["model.visual*", "lm_head"]))
    found = renamed(quantization, (("model.language_model.", "language_model.model."), ("model.visual.", "visual.")))
    assert found.ignored == ("model.visual", "visual.*", "lm_head")
    assert storage(found, "visual.blocks.0.attn.qkv") is None
    assert storage(found, f"{LAYER_0}.mlp.down_proj") == "nvfp4"


def test_modelopts_two_files_say_the_same() -> None:
    nested = parse_quantization(modelopt("NVFP4", group_size=16))
    flat = parse_quantization({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]})
    assert nested.schemes == flat.schemes
    assert nested.ignored == flat.ignored == ("lm_head",)


def test_mixed_precision_quantizes_only_what_it_lists() -> None:
    layers = {
        "model.language_model.layers.0.linear_attn.out_proj": {"quant_algo": "FP8"},
        "model.language_model.layers.0.mlp.gate_proj": {"quant_algo": "W4A16_NVFP4", "group_size": 16},
        "model.language_model.layers.0.mlp.experts.0.down_proj": {"quant_algo": "NVFP4", "group_size": 16},
        "model.language_model.layers.1.mlp.experts": {"quant_algo": "MXFP8"},
    }
    quantization = parse_quantization(modelopt("MIXED_PRECISION", quantized_layers=layers))
    prefix = "language_model.model.layers.0"  # the engine's order of the two words
    assert storage(quantization, f"{prefix}.linear_attn.out_proj") == "fp8"
    assert storage(quantization, f"{prefix}.mlp.gate_up_proj", GATE_UP) == "nvfp4"
    assert storage(quantization, f"{prefix}.mlp.down_proj") is None
    assert storage(quantization, f"{prefix}.mlp.experts", kind="experts") == "nvfp4"
    assert storage(quantization, "language_model.model.layers.1.mlp.experts", kind="experts") == "mxfp8"


def test_deepseek_v4_has_fp4_experts_unless_it_says_otherwise() -> None:
    config = {**FP8, "weight_block_size": [128, 128], "scale_fmt": "ue8m0"}
    quantization = parse_quantization(config, "deepseek_v4")
    assert quantization.method == "deepseek_v4_fp8"
    assert storage(quantization, f"{LAYER_0}.mlp.experts", kind="experts") == "mxfp4"
    assert storage(quantization, f"{LAYER_0}.attn.wq_b") == "fp8"
    nvidia = parse_quantization({**config, "moe_quant_algo": "NVFP4"}, "deepseek_v4")
    assert storage(nvidia, f"{LAYER_0}.mlp.experts", kind="experts") == "nvfp4"
    assert storage(nvidia, f"{LAYER_0}.attn.wq_b") == "fp8"
    fp8_experts = parse_quantization({**config, "expert_dtype": "fp8"}, "deepseek_v4")
    assert storage(fp8_experts, f"{LAYER_0}.mlp.experts", kind="experts") == "fp8"


LAYER = Layer(
    (
        Linear("self_attn.qkv_proj", 64, (Output(64, name="q_proj"), Output(64, name="k_proj")), "column"),
        Linear("mlp.gate", 64, (Output(8),), "replicated", quantizable=False),
        Experts("mlp.experts", 8, 2, 64, 64),
    )
)


def test_names_are_mapped_to_the_engines_and_each_shape_is_named_once() -> None:
    config = {**FP8, "modules_to_not_convert": ["backbone.layers.0.self_attn.q_proj"]}
    facts = facts_of([], layers=(LayerRun(LAYER, 3),), quantization=config, name_prefixes=(("backbone.", "model."),))
    found = quantized_modules(facts)
    assert [item.name for item in found] == ["model.layers.0.mlp.experts", "model.layers.1.self_attn.qkv_proj"]


def test_fp8_at_load_takes_linears_and_experts_of_a_plain_checkpoint_only() -> None:
    plain = facts_of([], layers=(LayerRun(LAYER, 2),))
    assert engine_quantization(plain).method is None
    assert [item.scheme.online for item in quantized_modules(plain, "fp8")] == [True, True]
    quantized = facts_of([], layers=(LayerRun(LAYER, 2),), quantization=PUBLISHED["gptq"])
    assert engine_quantization(quantized, "fp8").method == "auto_gptq"


@pytest.mark.parametrize("published", [[128, 64], "128x64"])
def test_compressed_tensors_writes_blocks_as_a_list_or_in_words(published: list[int] | str) -> None:
    weights = tensors("float", 8, "block", block_structure=published)
    scheme = scheme_for(parse_quantization(compressed(weights)), "model.layers.0.mlp.down_proj", "linear")
    assert scheme is not None
    assert scheme.block == (128, 64)
