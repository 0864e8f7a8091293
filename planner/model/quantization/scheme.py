"""Scheme: how one module's weight is stored and computed, in vLLM's own words; None stands for unquantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# The storage of a weight; how scales lie beside it is in the other fields.
#   fp8    one byte per element; scales per "tensor", "channel", "block" or MX "group"
#   int8   one byte per element, int8 activations (w8a8)
#   int    packed integers of ``bits`` with group scales (GPTQ, AWQ, compressed-tensors pack-quantized)
#   mxfp4  two elements per byte, one e8m0 scale byte per 32
#   nvfp4  two elements per byte, one e4m3 scale byte per 16, one fp32 scale per tensor
Storage = Literal["fp8", "int8", "int", "mxfp4", "nvfp4", "bnb"]
Granularity = Literal["tensor", "channel", "block", "group"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """One quantized module. ``method`` is the name vLLM gives the checkpoint's quantization, e.g. "auto_awq"."""

    method: str
    storage: Storage
    granularity: Granularity = "tensor"
    bits: int = 8
    group_size: int | None = None  # elements of the input that share a scale; -1: the whole input
    block: tuple[int, int] | None = None  # (block_n, block_k) of block scales
    symmetric: bool = True
    act_order: bool = False  # GPTQ's desc_act / actorder "group": an index per input element
    weight_only: bool = False  # activations stay in the model's dtype
    static_input: bool = False  # the checkpoint carries activation scales
    online: bool = False  # quantized by the engine while it loads a bf16 checkpoint
