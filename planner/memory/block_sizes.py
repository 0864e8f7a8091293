"""Tokens per block: what the attention kernels take, raised for hybrids until a page holds a layer's states.

vllm/platforms/interface.py update_block_size_for_backend and _align_hybrid_block_size.
"""

from __future__ import annotations

from itertools import product
from math import lcm
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from planner.engine import V0_33
from planner.memory.attention import attention_of, choose_backend
from planner.memory.attention_backends import INDEXER, AttentionBackend
from planner.memory.cache_layers import cache_layers
from planner.memory.kernel_blocks import kernels_for, own_backend
from planner.memory.kv_specs import attention_page_bytes, ceil_div, gdn_uses_flashinfer, state_page_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.memory.kv_settings import KvSettings
    from planner.model.facts import Cache, ModelFacts

DEFAULT_BLOCK_SIZE = 16  # vllm/config/cache.py CacheConfig.DEFAULT_BLOCK_SIZE
MLA_HYBRID_BLOCK = 128  # _align_hybrid_block_size: MLA kernels want whole groups of 128 tokens (0.33.0)
GDN_CHECKPOINT_TOKENS = 64  # backends/gdn_attn.py FLASHINFER_GDN_CHECKPOINT_ALIGNMENT
MAMBA1_CHUNK = 2048  # config/model.py get_mamba_chunk_size: no chunk of its own


class BlockSizes(Struct, frozen=True):
    """``attention``: tokens per block of full attention. ``mamba_page_bytes``: None where nothing is padded."""

    attention: int
    mamba_page_bytes: int | None = None


def block_sizes(facts: ModelFacts, settings: KvSettings) -> BlockSizes:
    """Block size after vLLM's adjustments; the default where no backend can be found (a check says so)."""
    caches = [cache for cache, _ in cache_layers(facts)]
    attention = [cache for cache in caches if cache.kind not in {"mamba", "none"}]
    backends = _backends(attention, facts, settings)
    size = settings.asked_block_size or _common_block_size(backends, settings)
    states = [cache for cache in caches if cache.kind == "mamba"]
    if not states or not backends:
        return BlockSizes(size)
    return _hybrid_block_sizes(size, attention[0], states, backends, facts, settings)


def _backends(caches: Sequence[Cache], facts: ModelFacts, settings: KvSettings) -> list[AttentionBackend]:
    """The different backends of the attention layers, in layer order."""
    found = []
    widest = max((cache.head_size for cache in caches), default=0)  # ModelArchitectureConfig.from_layers
    for cache in caches:
        if cache.sparse:
            found.append(INDEXER)
        if cache.kernel_block_tokens:
            found.append(own_backend(cache.kernel_block_tokens))
        if cache.kernel_block_tokens or cache.block_tokens:
            continue
        attention = attention_of(cache, facts, settings)
        if backend := choose_backend(attention).backend:
            found.append(kernels_for(backend, replace(attention, head_size=widest, head_size_v=widest)))
    return list(dict.fromkeys(found))


def _common_block_size(backends: Sequence[AttentionBackend], settings: KvSettings) -> int:
    """The smallest size every backend takes (_preferred_block_size_for_backends); 0.25.0 asks the first alone."""
    asked = backends if settings.rules >= V0_33 else backends[:1]
    if all(backend.takes_block_size(DEFAULT_BLOCK_SIZE) for backend in asked):
        return DEFAULT_BLOCK_SIZE
    if len(asked) == 1:
        return asked[0].smallest_block
    candidates = sorted({lcm(*some) for some in product(*(backend.block_sizes for backend in asked))})
    return next(size for size in candidates if all(backend.takes_block_size(size) for backend in asked))


def _hybrid_block_sizes(
    size: int,
    attention: Cache,
    states: Sequence[Cache],
    backends: Sequence[AttentionBackend],
    facts: ModelFacts,
    settings: KvSettings,
) -> BlockSizes:
    """Raise the block until its attention page holds a layer's states, then pad the states to that page."""
    token_bytes = attention_page_bytes(attention, 1, settings)
    state_bytes = max(state_page_bytes(cache, settings) for cache in states)
    if not state_bytes:
        return BlockSizes(size)
    alignment = _alignment(size, attention, states, backends[0], facts, settings)
    if settings.mamba_cache_mode == "all":
        needed = alignment * ceil_div(ceil_div(state_bytes, token_bytes), alignment)
    else:
        needed = alignment * ceil_div(state_bytes, alignment * token_bytes)
    if settings.rules >= V0_33:
        common = lcm(*(backend.smallest_block for backend in backends))
        needed = common * ceil_div(needed, common)
    size = max(size, needed)
    return BlockSizes(size, size * token_bytes)


def _alignment(
    size: int,
    attention: Cache,
    states: Sequence[Cache],
    backend: AttentionBackend,
    facts: ModelFacts,
    settings: KvSettings,
) -> int:
    """What a hybrid's block must be a multiple of."""
    alignment = max(backend.smallest_block, size)
    if settings.mamba_cache_mode == "all":
        return lcm(facts.mamba_chunk_size or MAMBA1_CHUNK, alignment)
    if settings.rules < V0_33:
        return alignment
    if attention.kind == "mla":
        alignment = max(alignment, MLA_HYBRID_BLOCK)
    aligned = settings.mamba_cache_mode == "align" and all(_checkpoints_on_grid(cache, settings) for cache in states)
    return lcm(alignment, GDN_CHECKPOINT_TOKENS) if aligned else alignment


def _checkpoints_on_grid(cache: Cache, settings: KvSettings) -> bool:
    """Whether the layer's prefill leaves checkpoints at multiples of 64 tokens (FlashInfer's GDN kernel)."""
    return cache.mamba_type == "gdn" and cache.checkpoint_blocks and gdn_uses_flashinfer(cache, settings)
