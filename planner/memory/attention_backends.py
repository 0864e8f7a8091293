"""vLLM's attention backends on NVIDIA GPUs as rows: what each can run, and the block sizes its kernels take.

From vllm/v1/attention/backends/*.py and backends/mla/*.py of 0.25.0 and 0.33.0. A row says what does not depend on
the version or on the request as a whole; ``planner.memory.attention`` has the rest.
"""

from __future__ import annotations

from msgspec import Struct

FP8 = ("fp8", "fp8_e4m3")
LAST_CAPABILITY = 121  # the newest GPU these versions name


class AttentionBackend(Struct, frozen=True):
    """One backend. ``kernel_block_sizes`` are exact sizes; ``block_multiple`` takes every multiple of itself."""

    name: str
    capabilities: tuple[int, int]  # first and last compute capability, e.g. (80, 121)
    kernel_block_sizes: tuple[int, ...] = ()
    block_multiple: int | None = None
    head_sizes: tuple[int, ...] = ()  # empty: any that the rules allow
    dtypes: tuple[str, ...] = ("float16", "bfloat16")
    kv_cache_dtypes: tuple[str, ...] = ()  # quantized formats; the model's own dtype always works
    mla: bool = False
    sparse: bool = False
    sinks: bool = False
    mm_prefix: bool = False
    needs_flashinfer: bool = False

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Exact sizes and the base of the multiples."""
        return (*self.kernel_block_sizes, self.block_multiple) if self.block_multiple else self.kernel_block_sizes

    @property
    def smallest_block(self) -> int:
        return min(self.block_sizes)

    def takes_block_size(self, block_size: int) -> bool:
        """Blocks may be whole multiples of a kernel's (AttentionBackend.supports_block_size)."""
        return any(block_size % size == 0 for size in self.block_sizes)


ALL_DTYPES = ("float16", "bfloat16", "float32")
PER_TOKEN_HEAD = ("int4_per_token_head", "int8_per_token_head", "fp8_per_token_head")
COMMON_MLA_HEADS = (320, 512, 576)  # mla_attention.py MLACommonBackend
HOPPER, BLACKWELL, RTX_BLACKWELL = (90, 90), (100, 109), (120, 129)

_ROWS = (
    AttentionBackend("FLASH_ATTN", (80, 999), block_multiple=16, kv_cache_dtypes=FP8, sinks=True, mm_prefix=True),
    AttentionBackend(
        "FLASHINFER",
        (80, LAST_CAPABILITY),
        kernel_block_sizes=(16, 32, 64),
        head_sizes=(64, 128, 256, 512),
        kv_cache_dtypes=(*FP8, "fp8_e5m2", "nvfp4"),
        sinks=True,
        needs_flashinfer=True,
    ),
    AttentionBackend(
        "TRITON_ATTN",
        (0, 999),
        block_multiple=16,
        dtypes=ALL_DTYPES,
        kv_cache_dtypes=(*FP8, "fp8_e5m2", *PER_TOKEN_HEAD),
        sinks=True,
        mm_prefix=True,
    ),
    AttentionBackend("FLEX_ATTENTION", (0, 999), block_multiple=16, dtypes=ALL_DTYPES, mm_prefix=True),
    AttentionBackend(
        "TRITON_FLASH_ATTN",
        HOPPER,
        block_multiple=16,
        head_sizes=(256, 512),
        kv_cache_dtypes=FP8,
        sinks=True,
        mm_prefix=True,
    ),
    AttentionBackend(
        "TRITON_FLASHINFER",
        BLACKWELL,
        kernel_block_sizes=(64,),
        head_sizes=(256, 512),
        kv_cache_dtypes=(*FP8, "fp8_e5m2"),
        mm_prefix=True,
        needs_flashinfer=True,
    ),
    AttentionBackend("FLASH_ATTN_DIFFKV", (80, 999), block_multiple=16, kv_cache_dtypes=FP8, sinks=True),
    AttentionBackend(
        "TRITON_ATTN_DIFFKV", (0, 999), block_multiple=16, dtypes=ALL_DTYPES, kv_cache_dtypes=FP8, sinks=True
    ),
    AttentionBackend("FLASH_ATTN_MLA", HOPPER, block_multiple=16, head_sizes=COMMON_MLA_HEADS, mla=True),
    AttentionBackend(
        "FLASHMLA", HOPPER, kernel_block_sizes=(64,), head_sizes=COMMON_MLA_HEADS, kv_cache_dtypes=FP8, mla=True
    ),
    AttentionBackend(
        "FLASHINFER_MLA",
        BLACKWELL,
        kernel_block_sizes=(32, 64),
        head_sizes=COMMON_MLA_HEADS,
        kv_cache_dtypes=FP8,
        mla=True,
        needs_flashinfer=True,
    ),
    AttentionBackend(
        "CUTLASS_MLA", BLACKWELL, kernel_block_sizes=(128,), head_sizes=COMMON_MLA_HEADS, kv_cache_dtypes=FP8, mla=True
    ),
    AttentionBackend("TRITON_MLA", (0, 999), block_multiple=16, kv_cache_dtypes=FP8, mla=True),
    AttentionBackend("FLASH_ATTN_MLA_SPARSE", HOPPER, block_multiple=64, mla=True, sparse=True),
    AttentionBackend(
        "FLASHMLA_SPARSE",
        (90, 109),
        block_multiple=64,
        head_sizes=(512, 576),
        dtypes=("bfloat16",),
        kv_cache_dtypes=("fp8", "fp8_ds_mla"),
        mla=True,
        sparse=True,
    ),
    AttentionBackend(
        "FLASHINFER_MLA_SPARSE",
        BLACKWELL,
        block_multiple=32,
        head_sizes=(512, 576),
        kv_cache_dtypes=FP8,
        mla=True,
        sparse=True,
        needs_flashinfer=True,
    ),
    AttentionBackend(
        "FLASH_ATTN_MLA_SPARSE_FA4",
        BLACKWELL,
        block_multiple=64,
        head_sizes=(576,),
        dtypes=("bfloat16",),
        mla=True,
        sparse=True,
        needs_flashinfer=True,
    ),
    AttentionBackend(
        "FLASHINFER_MLA_SPARSE_SM90",
        HOPPER,
        block_multiple=64,
        head_sizes=(512, 576),
        dtypes=("bfloat16",),
        kv_cache_dtypes=FP8,
        mla=True,
        sparse=True,
        needs_flashinfer=True,
    ),
    AttentionBackend(
        "FLASHINFER_MLA_SPARSE_SM120",
        RTX_BLACKWELL,
        block_multiple=64,
        head_sizes=(512, 576),
        dtypes=("bfloat16",),
        kv_cache_dtypes=(*FP8, "fp8_ds_mla"),
        mla=True,
        sparse=True,
        needs_flashinfer=True,
    ),
)
BACKENDS = {backend.name: backend for backend in _ROWS}

# What the sparse attention's indexer keeps beside the latent cache, and its kernel's block (backends/mla/indexer.py).
INDEXER = AttentionBackend("DEEPSEEK_V32_INDEXER", (0, 999), kernel_block_sizes=(64,), head_sizes=(32, 64, 128))
