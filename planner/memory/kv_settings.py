"""KvSettings: what the KV cache's layout depends on, and nothing else, so that GPUs alike share one layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from planner.catalog import Gpu
    from planner.engine import EngineConfig, Version


class KvSettings(Struct, frozen=True):
    """The engine's and the GPU's part in the layout of one model's KV cache."""

    rules: Version
    capability: int
    tp: int
    dtype: str
    kv_cache_dtype: str
    layers_name_kv_dtype: bool = False  # by compressed-tensors' kv_cache_scheme
    asked_block_size: int | None = None  # --block-size
    asked_backend: str | None = None  # --attention-backend
    mamba_cache_mode: str = "none"
    mamba_cache_dtype: str = "auto"
    mamba_ssm_cache_dtype: str = "auto"
    flashinfer: bool = True
    text_only: bool = False  # --language-model-only: no image tokens, so no attention in both directions
    hybrid_manager: bool = True  # False: --disable-hybrid-kv-cache-manager


def kv_settings(gpu: Gpu, engine: EngineConfig, tp: int) -> KvSettings:
    """The settings that matter here, out of everything the engine is given."""
    backend = engine.flag("attention-backend")
    return KvSettings(
        rules=engine.rules,
        capability=gpu.compute_capability,
        tp=tp,
        dtype=engine.dtype,
        kv_cache_dtype=engine.kv_cache_dtype,
        layers_name_kv_dtype=engine.layers_name_kv_dtype,
        asked_block_size=engine.block_size,
        asked_backend=backend.upper() if isinstance(backend, str) and backend.lower() != "auto" else None,
        mamba_cache_mode=engine.mamba_cache_mode,
        mamba_cache_dtype=engine.flag("mamba-cache-dtype") or "auto",
        mamba_ssm_cache_dtype=engine.flag("mamba-ssm-cache-dtype") or "auto",
        flashinfer=engine.flashinfer,
        text_only=engine.language_model_only,
        hybrid_manager=not engine.flag("disable-hybrid-kv-cache-manager"),
    )
