"""The engine as it will run: vLLM's version and settings, resolved for one model on one GPU."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Settings after vLLM's own defaults for the GPU have been applied. Lengths in tokens."""

    version: tuple[int, int, int]  # as asked, e.g. (0, 33, 0)
    rules: tuple[int, int, int]  # the documented version whose rules apply
    dtype: str  # "bfloat16", "float16", "float32"
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_dtype: str  # "auto" resolved: the model dtype's name or "fp8"
    gpu_memory_utilization: float = 0.92
    enforce_eager: bool = False
    enable_prefix_caching: bool = True
    enable_expert_parallel: bool = False
    quantization: str | None = None  # at load: "fp8"; None: as the checkpoint is
    language_model_only: bool = False
    trust_remote_code: bool = False
    flashinfer: bool = True  # the image carries FlashInfer (wheels and cubins)
    extra_args: Mapping[str, Any] = field(default_factory=dict)
