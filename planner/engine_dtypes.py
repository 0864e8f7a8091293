"""Number formats of the engine: what dtype and kv_cache_dtype "auto" become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.catalog import Gpu
    from planner.model.facts import ModelFacts

# vllm/config/model.py _FLOAT16_NOT_SUPPORTED_MODELS, by model_type: numerically unstable.
FLOAT16_UNSTABLE = frozenset({"gemma2", "gemma3", "gemma3_text", "plamo2", "glm4"})
BFLOAT16_CAPABILITY = 80  # vllm/platforms/cuda.py supported_dtypes
# vllm/utils/torch_utils.py MODELOPT_TO_VLLM_KV_CACHE_DTYPE_MAP
MODELOPT_KV_CACHE_DTYPES = {"fp8": "fp8_e4m3", "nvfp4": "nvfp4"}
QUANTIZED_KV_PREFIXES = ("fp8", "nvfp4", "int8", "int4")
FP8_BITS, FP4_BITS = 8, 4


def supported_dtypes(facts: ModelFacts, gpu: Gpu) -> tuple[str, ...]:
    """The formats that the GPU and the model can both run, best first (platforms/cuda.py, config/model.py)."""
    dtypes: tuple[str, ...] = ("float16", "float32")
    if gpu.compute_capability >= BFLOAT16_CAPABILITY:
        dtypes = ("bfloat16", *dtypes)
    return tuple(dtype for dtype in dtypes if dtype != "float16" or facts.model_type not in FLOAT16_UNSTABLE)


def resolve_dtype(asked: str, facts: ModelFacts, gpu: Gpu) -> str:
    """vllm/config/model.py _resolve_auto_dtype: float32 is halved, what the GPU lacks is replaced.

    An explicit dtype stands as it is, even where the engine would refuse it: that is a check's business.
    """
    if asked != "auto":
        return asked
    supported = supported_dtypes(facts, gpu)
    dtype = supported[0] if facts.dtype == "float32" else facts.dtype
    return dtype if dtype in supported else supported[0]


def resolve_kv_cache_dtype(asked: str, dtype: str, facts: ModelFacts, blackwell: str | None = None) -> str:
    """The KV cache's format: as asked, else as the checkpoint says, else the model's dtype.

    ``blackwell``: the class's own choice on the GPU at hand (models/config.py GlmMoeDsaForCausalLM).
    """
    if asked != "auto":
        return asked
    unread = facts.is_mla and layers_alone_name_it(asked, facts)
    checkpoint = None if unread else checkpoint_kv_cache_dtype(facts.quantization)
    return facts.kv_cache_format or checkpoint or blackwell or dtype


def layers_alone_name_it(asked: str, facts: ModelFacts) -> bool:
    """Whether only plain attention layers know the KV cache's format, while the engine's own stays "auto".

    So with compressed-tensors' kv_cache_scheme: layers/attention/attention.py Attention.__init__ reads it, MLA's
    layers never, and chunked and crossed layers look for their backend before it is read.
    """
    quantization = facts.quantization or {}
    return asked == "auto" and bool(quantization.get("kv_cache_scheme")) and _is_compressed(quantization)


def is_quantized_kv_cache(kv_cache_dtype: str) -> bool:
    """Whether the KV cache is stored in another format than the model computes in."""
    return kv_cache_dtype.startswith(QUANTIZED_KV_PREFIXES)


def checkpoint_kv_cache_dtype(quantization: Mapping[str, Any] | None) -> str | None:
    """The format a quantized checkpoint names for its KV cache, None where it names none that vLLM reads.

    NVIDIA's (utils/torch_utils.py get_kv_cache_quant_algo_string) and compressed-tensors'
    (layers/attention/attention.py Attention.__init__, kv_cache_scheme).
    """
    if not quantization:
        return None
    scheme = quantization.get("kv_cache_scheme")
    if _is_compressed(quantization):
        return "fp8" if scheme else None
    if not _quant_method(quantization).startswith("modelopt"):
        return None
    inner = quantization.get("quantization") or quantization
    algorithm = inner.get("kv_cache_scheme") or scheme
    algorithm = algorithm or inner.get("kv_cache_quant_algo") or quantization.get("kv_cache_quant_algo")
    if isinstance(algorithm, dict):
        algorithm = _described(algorithm)
    return MODELOPT_KV_CACHE_DTYPES.get(str(algorithm).lower())


def _is_compressed(quantization: Mapping[str, Any]) -> bool:
    return _quant_method(quantization).replace("_", "-") == "compressed-tensors"


def _quant_method(quantization: Mapping[str, Any]) -> str:
    """quant_method, which NVIDIA's own files leave out (transformers_utils/model_arch_config_convertor.py)."""
    produced_by_modelopt = (quantization.get("producer") or {}).get("name") == "modelopt"
    if produced_by_modelopt and (quantization.get("quantization") or {}).get("quant_algo"):
        return "modelopt"
    return str(quantization.get("quant_method", "")).lower()


def _described(scheme: Mapping[str, Any]) -> str | None:
    """A kv_cache_scheme's short name."""
    if scheme.get("type") != "float":
        return None
    if scheme.get("num_bits") == FP8_BITS and scheme.get("dynamic") is False:
        return "fp8"
    return "nvfp4" if scheme.get("num_bits") == FP4_BITS else None
