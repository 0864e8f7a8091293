"""attention_backend: whether vLLM finds an attention backend for every kind of layer on this GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.checks.refusal import Refusal
from planner.engine_dtypes import is_quantized_kv_cache, resolve_kv_cache_dtype
from planner.memory.attention import attention_of, choose_backend, late_refusal
from planner.memory.block_sizes import block_sizes
from planner.memory.cache_layers import cache_layers
from planner.memory.kv_settings import kv_settings

if TYPE_CHECKING:
    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.memory.attention import Attention, Choice
    from planner.model.facts import ModelFacts

CODE = "attention_backend"
PACKED_LATENT_FAMILIES = (9, 10, 12)  # FlashMLA on 9.0 and 10.x, FlashInfer on 12.x (_select_dsv4_attn_cls)
FLASHINFER_FAMILY = 12
HOPPER = 90


def check_attention_backend(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """vllm/platforms/cuda.py get_attn_backend_cls, and what the backend raises once it is chosen."""
    if facts.kv_cache_format:
        return _check_own_format(facts.kv_cache_format, candidate, engine)
    settings = kv_settings(candidate.gpu, engine, candidate.tensor_parallel_size)
    for cache, _ in cache_layers(facts):
        if cache.kernel_block_tokens and not cache.block_tokens:
            size = block_sizes(facts, settings).attention
            if size % cache.kernel_block_tokens:
                return Refusal(
                    CODE, _no_common_block(facts, size, cache.kernel_block_tokens), cache.kernel_block_tokens, size
                )
        if cache.kind in {"mamba", "none"} or cache.kernel_block_tokens or cache.block_tokens:
            continue  # no attention, or kernels of the model's own
        attention = attention_of(cache, facts, settings)
        choice = choose_backend(attention)
        if choice.backend is None:
            return Refusal(CODE, _none_found(candidate, attention, choice))
        if reason := late_refusal(choice.backend, attention):
            return Refusal(CODE, f"{reason} {_remedy(facts, attention)}", _needed(attention), attention.capability)
    return None


def _no_common_block(facts: ModelFacts, size: int, kernel: int) -> str:
    """vllm/v1/worker/utils.py select_common_block_size; in 0.25.0 the first layer's backend alone picks the size."""
    return (
        f"No common block size for {size}: kernels of {facts.architecture} take blocks of {kernel} tokens. "
        f"Type engine.extra_args: {{block-size: {kernel}}}."
    )


def _check_own_format(own: str, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """models/deepseek_v4/attention.py _resolve_dsv4_kv_cache_dtype; v1/attention/ops/flashmla.py."""
    if not engine.kv_cache_dtype.startswith("fp8"):
        return Refusal(
            CODE,
            f"DeepseekV4 {own} layout only supports fp8 kv-cache, got {engine.kv_cache_dtype}. "
            "Set engine.kv_cache_dtype: auto.",
        )
    capability = candidate.gpu.compute_capability
    if capability // 10 == FLASHINFER_FAMILY and not engine.flashinfer:
        reason = f"FLASHINFER_MLA_SPARSE_DSV4 on SM120 requires FlashInfer, which {candidate.sold_as}'s image lacks."
        return Refusal(CODE, reason)
    if capability // 10 in PACKED_LATENT_FAMILIES:
        return None
    return Refusal(
        CODE,
        f"{candidate.sold_as}: FlashMLA Sparse is only supported on Hopper and Blackwell DC devices, and FlashInfer's "
        "kernels for this model on Blackwell alone. Choose an H100, H200, B200 or newer.",
        HOPPER,
        capability,
    )


def _none_found(candidate: Candidate, attention: Attention, choice: Choice) -> str:
    """vLLM's own sentence, shortened to each backend's first reason."""
    reasons = ", ".join(f"{name}: {reason}" for name, reason in choice.reasons)
    return (
        f"No valid attention backend found for {candidate.sold_as} with head_size {attention.head_size}, "
        f"dtype {attention.dtype} and kv_cache_dtype {attention.kv_cache_dtype}. {reasons}."
    )


def _remedy(facts: ModelFacts, attention: Attention) -> str:
    if attention.chosen_unquantized:
        return "Set engine.kv_cache_dtype: fp8, for which vLLM takes another backend, or choose an H100, H200 or B200."
    if is_quantized_kv_cache(resolve_kv_cache_dtype("auto", attention.dtype, facts)):
        return f"The checkpoint itself keeps its KV cache in {attention.kv_cache_dtype}: choose an L4, H100 or newer."
    return f"Set engine.kv_cache_dtype: auto, or choose a GPU with FP8 ({attention.kv_cache_dtype} was asked for)."


def _needed(attention: Attention) -> int | None:
    return 89 if attention.quantized and not attention.chosen_unquantized else None
