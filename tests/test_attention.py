"""Attention backends against what vLLM's own code chooses under each GPU's identity."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.checks.attention import check_attention_backend
from planner.memory.attention import attention_of, choose_backend
from planner.memory.cache_layers import cache_layers
from planner.memory.kv_settings import kv_settings
from planner.model.facts import Cache, ModelFacts
from tests import made_facts
from tests.hand_made import CHUNK, DEEPSEEK_V3, FULL, GPT_OSS_120B, LATENT, LLAMA_3_8B, SPARSE, engine_of, facts_of, gpu

GEMMA_3 = facts_of([replace(FULL, head_size=256)], 8, mm_prefix=True)
GEMMA_4 = facts_of(
    [replace(FULL, head_size=256), replace(FULL, head_size=512)], 8, mm_prefix=True, flash_attn_version=4
)
WIDE = facts_of([replace(FULL, head_size=512)], 8)
ODD_HEADS = facts_of([replace(FULL, head_size=80)], 8)
TINY_HEADS = facts_of([replace(FULL, head_size=16)], 8)
SPLIT_VALUES = facts_of([replace(FULL, head_size=192, head_size_v=128)], 8)
SPARSE_LATENT = facts_of([SPARSE], 8, num_attention_heads=64)
NO_ROPE = facts_of([replace(SPARSE, head_size=512, qk_rope_head_dim=0)], 8, num_attention_heads=64)
MINI_LATENT = facts_of([replace(LATENT, head_size=288)], 8)

CHOSEN = [
    (LLAMA_3_8B, "H100", "0.33.0", "auto", "FLASH_ATTN"),
    (LLAMA_3_8B, "H100", "0.33.0", "fp8", "FLASH_ATTN"),
    (LLAMA_3_8B, "A100-80GB", "0.33.0", "auto", "FLASH_ATTN"),
    (LLAMA_3_8B, "A100-80GB", "0.33.0", "fp8", "FLASHINFER"),
    (LLAMA_3_8B, "A100-80GB", "0.25.0", "fp8", "FLASHINFER"),
    (LLAMA_3_8B, "L4", "0.33.0", "fp8", "FLASHINFER"),
    (LLAMA_3_8B, "T4", "0.33.0", "auto", "TRITON_ATTN"),
    (LLAMA_3_8B, "B200", "0.33.0", "auto", "FLASHINFER"),
    (LLAMA_3_8B, "RTX-PRO-6000", "0.33.0", "auto", "FLASH_ATTN"),
    (ODD_HEADS, "B200", "0.33.0", "auto", "FLASH_ATTN"),
    (ODD_HEADS, "L40S", "0.33.0", "fp8", "TRITON_ATTN"),
    (TINY_HEADS, "T4", "0.33.0", "auto", "FLEX_ATTENTION"),
    (WIDE, "H100", "0.33.0", "auto", "FLASH_ATTN"),  # FlashAttention 4
    (WIDE, "A100-80GB", "0.33.0", "auto", "FLASHINFER"),
    (GPT_OSS_120B, "H100", "0.33.0", "auto", "FLASH_ATTN"),
    (GPT_OSS_120B, "A100-80GB", "0.33.0", "auto", "TRITON_ATTN"),  # sinks need FlashAttention 3
    (GPT_OSS_120B, "L40S", "0.33.0", "auto", "TRITON_ATTN"),
    (GPT_OSS_120B, "B200", "0.33.0", "auto", "FLASHINFER"),
    (GEMMA_3, "H100", "0.33.0", "auto", "TRITON_FLASH_ATTN"),
    (GEMMA_3, "H100", "0.25.0", "auto", "TRITON_ATTN"),
    (GEMMA_3, "A100-80GB", "0.33.0", "auto", "TRITON_ATTN"),
    (GEMMA_3, "B200", "0.33.0", "auto", "TRITON_FLASHINFER"),
    (GEMMA_4, "H100", "0.33.0", "fp8", "TRITON_FLASH_ATTN"),
    (GEMMA_4, "L4", "0.33.0", "auto", "TRITON_ATTN"),
    (SPLIT_VALUES, "H100", "0.33.0", "auto", "FLASH_ATTN_DIFFKV"),
    (SPLIT_VALUES, "A100-80GB", "0.33.0", "auto", "TRITON_ATTN_DIFFKV"),
    (DEEPSEEK_V3, "H100", "0.33.0", "auto", "FLASH_ATTN_MLA"),
    (DEEPSEEK_V3, "H200", "0.33.0", "fp8", "FLASHMLA"),
    (DEEPSEEK_V3, "B200", "0.33.0", "auto", "FLASHINFER_MLA"),
    (DEEPSEEK_V3, "A100-80GB", "0.33.0", "auto", "TRITON_MLA"),
    (DEEPSEEK_V3, "L4", "0.33.0", "fp8", "TRITON_MLA"),
    (MINI_LATENT, "H100", "0.33.0", "auto", "TRITON_MLA"),
    (SPARSE_LATENT, "H200", "0.33.0", "auto", "FLASH_ATTN_MLA_SPARSE"),
    (SPARSE_LATENT, "H200", "0.33.0", "fp8", "FLASHMLA_SPARSE"),
    (SPARSE_LATENT, "B200", "0.33.0", "fp8", "FLASHINFER_MLA_SPARSE"),
    (SPARSE_LATENT, "B200", "0.33.0", "auto", "FLASHMLA_SPARSE"),  # 64 heads on one rank
    (SPARSE_LATENT, "RTX-PRO-6000", "0.33.0", "auto", "FLASHINFER_MLA_SPARSE_SM120"),
    (NO_ROPE, "H100", "0.33.0", "auto", "FLASHINFER_MLA_SPARSE_SM90"),
]


def names(facts: ModelFacts, gpu_name: str, version: str, kv_cache_dtype: str, tp: int = 1) -> set[str]:
    engine = engine_of(facts, gpu_name, tp, version=version, kv_cache_dtype=kv_cache_dtype)
    settings = kv_settings(gpu(gpu_name), engine, tp)
    chosen = [choose_backend(attention_of(kept, facts, settings)).backend for kept, _ in cache_layers(facts)]
    return {backend.name if backend else "none" for backend in chosen}


@pytest.mark.parametrize(("facts", "gpu_name", "version", "kv_cache_dtype", "name"), CHOSEN)
def test_backend_chosen(facts: ModelFacts, gpu_name: str, version: str, kv_cache_dtype: str, name: str) -> None:
    assert names(facts, gpu_name, version, kv_cache_dtype) == {name}


def test_few_heads_prefer_another_sparse_kernel() -> None:
    assert names(SPARSE_LATENT, "B200", "0.33.0", "auto", tp=4) == {"FLASH_ATTN_MLA_SPARSE_FA4"}
    assert names(SPARSE_LATENT, "B200", "0.25.0", "auto", tp=4) == {"FLASHINFER_MLA_SPARSE"}


REFUSED = [
    (LLAMA_3_8B, "T4", "fp8", True, "requires SM89+"),
    (LLAMA_3_8B, "A100-80GB", "fp8", False, "requires SM89+"),
    (GEMMA_3, "A100-80GB", "fp8", True, "requires SM89+"),
    (DEEPSEEK_V3, "A100-80GB", "fp8", True, "Triton MLA backend"),
    (SPARSE_LATENT, "A100-80GB", "auto", True, "No valid attention backend found for A100-80GB"),
    (SPARSE_LATENT, "L4", "auto", True, "TRITON_MLA: sparse not supported"),
    (facts_of([Cache("mla", 1, 576, sinks=True)], 4), "H100", "auto", True, "attention sinks not supported"),
]


@pytest.mark.parametrize(("facts", "gpu_name", "kv_cache_dtype", "flashinfer", "words"), REFUSED)
def test_backend_refused(facts: ModelFacts, gpu_name: str, kv_cache_dtype: str, flashinfer: bool, words: str) -> None:
    engine = replace(engine_of(facts, gpu_name, kv_cache_dtype=kv_cache_dtype), flashinfer=flashinfer)
    refusal = check_attention_backend(facts, Candidate(gpu(gpu_name), None, 1, 1, 1), engine)
    assert refusal
    assert refusal.code == "attention_backend"
    assert words in refusal.reason


FP8_LAYERS = {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}
CHUNKED = facts_of([CHUNK, FULL], 24, quantization=FP8_LAYERS)
CHOSEN_FIRST = [
    ("L40S", "auto", "FlashAttention does not support fp8 kv-cache on this device."),
    ("A100-80GB", "auto", "Set engine.kv_cache_dtype: fp8"),
    ("RTX-PRO-6000", "auto", "FlashAttention does not support"),
    ("T4", "auto", "requires SM89+"),
    ("H100", "auto", None),
    ("B200", "auto", None),
    ("L40S", "fp8", None),
]


@pytest.mark.parametrize(("gpu_name", "kv_cache_dtype", "words"), CHOSEN_FIRST)
def test_chunked_layers_choose_before_the_checkpoint_says_fp8(
    gpu_name: str, kv_cache_dtype: str, words: str | None
) -> None:
    """layers/attention/chunked_local_attention.py, as vLLM 0.33.0's classes answer for Llama 4 with such a scheme."""
    engine = engine_of(CHUNKED, gpu_name, kv_cache_dtype=kv_cache_dtype)
    refusal = check_attention_backend(CHUNKED, Candidate(gpu(gpu_name), None, 1, 1, 1), engine)
    assert (refusal is None) if words is None else (refusal is not None and words in refusal.reason)


def test_latent_layers_never_read_the_scheme_of_compressed_tensors() -> None:
    latent = replace(DEEPSEEK_V3, quantization=FP8_LAYERS)
    assert engine_of(latent, "H100").kv_cache_dtype == "bfloat16"
    assert engine_of(latent, "H100", kv_cache_dtype="fp8").kv_cache_dtype == "fp8"
    assert engine_of(replace(LLAMA_3_8B, quantization=FP8_LAYERS), "H100").kv_cache_dtype == "fp8"


@pytest.mark.parametrize("text_only", [False, True])
def test_gemma_4_in_fp8_runs_on_triton_below_hopper(text_only: bool) -> None:
    """models/config.py Gemma4Config: heads of two sizes take FlashAttention 4 or Triton, images or not."""
    facts = made_facts.facts_of("nvidia/Gemma-4-31B-IT-NVFP4")
    for gpu_name, valid in (("A100-80GB", False), ("L40S", True), ("H100", True)):
        engine = engine_of(facts, gpu_name, extra_args={"language-model-only": True} if text_only else {})
        refusal = check_attention_backend(facts, Candidate(gpu(gpu_name), None, 1, 1, 1), engine)
        assert (refusal is None) == valid
        assert valid or "The checkpoint itself keeps its KV cache" in str(refusal)


def test_what_has_a_backend_is_not_refused() -> None:
    for facts in (LLAMA_3_8B, DEEPSEEK_V3, GPT_OSS_120B, GEMMA_3):
        assert check_attention_backend(facts, Candidate(gpu("H100"), None, 1, 1, 1), engine_of(facts)) is None


def test_an_asked_for_backend_is_the_only_candidate() -> None:
    engine = engine_of(LLAMA_3_8B, "T4", extra_args={"attention-backend": "flash_attn"})
    refusal = check_attention_backend(LLAMA_3_8B, Candidate(gpu("T4"), None, 1, 1, 1), engine)
    assert refusal
    assert "FLASH_ATTN: compute capability not supported" in refusal.reason


def test_text_alone_needs_no_attention_in_both_directions() -> None:
    engine = engine_of(GEMMA_3, extra_args={"language-model-only": True})
    settings = kv_settings(gpu("H100"), engine, 1)
    ((kept, _),) = cache_layers(GEMMA_3)
    backend = choose_backend(attention_of(kept, GEMMA_3, settings)).backend
    assert backend
    assert backend.name == "FLASH_ATTN"
