"""Quantization settings as checkpoints publish them, one of each kind."""

from __future__ import annotations

from typing import Any


def compressed(
    weights: dict[str, Any], inputs: dict[str, Any] | None = None, published: str = "float-quantized"
) -> dict[str, Any]:
    """compressed-tensors with one group for every linear layer."""
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": published,
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


def tensors(kind: str, bits: int, strategy: str, group_size: int | None = None, **more: Any) -> dict[str, Any]:
    """Weight or activation settings of compressed-tensors."""
    return {
        "num_bits": bits,
        "type": kind,
        "strategy": strategy,
        "group_size": group_size,
        "symmetric": True,
        "dynamic": False,
        **more,
    }


def modelopt(algorithm: str, **more: Any) -> dict[str, Any]:
    """hf_quant_config.json of NVIDIA ModelOpt."""
    settings = {"quant_algo": algorithm, "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"], **more}
    return {"producer": {"name": "modelopt"}, "quantization": settings}


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
PER_TOKEN = tensors("float", 8, "token", dynamic=True)

PUBLISHED: dict[str, dict[str, Any]] = {
    "fp8_tensor_dyn": FP8,
    "fp8_tensor_static": {**FP8, "activation_scheme": "static"},
    "fp8_block": {**FP8, "weight_block_size": [128, 128]},
    "ct_fp8_dyn": compressed(tensors("float", 8, "channel"), PER_TOKEN),
    "ct_fp8_block": compressed(
        tensors("float", 8, "block", block_structure=[128, 128]), tensors("float", 8, "group", 128, dynamic=True)
    ),
    "ct_w8a16fp8": compressed(tensors("float", 8, "channel")),
    "ct_int8_dyn": compressed(tensors("int", 8, "channel"), tensors("int", 8, "token", dynamic=True), "int-quantized"),
    "ct_int8_static": compressed(tensors("int", 8, "tensor"), tensors("int", 8, "tensor"), "int-quantized"),
    "ct_w4a16": compressed(tensors("int", 4, "group", 128), None, "pack-quantized"),
    "ct_w4a16_asym": compressed(tensors("int", 4, "group", 128, symmetric=False), None, "pack-quantized"),
    "ct_w4a16_g32": compressed(tensors("int", 4, "group", 32), None, "pack-quantized"),
    "ct_w4a16_actorder": compressed(tensors("int", 4, "group", 128, actorder="group"), None, "pack-quantized"),
    "ct_w8a16": compressed(tensors("int", 8, "channel"), None, "pack-quantized"),
    "ct_nvfp4": compressed(
        tensors("float", 4, "tensor_group", 16), tensors("float", 4, "tensor_group", 16), "nvfp4-pack-quantized"
    ),
    "ct_nvfp4a16": compressed(tensors("float", 4, "tensor_group", 16), None, "nvfp4-pack-quantized"),
    "ct_mxfp4": compressed(tensors("float", 4, "group", 32), None, "mxfp4-pack-quantized"),
    "mo_fp8": modelopt("FP8"),
    "mo_fp8_pc": modelopt("FP8_PER_CHANNEL_PER_TOKEN"),
    "mo_fp8_pb": modelopt("FP8_PB_WO"),
    "mo_nvfp4": modelopt("NVFP4", group_size=16),
    "mo_mxfp8": modelopt("MXFP8"),
    "gptq": GPTQ,
    "gptq8": {**GPTQ, "bits": 8, "group_size": 32},
    "gptq_desc_act": {**GPTQ, "desc_act": True},
    "gptq_gm1": {**GPTQ, "group_size": -1},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"},
    "fbgemm": {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]},
    "auto_round": {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True, "data_type": "int"},
    "quark": {
        "quant_method": "quark",
        "global_quant_config": {
            "weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": False},
            "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": False},
        },
        "exclude": ["lm_head", "re:.*o_proj"],
    },
    "experts_int8": {"quant_method": "experts_int8"},
    "mxfp4": {"quant_method": "mxfp4"},
    "gpt_oss_mxfp4": {"quant_method": "mxfp4"},
}
