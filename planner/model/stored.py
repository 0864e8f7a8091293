"""What a tensor of a checkpoint holds: so many parameters, quantized or not, or nothing that the engine counts.

Packed tensors hold several parameters in a word. Scales, zero points, rope frequencies, masks and blocks for
multi-token prediction are no parameters of the model as the engine loads it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from planner.model.quantization import Scheme
    from planner.model.tensor_runs import TensorRun

# Last parts of names beside a quantized weight: AutoAWQ, AutoGPTQ, compressed-tensors, ModelOpt, Quark, MXFP4, FP8.
SCALES = re.compile(
    r"(\w+_)?(weight|input|output|activation)_(\w+_)?(scale|zero_point|shape|g_idx)\w*|weight_shape|weight_g_idx|"
    r"[qkv]_scale|prob_scale|kv_scale|pre_quant_scale|\w*scale_inv|\w*_scales|scales|qzeros|g_idx|"
    r"\w+_proj(_bias)?_scale(_inv)?"
)
# What the engine computes for itself: rope frequencies, causal masks, position indices.
MADE_BY_ENGINE = re.compile(
    r"(.*\.)?(rotary_emb|rotary_pos_emb|rope)\..*|(.*\.)?(\w*inv_freq|rope_freqs\.weight|masked_bias|position_ids)"
)
MASKS = re.compile(r"(.*\.)?(attn|attention)\.bias")  # a mask where it has four dimensions, else a weight
PREDICTION = re.compile(r"(.*\.)?(mtp\w*|nextn\w*|eagle\w*)\..*")  # multi-token prediction: not loaded by default
MASK_DIMENSIONS = 4
PACKED = ("qweight", "weight_packed")  # words of 32 bits
WORD_BITS = 32
FP4_STORAGES = frozenset({"nvfp4", "mxfp4"})
QUANTIZED_DTYPES = frozenset({"F8_E4M3", "F8_E5M2", "F4", "I8", "U8", "I32", "U32"})
NO_WEIGHTS = frozenset({"BOOL", "I16", "U16", "I64", "U64", "F8_E8M0", "C64"})


class Stored(Struct, frozen=True):
    """A run of tensors with what one of them holds."""

    run: TensorRun
    elements: int  # parameters in one tensor
    quantized: bool


def stored_weights(runs: Iterable[TensorRun], schemes: tuple[Scheme, ...]) -> Iterator[Stored]:
    """The runs that hold parameters. ``schemes``: of the checkpoint's quantization, which packed tensors follow."""
    for run in runs:
        if is_weight(run):
            elements = run.elements * packed_per_item(run, schemes)
            yield Stored(run, elements, run.dtype in QUANTIZED_DTYPES)


def is_weight(run: TensorRun) -> bool:
    """Whether the engine counts these tensors as parameters."""
    leaf = run.pattern.rpartition(".")[2]
    if run.dtype in NO_WEIGHTS or SCALES.fullmatch(leaf) or MADE_BY_ENGINE.fullmatch(run.pattern):
        return False
    if run.dtype in {"I32", "U32"} and leaf not in PACKED:
        return False
    if MASKS.fullmatch(run.pattern) and len(run.shape) == MASK_DIMENSIONS:
        return False
    return not PREDICTION.fullmatch(run.pattern)


def packed_per_item(run: TensorRun, schemes: tuple[Scheme, ...]) -> int:
    """Parameters in one item of the tensor."""
    if run.dtype in {"I32", "U32"}:
        bits = {scheme.bits for scheme in schemes if scheme.storage == "int"}
        return WORD_BITS // min(bits, default=4)
    fp4 = any(scheme.storage in FP4_STORAGES for scheme in schemes)
    int8 = any(scheme.storage == "int8" for scheme in schemes)
    return 2 if run.dtype == "U8" or (run.dtype == "I8" and fp4 and not int8) else 1


def are_readable(schemes: tuple[Scheme, ...]) -> bool:
    """Whether packed words can be counted: with several widths a word alone does not say its own."""
    return len({scheme.bits for scheme in schemes if scheme.storage == "int"}) <= 1
