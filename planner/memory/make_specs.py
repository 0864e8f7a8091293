"""A model's cache as the engine specifies it on one rank: block size, page and what a request holds.

The get_kv_cache_spec of vLLM's attention and Mamba layers (vllm/model_executor/layers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.engine import V0_33
from planner.memory.kernel_blocks import backend_of
from planner.memory.kv_specs import (
    KvSpec,
    attention_page_bytes,
    kv_heads_per_rank,
    state_page_bytes,
    states_per_request,
)

if TYPE_CHECKING:
    from planner.memory.attention_backends import AttentionBackend
    from planner.memory.block_sizes import BlockSizes
    from planner.memory.kv_settings import KvSettings
    from planner.model.facts import Cache, ModelFacts

DS_MLA_BACKENDS = frozenset({"FLASHMLA_SPARSE", "FLASHINFER_MLA_SPARSE_SM120"})


def make_spec(cache: Cache, facts: ModelFacts, sizes: BlockSizes, settings: KvSettings) -> KvSpec:
    """One layer's cache."""
    if cache.kind == "mamba":
        return _mamba_spec(cache, sizes, settings)
    backend = backend_of(cache, facts, settings)
    block_size = cache.block_tokens or sizes.attention
    if cache.kind == "sliding_window":
        block_size = window_block_size(backend, sizes.attention, settings)
    settings = replace(settings, kv_cache_dtype=stored_kv_cache_dtype(backend, settings))
    mla = cache.kind == "mla"
    return KvSpec(
        kind="sliding_window_mla" if mla and cache.window_tokens else cache.kind,
        block_size=block_size,
        page_bytes=attention_page_bytes(cache, block_size, settings),
        num_kv_heads=1 if mla else kv_heads_per_rank(cache.num_kv_heads, settings.tp),
        head_size=cache.head_size,
        head_size_v=cache.head_size if cache.head_size_v is None else cache.head_size_v,
        window_tokens=cache.window_tokens,
        kernel_block=_kernel_block(backend, settings),
    )


def _mamba_spec(cache: Cache, sizes: BlockSizes, settings: KvSettings) -> KvSpec:
    page_bytes = state_page_bytes(cache, settings)
    padded = sizes.mamba_page_bytes if sizes.mamba_page_bytes != page_bytes else None
    return KvSpec(
        kind="mamba",
        block_size=sizes.attention,
        page_bytes=page_bytes,
        blocks=states_per_request(cache, settings),
        padded_page_bytes=padded,
    )


def window_block_size(backend: AttentionBackend | None, block_size: int, settings: KvSettings) -> int:
    """A sliding window chooses its own block (attention.py _largest_kernel_block_within).

    0.33.0: the largest kernel block within the block of full attention; 0.25.0: the smallest there is.
    """
    if backend is None:
        return block_size
    if settings.rules < V0_33:
        return backend.smallest_block
    multiple = backend.block_multiple
    candidates = [
        *backend.kernel_block_sizes,
        *([max(multiple, block_size // multiple * multiple)] if multiple else []),
    ]
    return max((size for size in candidates if size <= block_size), default=min(candidates))


def stored_kv_cache_dtype(backend: AttentionBackend | None, settings: KvSettings) -> str:
    """Sparse MLA kernels with a packed format of their own (_canonicalize_sparse_mla_kv_cache_dtype)."""
    if backend is None or backend.name not in DS_MLA_BACKENDS:
        return settings.kv_cache_dtype
    always = backend.name == "FLASHINFER_MLA_SPARSE_SM120"
    return "fp8_ds_mla" if always or settings.kv_cache_dtype.startswith("fp8") else settings.kv_cache_dtype


def _kernel_block(backend: AttentionBackend | None, settings: KvSettings) -> int | None:
    """worker/utils.py customize_attention_spec: kernels with exact sizes only (0.33.0)."""
    if backend is None or settings.rules < V0_33 or backend.block_multiple:
        return None
    return max(backend.kernel_block_sizes)
