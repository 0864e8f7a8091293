"""Number formats of safetensors (safetensors/src/tensor.rs Dtype), by the names that headers use."""

from __future__ import annotations

DTYPE_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E5M2FNUZ": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}

FP8 = frozenset({"F8_E4M3", "F8_E5M2"})
# safetensors' name -> torch's, and the formats whose every value it can hold
FLOATS: dict[str, tuple[str, frozenset[str]]] = {
    "F32": ("float32", FP8 | {"BF16", "F16"}),
    "BF16": ("bfloat16", FP8),
    "F16": ("float16", FP8),
}
