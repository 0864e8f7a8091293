"""Quantization: a checkpoint's published quantization as rules that answer, module by module, with a Scheme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.model.quantization.scheme import Scheme

ModuleKind = Literal["linear", "experts", "head"]


@dataclass(frozen=True, slots=True)
class Quantization:
    """The quantization of one checkpoint. ``method`` is vLLM's resolved name; None: nothing is quantized."""

    method: str | None = None
    default: Mapping[ModuleKind, Scheme | None] | None = None
    kv_cache_dtype: str | None = None  # what the checkpoint asks of kv_cache_dtype "auto": "fp8" or None

    def scheme_for(self, prefix: str, kind: ModuleKind, parts: tuple[str, ...] = ()) -> Scheme | None:
        """The scheme of the module with the engine's full ``prefix``, e.g. "model.layers.0.self_attn.qkv_proj".

        ``parts``: the checkpoint's names of fused parts ("q_proj", "k_proj", "v_proj"). None: unquantized.
        """
        del prefix, parts
        return (self.default or {}).get(kind)
