"""KvSpec: the page of one layer's cache and the blocks that one request takes of it.

vllm/v1/kv_cache_interface.py. A page is one layer's part of one block.
"""

from __future__ import annotations

from math import gcd, prod
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.engine import V0_33
from planner.engine_dtypes import is_quantized_kv_cache
from planner.model.facts import ITEMSIZE_BYTES

if TYPE_CHECKING:
    from planner.memory.kv_settings import KvSettings
    from planner.model.facts import Cache, StateTensor

FP8_DS_MLA_BYTES = 656  # 512 NoPE values, their scales and 64 RoPE values in bf16 (mla/flashmla_sparse.py)
FP4_GROUP = 16  # values per scale of an NVFP4 KV cache (utils/torch_utils.py nvfp4_kv_cache_full_dim)
FLASH_KDA_FAMILIES = (90, 100, 120)  # compute capabilities 9.x, 10.x and 12.x
STATE_DEFAULTS = {"kda": "float32"}  # mamba_utils.py kda_state_dtype: the recurrent state under "auto"


class KvSpec(Struct, frozen=True):
    """A layer's cache. Two layers with equal specs share a group."""

    kind: str  # as Cache.kind
    block_size: int  # tokens
    page_bytes: int
    num_kv_heads: int = 0  # per rank
    head_size: int = 0
    head_size_v: int = 0
    window_tokens: int | None = None
    blocks: int | None = None  # mamba: states that one request holds; None: one per block_size tokens
    padded_page_bytes: int | None = None
    kernel_block: int | None = None  # packed blocks keep whole kernel blocks of so many tokens

    @property
    def size_bytes(self) -> int:
        """The page as it is allocated, padding included."""
        return self.padded_page_bytes or self.page_bytes

    @property
    def stride_bytes(self) -> int:
        """The distance between blocks where each layer has a region of its own (_get_layer_block_stride)."""
        if self.kernel_block is None:
            return self.size_bytes
        kernel = gcd(self.kernel_block, self.block_size)
        if kernel == self.block_size:
            return self.size_bytes
        return round_up(self.size_bytes, self.page_bytes * kernel // self.block_size)


def blocks_per_request(spec: KvSpec, tokens: int, in_flight_tokens: int, encoder_tokens: int) -> int:
    """Blocks that one request of ``tokens`` may hold at once (each spec's max_memory_usage_bytes / its page).

    ``encoder_tokens``: the most that an encoder-decoder model hears or sees (max_num_encoder_input_tokens).
    """
    if spec.kind == "mamba" and spec.blocks is not None:
        return spec.blocks
    if spec.kind == "cross":
        return ceil_div(encoder_tokens, spec.block_size)
    if spec.window_tokens is None:
        return ceil_div(tokens, spec.block_size)
    if spec.kind == "chunked_local":
        return ceil_div(min(spec.window_tokens + in_flight_tokens, tokens), spec.block_size)
    return ceil_div(min(spec.window_tokens - 1 + in_flight_tokens, tokens), spec.block_size) + 1


def attention_page_bytes(cache: Cache, block_size: int, settings: KvSettings) -> int:
    """One layer's page of ``block_size`` tokens on one rank."""
    if cache.state_bytes is not None:
        return round_up(block_size // cache.tokens_per_state * cache.state_bytes, cache.page_multiple_bytes)
    if cache.kind == "mla":
        return block_size * (_latent_bytes(cache, settings.kv_cache_dtype) + cache.extra_bytes_per_token)
    heads = kv_heads_per_rank(cache.num_kv_heads, settings.tp)
    head_size_v = cache.head_size if cache.head_size_v is None else cache.head_size_v
    if settings.kv_cache_dtype.startswith("nvfp4"):
        values = sum(size // 2 + size // FP4_GROUP for size in (cache.head_size, head_size_v))
        return block_size * heads * values
    return block_size * (heads * (cache.head_size + head_size_v) * itemsize(settings) + cache.extra_bytes_per_token)


def _latent_bytes(cache: Cache, kv_cache_dtype: str) -> int:
    if kv_cache_dtype == "fp8_ds_mla":
        return FP8_DS_MLA_BYTES
    return cache.head_size * (1 if is_quantized_kv_cache(kv_cache_dtype) else ITEMSIZE_BYTES[kv_cache_dtype])


def itemsize(settings: KvSettings) -> int:
    """Bytes of one cached value."""
    return 1 if is_quantized_kv_cache(settings.kv_cache_dtype) else ITEMSIZE_BYTES[settings.kv_cache_dtype]


def kv_heads_per_rank(num_kv_heads: int, tp: int) -> int:
    """KV heads that one rank stores; each is copied where there are more ranks than heads."""
    return max(1, num_kv_heads // tp)


def state_page_bytes(cache: Cache, settings: KvSettings) -> int:
    """The states of one Mamba layer and request on one rank (MambaSpec.page_size_bytes)."""
    return sum(_state_bytes(state, cache, settings) for state in cache.states)


def _state_bytes(state: StateTensor, cache: Cache, settings: KvSettings) -> int:
    """Shapes are whole-model; ``split_dim`` is divided over TP (layers/mamba/mamba_utils.py)."""
    shape = list(state.shape)
    if state.split_dim is not None:
        divided = state.groups if state.groups and state.groups % settings.tp else settings.tp
        shape[state.split_dim] //= divided
    return prod(shape) * ITEMSIZE_BYTES[_state_dtype(state, cache, settings)]


def _state_dtype(state: StateTensor, cache: Cache, settings: KvSettings) -> str:
    """MambaStateDtypeCalculator: flags first, then what the model's class asks for, then the engine's dtype."""
    conv = settings.dtype if settings.mamba_cache_dtype == "auto" else settings.mamba_cache_dtype
    if state.role == "conv":
        return conv
    if settings.mamba_ssm_cache_dtype != "auto":
        return settings.mamba_ssm_cache_dtype
    return state.dtype or STATE_DEFAULTS.get(cache.mamba_type or "") or conv


def states_per_request(cache: Cache, settings: KvSettings) -> int | None:
    """State blocks one request holds (MambaSpec.max_memory_usage_bytes, without speculation).

    align: the state at the last block boundary and the running one, and one more where a prefill can leave a
    checkpoint in its middle (0.33.0). all (0.25.0): one per block of tokens, hence None.
    """
    if settings.mamba_cache_mode == "all":
        return None
    if settings.mamba_cache_mode == "none":
        return 1
    return 3 if settings.rules >= V0_33 and exports_checkpoints(cache, settings) else 2


def exports_checkpoints(cache: Cache, settings: KvSettings) -> bool:
    """Whether a prefill can store a state from its middle: Mamba2 always, delta nets where a fast kernel runs.

    layers/mamba/mamba_mixer2.py get_kv_cache_spec; gdn/qwen_gdn_linear_attn.py _resolve_gdn_prefill_backend;
    kimi_k3/nvidia/kda.py resolve_kda_prefill_backend (FlashKDA).
    """
    if cache.mamba_type == "gdn":
        return cache.checkpoint_blocks and gdn_uses_flashinfer(cache, settings)
    if cache.mamba_type == "kda":
        fast = settings.capability // 10 * 10 in FLASH_KDA_FAMILIES and settings.dtype == "bfloat16"
        return cache.checkpoint_blocks and fast
    return cache.checkpoint_blocks


def gdn_uses_flashinfer(cache: Cache, settings: KvSettings) -> bool:
    """Hopper always; Blackwell with key heads of 128 (CUDA 13, which these versions are built for)."""
    family = settings.capability // 10 * 10
    return family == 90 or (family in (100, 120) and cache.head_size == 128)


def ceil_div(value: int, by: int) -> int:
    return -(-value // by)


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
