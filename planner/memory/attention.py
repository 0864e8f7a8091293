"""Which attention backend vLLM picks for a layer, or why it finds none.

vllm/platforms/cuda.py get_attn_backend_cls and _get_backend_priorities; vllm/v1/attention/backend.py
validate_configuration; vllm/v1/attention/backends/fa_utils.py for FlashAttention's versions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from planner.engine import V0_33
from planner.engine_dtypes import is_quantized_kv_cache
from planner.memory.attention_backends import BACKENDS, AttentionBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from planner.engine import Version
    from planner.memory.kv_settings import KvSettings
    from planner.model.facts import Cache, ModelFacts

AMPERE, ADA, HOPPER, BLACKWELL = 80, 89, 90, 100
TRITON_FP8_CAPABILITY = ADA  # backends/triton_attn.py, mla/triton_mla.py: native fp8e4nv
FA_MAX_HEAD, FA4_MAX_HEAD, FA4_BLACKWELL_HEAD = 256, 512, 128
FA4_PAGE = 128  # fa_utils.py FA4_HD256_PAGE_SIZE
FEW_HEADS = 16  # platforms/cuda.py: below that FlashInfer's sparse MLA pads less than FlashMLA's
CHOOSE_FIRST = frozenset({"chunked_local", "cross"})  # layers/attention/{chunked_local,cross}_attention.py
FA4_SPARSE_HEADS = (8, 16, 32, 64, 128)


class Attention(Struct, frozen=True):
    """What one kind of layer asks of a backend (vLLM's AttentionSelectorConfig)."""

    rules: Version
    capability: int
    dtype: str
    kv_cache_dtype: str
    head_size: int
    head_size_v: int
    num_heads: int  # per rank
    block_size: int | None = None  # --block-size
    mla: bool = False
    sparse: bool = False
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    sinks: bool = False
    mm_prefix: bool = False
    softcapping: bool = False
    flash_attn_version: int | None = None  # asked for by the model's class
    prefers_triton: bool = False  # the model's class falls back to Triton where FlashAttention 4 is missing
    flashinfer: bool = True
    asked_backend: str | None = None  # --attention-backend
    chosen_unquantized: bool = False  # the backend is looked for before the layer turns to an FP8 cache

    @property
    def quantized(self) -> bool:
        return is_quantized_kv_cache(self.kv_cache_dtype)

    @property
    def family(self) -> int:
        """The GPU's major generation: 80, 90, 100, 120."""
        return self.capability // 10 * 10


class Choice(Struct, frozen=True):
    """The backend, or None and why each candidate was refused, in vLLM's order."""

    backend: AttentionBackend | None
    reasons: tuple[tuple[str, str], ...] = ()


def attention_of(cache: Cache, facts: ModelFacts, settings: KvSettings) -> Attention:
    """One cache of the model as its layers ask for a backend."""
    return Attention(
        rules=settings.rules,
        capability=settings.capability,
        dtype=settings.dtype,
        kv_cache_dtype=settings.kv_cache_dtype,
        head_size=cache.head_size,
        head_size_v=cache.head_size if cache.head_size_v is None else cache.head_size_v,
        num_heads=(cache.num_query_heads or facts.num_attention_heads) // settings.tp,
        block_size=settings.asked_block_size,
        mla=cache.kind == "mla",
        sparse=cache.sparse,
        qk_nope_head_dim=cache.qk_nope_head_dim,
        qk_rope_head_dim=cache.qk_rope_head_dim,
        sinks=cache.sinks,
        mm_prefix=facts.mm_prefix and cache.kind != "chunked_local" and not settings.text_only,
        softcapping=facts.attn_logit_softcapping,
        flash_attn_version=_asked_flash_attn_version(facts, settings),
        prefers_triton=facts.flash_attn_version is not None,
        flashinfer=settings.flashinfer,
        asked_backend=settings.asked_backend,
        chosen_unquantized=settings.layers_name_kv_dtype and cache.kind in CHOOSE_FIRST,
    )


def _asked_flash_attn_version(facts: ModelFacts, settings: KvSettings) -> int | None:
    """models/config.py Gemma4Config: one version for all layers, except FP8 KV on Hopper, where each layer chooses."""
    per_layer = settings.rules >= V0_33 and settings.capability // 10 * 10 == HOPPER
    return None if per_layer and settings.kv_cache_dtype.startswith("fp8") else facts.flash_attn_version


@lru_cache(maxsize=4096)
def choose_backend(attention: Attention) -> Choice:
    """The first of vLLM's candidates that takes this attention."""
    if attention.chosen_unquantized:
        attention = replace(attention, kv_cache_dtype=attention.dtype)
    if attention.asked_backend:
        candidates: tuple[str, ...] = (attention.asked_backend,)
    else:
        candidates = _candidates(attention)
    reasons: list[tuple[str, str]] = []
    for name in candidates:
        backend = BACKENDS.get(name)
        reason = "unknown attention backend" if backend is None else _refusal(backend, attention)
        if reason is None:
            return Choice(backend, tuple(reasons))
        reasons.append((name, reason))
    return Choice(None, tuple(reasons))


def late_refusal(backend: AttentionBackend, attention: Attention) -> str | None:
    """What the chosen backend itself raises when the layer is built: Triton lacks FP8 below capability 8.9.

    FlashAttention says so where it was chosen without FP8 in view; 0.25.0 finds out at the first kernel.
    """
    if backend.name == "FLASH_ATTN" and attention.chosen_unquantized and not _flash_attn_takes_fp8(attention):
        return f"FlashAttention does not support {attention.kv_cache_dtype} kv-cache on this device."
    if not backend.name.startswith("TRITON") or not attention.kv_cache_dtype.startswith("fp8"):
        return None
    if attention.capability >= TRITON_FP8_CAPABILITY:
        return None
    kind = "MLA" if attention.mla else "attention"
    return (
        f"FP8 KV cache is not supported by the Triton {kind} backend on compute capability "
        f"{attention.capability // 10}.{attention.capability % 10}; native FP8 (fp8e4nv) requires SM89+."
    )


def _candidates(attention: Attention) -> tuple[str, ...]:
    """vLLM's order of preference (_get_backend_priorities), before anything is validated."""
    if attention.head_size_v != attention.head_size and not attention.mla:
        version = flash_attn_version(attention)
        return ("FLASH_ATTN_DIFFKV",) if version in (3, 4) else ("TRITON_ATTN_DIFFKV",)
    if attention.mla:
        return _mla_candidates(attention)
    if attention.prefers_triton and not _has_flash_attn(4, attention):
        return ("TRITON_ATTN",)
    rest = ("TRITON_ATTN", "FLEX_ATTENTION")
    composites = attention.rules >= V0_33 and attention.mm_prefix
    if attention.family == BLACKWELL:
        return (*(("TRITON_FLASHINFER",) if composites else ()), "FLASHINFER", "FLASH_ATTN", *rest)
    first = ("TRITON_FLASH_ATTN",) if composites and attention.family == HOPPER else ()
    return (*first, "FLASH_ATTN", "FLASHINFER", *rest)


def _mla_candidates(attention: Attention) -> tuple[str, ...]:
    if attention.family == BLACKWELL:
        dense = ("FLASHINFER_MLA", "CUTLASS_MLA", "FLASH_ATTN_MLA", "FLASHMLA", "TRITON_MLA")
        if attention.quantized:
            return (*dense, "FLASHINFER_MLA_SPARSE", "FLASHMLA_SPARSE")
        if attention.num_heads > FEW_HEADS:
            return (*dense, "FLASHMLA_SPARSE", "FLASHINFER_MLA_SPARSE")
        fa4 = ("FLASH_ATTN_MLA_SPARSE_FA4",) if attention.rules >= V0_33 else ()
        return (*dense, *fa4, "FLASHINFER_MLA_SPARSE", "FLASHMLA_SPARSE")
    if attention.family == RTX_BLACKWELL:
        return ("TRITON_MLA", "FLASHINFER_MLA_SPARSE_SM120")
    sparse: tuple[str, ...] = ("FLASH_ATTN_MLA_SPARSE", "FLASHMLA_SPARSE")
    if attention.rules >= V0_33:
        sm90 = "FLASHINFER_MLA_SPARSE_SM90"
        sparse = (sm90, *sparse) if attention.head_size == NO_ROPE_LATENT else (*sparse, sm90)
    return ("FLASH_ATTN_MLA", "FLASHMLA", "FLASHINFER_MLA", "TRITON_MLA", *sparse)


RTX_BLACKWELL = 120
NO_ROPE_LATENT = 512  # an MLA cache without rope: kv_lora_rank alone


def _refusal(backend: AttentionBackend, attention: Attention) -> str | None:
    """The first reason of AttentionBackend.validate_configuration, None where the backend takes it."""
    first, last = backend.capabilities
    if not first <= attention.capability <= last:
        return "compute capability not supported"
    if backend.head_sizes and attention.head_size not in backend.head_sizes:
        return "head_size not supported"
    if attention.dtype not in backend.dtypes:
        return "dtype not supported"
    if attention.quantized and attention.kv_cache_dtype not in backend.kv_cache_dtypes:
        return "kv_cache_dtype not supported"
    if attention.block_size is not None and not backend.takes_block_size(attention.block_size):
        return "block_size not supported"
    if attention.mm_prefix and not backend.mm_prefix:
        return "partial multimodal token full attention not supported"
    if attention.mla != backend.mla:
        return "MLA not supported" if attention.mla else "non-MLA not supported"
    if attention.sinks and not backend.sinks:
        return "attention sinks not supported"
    if attention.sparse != backend.sparse:
        return "sparse not supported" if attention.sparse else "non-sparse not supported"
    if backend.needs_flashinfer and not attention.flashinfer:
        return "FlashInfer is not available in the image"
    further = FURTHER.get(backend.name)
    return further(attention) if further else None


def _flash_attn(attention: Attention) -> str | None:
    if attention.head_size % 8 or attention.head_size > FA4_MAX_HEAD:
        return "head_size not supported"
    if attention.head_size > FA_MAX_HEAD and not _has_flash_attn(4, attention):
        return "head_size not supported"
    if attention.quantized and not _flash_attn_takes_fp8(attention):
        return "FP8 KV cache requires FA3 on SM90, FA4 with head_size=512 on SM90, or FA4 on SM100"
    if attention.sinks and (attention.capability < HOPPER or flash_attn_version(attention, whole=True) not in (3, 4)):
        return "sink not supported on compute capability < 9.0"
    if attention.mm_prefix:
        if attention.quantized and attention.family == HOPPER and attention.rules >= V0_33:
            return "SM90 FP8 KV with mm_prefix requires Triton"
        if flash_attn_version(attention) != 4:
            return "mm_prefix requires FlashAttention v4, which does not resolve for this head_size"
    return None


def _flash_attn_takes_fp8(attention: Attention) -> bool:
    """fa_utils.py flash_attn_supports_kv_cache_dtype; 0.25.0: FlashAttention 3 alone."""
    if attention.rules < V0_33:
        return attention.family == HOPPER and flash_attn_version(attention, whole=True) == 3
    whole, layer = flash_attn_version(attention, whole=True), flash_attn_version(attention)
    if attention.family == HOPPER:
        return whole in (3, 4) and (layer == 3 or (layer == 4 and attention.head_size == FA4_MAX_HEAD))
    return attention.family == BLACKWELL and whole == 4 and layer == 4


def flash_attn_version(attention: Attention, *, whole: bool = False) -> int | None:
    """fa_utils.py get_flash_attn_version, for this layer or (``whole``) for the GPU before any layer is looked at."""
    version = {HOPPER: 3, BLACKWELL: 4}.get(attention.family, 2)
    if attention.flash_attn_version and _has_flash_attn(attention.flash_attn_version, attention):
        version = attention.flash_attn_version
    if not whole:
        version = _layer_version(version, attention)
    return version if _has_flash_attn(version, attention) else None


def _layer_version(version: int, attention: Attention) -> int:
    head, head_v = attention.head_size, attention.head_size_v
    if version == 3 and (head > FA_MAX_HEAD or (attention.sinks and head != head_v)):
        return 4
    if version != 4 or attention.family != BLACKWELL:
        return version
    if attention.rules < V0_33:
        return 4 if head <= FA4_BLACKWELL_HEAD or head == 192 else 2
    if head == head_v == FA_MAX_HEAD:
        odd_block = attention.block_size is not None and attention.block_size % FA4_PAGE
        falls_back = attention.sinks or attention.softcapping or attention.quantized or odd_block or attention.mm_prefix
        return 2 if falls_back else 4
    return 4 if head <= FA4_BLACKWELL_HEAD or (head, head_v) == (192, 128) else 2


def _has_flash_attn(version: int, attention: Attention) -> bool:
    """vllm_flash_attn/flash_attn_interface.py is_fa_version_supported."""
    if version == 2:
        return attention.capability >= AMPERE
    return attention.family in ({3: (HOPPER,), 4: (HOPPER, BLACKWELL, 110)}[version])


def _flashinfer(attention: Attention) -> str | None:
    with_sinks = (HOPPER, BLACKWELL, RTX_BLACKWELL) if attention.rules >= V0_33 else (BLACKWELL,)
    if attention.sinks and attention.family not in with_sinks:
        return "attention sinks not supported"
    if attention.kv_cache_dtype.startswith("nvfp4") and attention.family != BLACKWELL:
        return "kv_cache_dtype not supported"
    return None


def _triton(attention: Attention) -> str | None:
    return "head_size not supported" if attention.head_size < 32 else None


def _triton_flash_attn(attention: Attention) -> str | None:
    """Triton for image masks, FlashAttention for the rest (backends/triton_flash_attn.py)."""
    if attention.quantized and not _flash_attn_takes_fp8(attention):
        return "FP8 KV cache requires FA3 on SM90"
    return None if flash_attn_version(attention) in (3, 4) else "causal route requires FlashAttention v3 or v4"


def _flashinfer_mla(attention: Attention) -> str | None:
    if attention.qk_nope_head_dim not in (64, 128, 192):
        return (
            f"FlashInfer MLA kernel requires qk_nope_head_dim in [64, 128, 192], but got {attention.qk_nope_head_dim}"
        )
    return None


def _flashinfer_mla_sparse(attention: Attention) -> str | None:
    if attention.qk_rope_head_dim == 0 and attention.rules >= V0_33:
        return None if attention.qk_nope_head_dim == 256 else "native no-rope MLA requires qk_nope_head_dim=256"
    if attention.qk_nope_head_dim not in (128, 192):
        return "FlashInfer MLA Sparse kernel requires qk_nope_head_dim in [128, 192]"
    return None


def _flash_attn_mla_sparse_fa4(attention: Attention) -> str | None:
    if attention.num_heads not in FA4_SPARSE_HEADS:
        return f"FA4 sparse MLA requires {FA4_SPARSE_HEADS} query heads, got {attention.num_heads}"
    return _flashinfer_mla_sparse(attention)


def _flashmla_sparse(attention: Attention) -> str | None:
    if attention.head_size != NO_ROPE_LATENT:
        return None
    if attention.rules < V0_33 or attention.family != HOPPER or attention.kv_cache_dtype in ("fp8", "fp8_e4m3"):
        return "FLASHMLA_SPARSE supports head_size 512 only with bf16 or fp8_ds_mla kv-cache on SM90 (NoPE)"
    return None if attention.qk_rope_head_dim == 0 else "head_size 512 only for rope-free (NoPE) models"


def _triton_diffkv(attention: Attention) -> str | None:
    return "kv_cache_dtype not supported" if attention.quantized and attention.rules < V0_33 else None


FURTHER: dict[str, Callable[[Attention], str | None]] = {
    "FLASH_ATTN": _flash_attn,
    "FLASHINFER": _flashinfer,
    "TRITON_ATTN": _triton,
    "TRITON_ATTN_DIFFKV": _triton_diffkv,
    "TRITON_FLASH_ATTN": _triton_flash_attn,
    "FLASHINFER_MLA": _flashinfer_mla,
    "FLASHINFER_MLA_SPARSE": _flashinfer_mla_sparse,
    "FLASH_ATTN_MLA_SPARSE_FA4": _flash_attn_mla_sparse_fa4,
    "FLASHMLA_SPARSE": _flashmla_sparse,
}
