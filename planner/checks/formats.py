"""Whether this engine version and this GPU take the checkpoint's number format: engine_support, dtype, capability."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.checks.refusal import Refusal
from planner.engine import V0_33
from planner.engine_dtypes import BFLOAT16_CAPABILITY, FLOAT16_UNSTABLE
from planner.memory.formats.place import NATIVE_BLOCK_FP8, NATIVE_FP8
from planner.model.facts import Experts
from planner.model.quantization import engine_quantization, quantized_modules

if TYPE_CHECKING:
    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts
    from planner.model.quantization import QuantizedModule, Scheme

# QuantizationConfig.get_min_capability of each method, 0.33.0.
MIN_CAPABILITY = {
    "auto_awq": 75,
    "auto_gptq": 60,
    "compressed-tensors": 70,
    "deepseek_v4_fp8": 75,
    "experts_int8": 80,
    "fbgemm_fp8": 80,
    "fp8": 75,
    "fp8_per_tensor": 75,
    "gpt_oss_mxfp4": 80,
    "inc": 60,
    "modelopt": 80,
    "modelopt_fp4": 75,
    "modelopt_mixed": 75,
    "modelopt_mxfp8": 80,
    "mxfp4": 80,
    "quark": 70,
}
MODELOPT_CAPABILITY_BEFORE_0_33 = 89  # ModelOptFp8Config.get_min_capability of 0.25.0
# get_min_capability of compressed-tensors' schemes; W8A8Fp8 (89) falls back to W8A16Fp8.
COMPRESSED_CAPABILITY = {"fp8": 75, "mxfp8": 75, "int8": 75, "int": 75, "nvfp4": 75, "mxfp4": 80}
GPTQ_KERNEL_CAPABILITY = 75  # Marlin; older GPUs are left to kernels whose bytes are not known here
# QuantizationConfig.get_supported_act_dtypes; compressed-tensors takes all three.
HALF_DTYPES = ("bfloat16", "float16")
ONLY_BFLOAT16 = frozenset({"mxfp4", "gpt_oss_mxfp4", "modelopt_mxfp8"})


def check_format_support(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """engine_support: formats that this version refuses whatever the GPU."""
    del candidate
    published = engine_quantization(facts)
    if engine.quantization and published.method not in (None, "fp8"):
        return _unsupported(
            f"Quantization method specified in the model config ({published.method}) does not match the quantization "
            f"method specified in the `quantization` argument ({engine.quantization})",
            "The checkpoint is quantized already: leave model.quantization at auto.",
        )
    if published.deprecated and not engine.flag("allow-deprecated-quantization"):
        return _unsupported(
            f"The quantization method {published.method} is deprecated and will be removed in future versions of "
            "vLLM. To bypass, set `--allow-deprecated-quantization`",
            "Set engine.extra_args: {allow-deprecated-quantization: true}.",
        )
    return next(
        filter(None, (_refuse_module(item, engine) for item in quantized_modules(facts, with_tower=False))), None
    )


def _refuse_module(quantized: QuantizedModule, engine: EngineConfig) -> Refusal | None:
    scheme = quantized.scheme
    if scheme.act_order and engine.rules >= V0_33:
        name = "GPTQ group activation ordering (desc_act=True)"
        if scheme.method == "compressed-tensors":
            name = "Compressed-tensors group/dynamic activation ordering (actorder='group')"
        return _unsupported(
            f"{name} is no longer supported",
            "Use a checkpoint without activation ordering, or engine.version 0.25.0.",
        )
    if not isinstance(quantized.module, Experts) or scheme.method != "compressed-tensors":
        return None
    return _refuse_experts(scheme, engine)


def _refuse_experts(scheme: Scheme, engine: EngineConfig) -> Refusal | None:
    """compressed_tensors_moe.py get_moe_method: what has no kernel for routed experts."""
    remedy = "Use a checkpoint whose experts are fp8 w8a8, int8 w8a8 per channel, pack-quantized, nvfp4 or mxfp4."
    if scheme.storage == "fp8" and scheme.weight_only:
        return _unsupported("For Fused MoE layers, only format: pack-quantized is supported", remedy)
    if scheme.storage == "int8" and (scheme.static_input or scheme.granularity == "tensor"):
        return _unsupported("Unsupported FusedMoe scheme: int8 with static or per-tensor scales", remedy)
    if scheme.storage == "int" and engine.rules < V0_33 and (not scheme.symmetric or scheme.act_order):
        return _unsupported("Only symmetric quantization is supported for MoE", "Use engine.version 0.33.0.")
    return None


def _unsupported(says: str, remedy: str) -> Refusal:
    return Refusal("engine_support", f"vLLM: {says}. {remedy}")


def check_dtype(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """dtype: what the GPU, the model or the format cannot compute in (config/model.py, platforms/cuda.py)."""
    gpu = candidate.gpu
    if engine.dtype == "bfloat16" and gpu.compute_capability < BFLOAT16_CAPABILITY:
        return Refusal(
            "dtype",
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your "
            f"{gpu.device_name} GPU has compute capability {_version(gpu.compute_capability)}. "
            "Set model.dtype: float16, or auto.",
            BFLOAT16_CAPABILITY,
            gpu.compute_capability,
        )
    if engine.dtype == "float16" and facts.model_type in FLOAT16_UNSTABLE:
        return Refusal(
            "dtype",
            f"The model type '{facts.model_type}' does not support float16. Reason: Numerical instability. "
            "Please use bfloat16 or float32 instead: set model.dtype.",
        )
    return _refuse_activation_dtype(facts, candidate, engine)


def _refuse_activation_dtype(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    method = engine_quantization(facts, engine.quantization).method
    if method is None or method == "compressed-tensors":
        return None
    if candidate.gpu.compute_capability < _method_capability(method, engine):
        return None  # the engine looks at the GPU first
    supported = ("bfloat16",) if method in ONLY_BFLOAT16 else HALF_DTYPES
    if engine.dtype in supported:
        return None
    names = ", ".join(f"torch.{name}" for name in supported)
    return Refusal(
        "dtype",
        f"torch.{engine.dtype} is not supported for quantization method {method}. Supported dtypes: [{names}]. "
        f"Set model.dtype: {supported[0]}.",
    )


def check_capability(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """capability: what the format needs of the GPU (VllmConfig._get_quantization_config, schemes, kernels)."""
    method = engine_quantization(facts, engine.quantization).method
    if method is None:
        return None
    current = candidate.gpu.compute_capability
    needed = _method_capability(method, engine)
    if current < needed:
        return _incapable(
            f"The quantization method {method} is not supported for the current GPU. Minimum capability: {needed}. "
            f"Current capability: {current}.",
            needed,
            candidate,
        )
    for quantized in quantized_modules(facts, engine.quantization):
        if refusal := _refuse_scheme(quantized.scheme, candidate, engine):
            return refusal
    return None


def _method_capability(method: str, engine: EngineConfig) -> int:
    if method == "modelopt" and engine.rules < V0_33:
        return MODELOPT_CAPABILITY_BEFORE_0_33
    return MIN_CAPABILITY[method]


def _refuse_scheme(scheme: Scheme, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    current = candidate.gpu.compute_capability
    needed = _scheme_capability(scheme)
    if current < needed:
        says = f"Quantization scheme is not supported for the current GPU. Min capability: {needed}. "
        return _incapable(f"{says}Current capability: {current}.", needed, candidate)
    if scheme.method == "auto_gptq" and current < GPTQ_KERNEL_CAPABILITY:
        says = "Failed to find a kernel that can implement the WNA16 linear layer."
        return _incapable(says, GPTQ_KERNEL_CAPABILITY, candidate)
    native = _native_capability(scheme, engine)
    if current < native:
        says = "AttributeError: the layer has no attribute 'orig_dtype' (prepare_fp8_layer_for_marlin)."
        return _incapable(says, native, candidate)
    return None


def _scheme_capability(scheme: Scheme) -> int:
    """get_min_capability of compressed-tensors' and Quark's schemes."""
    if scheme.method == "compressed-tensors":
        return COMPRESSED_CAPABILITY[scheme.storage]
    return NATIVE_FP8 if scheme.method == "quark" else 0


def _native_capability(scheme: Scheme, engine: EngineConfig) -> int:
    """0.33.0's ModelOptLinearMethod lacks what Marlin reads, except for scales per tensor."""
    if scheme.method != "modelopt" or scheme.storage != "fp8" or engine.rules < V0_33:
        return 0
    return {"channel": NATIVE_FP8, "block": NATIVE_BLOCK_FP8}.get(scheme.granularity, 0)


def _incapable(says: str, needed: int, candidate: Candidate) -> Refusal:
    current = candidate.gpu.compute_capability
    return Refusal(
        "capability",
        f"{candidate.sold_as} has compute capability {_version(current)}, the checkpoint's format needs "
        f"{_version(needed)}; vLLM: {says}",
        needed,
        current,
    )


def _version(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"
