"""Scheme: how one module's weight is stored and computed, in vLLM's own words; None stands for unquantized."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

# The storage of a weight; how scales lie beside it is in the other fields.
#   fp8    one e4m3 byte per element, fp32 scales per "tensor", "channel" or "block"
#   mxfp8  one e4m3 byte per element, one e8m0 scale byte per 32
#   int8   one byte per element and int8 activations, fp32 scales per "channel"
#   int    packed integers of ``bits`` with scales in the model's dtype per group (GPTQ, AWQ, pack-quantized)
#   mxfp4  two elements per byte, one e8m0 scale byte per 32
#   nvfp4  two elements per byte, one e4m3 scale byte per 16 and one fp32 scale per tensor
Storage = Literal["fp8", "mxfp8", "int8", "int", "mxfp4", "nvfp4"]
Granularity = Literal["tensor", "channel", "block", "group"]

MX_GROUP_SIZE = 32  # OCP microscaling formats
NVFP4_GROUP_SIZE = 16
FP8_BLOCK = (128, 128)  # block_n, block_k of DeepSeek's recipe


class Scheme(Struct, frozen=True):
    """One quantized module. ``method`` is vLLM's name of the checkpoint's quantization, e.g. "auto_awq"."""

    method: str
    storage: Storage
    granularity: Granularity = "tensor"
    bits: int = 8
    group_size: int = -1  # elements of the input that share a scale; -1: the whole input
    block: tuple[int, int] | None = None  # (block_n, block_k) of block scales
    block_scale_bytes: int = 4  # fp32; 1 where the checkpoint stores e8m0
    symmetric: bool = True  # False: a zero point per group, packed like the weights
    act_order: bool = False  # GPTQ's desc_act: an index per input element
    weight_only: bool = False  # activations stay in the model's dtype
    static_input: bool = False  # the checkpoint carries activation scales
    online: bool = False  # quantized by the engine while it loads an unquantized checkpoint
