"""The backend of a cache, with the blocks that its kernels take here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.engine import V0_33
from planner.memory.attention import FA4_PAGE, Attention, attention_of, choose_backend, flash_attn_version
from planner.memory.attention_backends import AttentionBackend

if TYPE_CHECKING:
    from planner.memory.kv_settings import KvSettings
    from planner.model.facts import Cache, ModelFacts

FA_DEQUANT_PAGE = 64  # backends/flash_attn.py _get_sm90_fa4_fp8_kv_block_size
FLASH_ATTN_FAMILY = frozenset({"FLASH_ATTN", "TRITON_FLASH_ATTN"})


def backend_of(cache: Cache, facts: ModelFacts, settings: KvSettings) -> AttentionBackend | None:
    """The backend of a cache with the kernel blocks it takes here; None where none is found or needed."""
    if cache.block_tokens:
        return None
    if cache.kernel_block_tokens:
        return own_backend(cache.kernel_block_tokens)
    attention = attention_of(cache, facts, settings)
    backend = choose_backend(attention).backend
    return kernels_for(backend, attention) if backend else None


def own_backend(block_tokens: int) -> AttentionBackend:
    """What stands for the kernels that a model brings along: they take one block size."""
    return AttentionBackend("MODEL_OWN", (0, 999), kernel_block_sizes=(block_tokens,))


def kernels_for(backend: AttentionBackend, attention: Attention) -> AttentionBackend:
    """The backend with the kernel blocks it takes for this head size (FlashAttention 4's large heads, 0.33.0)."""
    if attention.rules < V0_33 or backend.name not in FLASH_ATTN_FAMILY:
        return backend
    family, head = attention.capability // 10 * 10, attention.head_size
    fp8 = attention.kv_cache_dtype in {"fp8", "fp8_e4m3"}
    if family == 90 and fp8 and head == 512 and flash_attn_version(attention) == 4:
        return replace(backend, kernel_block_sizes=(FA_DEQUANT_PAGE,), block_multiple=None)
    if family == 100 and head == attention.head_size_v == 256 and flash_attn_version(attention) == 4:
        return replace(backend, kernel_block_sizes=(FA4_PAGE,), block_multiple=None)
    return backend
