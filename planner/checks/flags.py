"""Flags of extra_args that vLLM refuses for this model and split, or whose memory is not planned: engine_support."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.checks.refusal import Refusal
from planner.engine_dtypes import is_quantized_kv_cache
from planner.memory.cache_layers import cache_kinds

if TYPE_CHECKING:
    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts

CODE = "engine_support"
SIZES = ("kv-cache-memory-bytes", "num-gpu-blocks-override", "block-size", "max-cudagraph-capture-size")


def check_flags(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """What a flag asks for, where it cannot be had."""
    if not engine.extra_args:
        return None
    return (
        _check_sizes(engine)
        or _check_whole_prompts(engine)
        or _check_skipped_layers(engine)
        or _check_context_parallel(facts, candidate, engine)
    )


def _check_sizes(engine: EngineConfig) -> Refusal | None:
    read = (engine.kv_cache_memory_bytes, engine.num_gpu_blocks_override, engine.block_size, engine.most_captured_seqs)
    for name, number in zip(SIZES, read, strict=True):
        asked = engine.flag(name)
        if asked is not None and number is None:
            return Refusal(CODE, f"engine.extra_args.{name}: {asked} is no whole number such as 1024, 25.6k or 10G.")
    return None


def _check_whole_prompts(engine: EngineConfig) -> Refusal | None:
    """config/scheduler.py verify_max_model_len: without chunked prefill the longest prompt must go into one step."""
    tokens, longest = engine.max_num_batched_tokens, engine.max_model_len
    if engine.enable_chunked_prefill or tokens >= longest:
        return None
    reason = f"max_num_batched_tokens ({tokens}) is smaller than max_model_len ({longest}). Without chunked prefill "
    reason += "longer sequences would be rejected. Raise engine.max_num_batched_tokens, or lower engine.max_model_len."
    return Refusal(CODE, reason, longest, tokens)


def _check_skipped_layers(engine: EngineConfig) -> Refusal | None:
    if engine.flag("kv-cache-dtype-skip-layers") is None or not is_quantized_kv_cache(engine.kv_cache_dtype):
        return None
    return Refusal(
        CODE,
        "engine.extra_args.kv-cache-dtype-skip-layers: KV caches of two number formats side by side are not planned. "
        "Leave the flag out, or set engine.kv_cache_dtype: auto.",
    )


def _check_context_parallel(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """config/parallel.py and config/model.py verify_with_parallel_config; windows and states are not split."""
    dcp, tp, kv_heads = engine.decode_context_parallel_size, candidate.tensor_parallel_size, facts.num_key_value_heads
    if dcp == 1:
        return None
    if tp % dcp:
        return Refusal(CODE, f"tp_size={tp} must be divisible by dcp_size={dcp}.", tp, dcp)
    if not cache_kinds(facts) <= {"full", "mla", "none"}:
        reason = "DCP not support sliding window: nor are the chunks and states of this model's layers planned with it."
        return Refusal(CODE, f"{reason} Leave out engine.extra_args.decode-context-parallel-size.")
    if facts.is_mla:
        return None
    if tp <= kv_heads:
        return Refusal(
            CODE,
            f"Decode context parallelism for GQA/MQA requires tensor_parallel_size ({tp}) to be greater than the "
            f"model's total number of KV heads ({kv_heads}).",
            kv_heads + 1,
            tp,
        )
    if dcp > tp // kv_heads or facts.num_attention_heads // kv_heads % dcp:
        return Refusal(
            CODE,
            f"decode-context-parallel-size ({dcp}) exceeds the maximum supported value ({tp // kv_heads}) for "
            f"tensor_parallel_size ({tp}) and {kv_heads} KV heads, or does not divide the query heads of each.",
            dcp,
            tp // kv_heads,
        )
    return None
