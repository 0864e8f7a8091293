"""FP8 checkpoints and FP8 at load: quant_method fp8, fbgemm_fp8, deepseek_v4_fp8, and vLLM's online fp8_per_tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.errors import ModelError
from planner.model.quantization.quantization import Quantization
from planner.model.quantization.scheme import MX_GROUP_SIZE, NVFP4_GROUP_SIZE, Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

# quantization: fp8 at load (vllm layers/quantization/online/fp8.py, Fp8PerTensorOnline*Method): every linear layer and
# the routed experts, one scale per layer (per expert); the head stays as it is.
ONLINE_FP8 = Scheme("fp8_per_tensor", "fp8", online=True)


def parse_fp8(config: Mapping[str, Any]) -> Quantization:
    """vllm fp8.py Fp8Config.from_config."""
    if config.get("store_dtype") not in (None, "fp8"):
        raise ModelError(
            f"quantization_config: fp8 with store_dtype {config['store_dtype']} is not understood. "
            "Its experts are stored in another format. Use a checkpoint without store_dtype."
        )
    scheme = fp8_scheme("fp8", config)
    ignored = config.get("ignored_layers") or config.get("modules_to_not_convert") or ()
    return Quantization("fp8", "exact", {"linear": scheme, "experts": scheme}, tuple(ignored))


def fp8_scheme(method: str, config: Mapping[str, Any], block_scale_bytes: int = 4) -> Scheme:
    """Per tensor, or per block where weight_block_size is given."""
    block = config.get("weight_block_size")
    if block is None:
        return Scheme(method, "fp8", static_input=config.get("activation_scheme") == "static")
    return Scheme(method, "fp8", "block", block=(int(block[0]), int(block[1])), block_scale_bytes=block_scale_bytes)


def parse_deepseek_v4(config: Mapping[str, Any]) -> Quantization:
    """vllm models/deepseek_v4/quant_config.py: fp8 blocks for linears, ``expert_dtype`` (default fp4) for experts."""
    expert_dtype = config.get("expert_dtype") or "fp4"
    algorithm = str(config.get("moe_quant_algo") or "").upper()
    if algorithm not in ("", "NVFP4"):
        raise ModelError(
            f"quantization_config: deepseek_v4 with {algorithm} experts is not understood. "
            "Use a checkpoint whose experts are MXFP4, NVFP4 or FP8."
        )
    linear = fp8_scheme("deepseek_v4_fp8", config, block_scale_bytes=1 if expert_dtype == "fp4" else 4)
    experts = linear
    if expert_dtype == "fp4" and algorithm:
        experts = Scheme("deepseek_v4_fp8", "nvfp4", "group", bits=4, group_size=NVFP4_GROUP_SIZE)
    elif expert_dtype == "fp4":
        experts = Scheme("deepseek_v4_fp8", "mxfp4", "group", bits=4, group_size=MX_GROUP_SIZE)
    ignored = config.get("ignored_layers") or config.get("modules_to_not_convert") or ()
    return Quantization("deepseek_v4_fp8", "exact", {"linear": linear, "experts": experts}, tuple(ignored))


def parse_fbgemm_fp8(config: Mapping[str, Any]) -> Quantization:
    """vllm fbgemm_fp8.py: one scale per output channel and an upper bound for activations; experts unquantized."""
    scheme = Scheme("fbgemm_fp8", "fp8", "channel", static_input=True)
    ignored = tuple(config.get("modules_to_not_convert") or ())
    return Quantization("fbgemm_fp8", "exact", {"linear": scheme}, ignored, deprecated=True)


def make_online_fp8() -> Quantization:
    """quantization: fp8 for a checkpoint that is not quantized."""
    return Quantization("fp8_per_tensor", "uniform", {"linear": ONLINE_FP8, "experts": ONLINE_FP8})
