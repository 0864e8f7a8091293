"""What config.json describes, module by module: parameters as the checkpoint may store them, apart or fused."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.model.facts import ITEMSIZE_BYTES, Embedding, Experts, Linear, Parameter
from planner.model.quantization import module_scheme

if TYPE_CHECKING:
    from planner.model.facts import Module
    from planner.model.quantization import Quantization

STORED_BITS = {"fp8": 8, "mxfp8": 8, "int8": 8, "mxfp4": 4, "nvfp4": 4}


class Described(Struct, frozen=True):
    """One module of a layer: the parameters of its weights and biases, as tensors apart or fused."""

    name: str
    apart: tuple[int, ...]
    fused: tuple[int, ...]
    biases_apart: tuple[int, ...] = ()
    biases_fused: tuple[int, ...] = ()
    bits: int | None = None  # of a weight that is stored quantized; None: stored as floats

    @property
    def elements(self) -> int:
        return sum(self.fused) + sum(self.biases_fused)

    @property
    def quantized(self) -> int:
        """Parameters stored in a quantized format."""
        return 0 if self.bits is None else sum(self.fused)

    def nbytes(self, dtype: str) -> int:
        """As the checkpoint stores them: quantized ones packed, the rest in ``dtype``; scales not counted."""
        return self.quantized * (self.bits or 0) // 8 + (self.elements - self.quantized) * ITEMSIZE_BYTES[dtype]

    def ways(self) -> tuple[Counter[tuple[int, bool]], ...]:
        """Tensors as (parameters, quantized): the module's parts apart, or fused."""
        quantized = self.bits is not None
        return tuple(
            Counter([*((size, quantized) for size in weights), *((size, False) for size in biases)])
            for weights, biases in ((self.apart, self.biases_apart), (self.fused, self.biases_fused))
        )


def describe(module: Module, prefix: str, quantization: Quantization, *, biases: bool = True) -> Described | None:
    """The module as a checkpoint holds it; None for what is in none. ``biases``: whether they are looked at."""
    if isinstance(module, Parameter):
        if module.buffer or not module.loaded:
            return None
        size = (prod(module.shape),)
        return None if module.name.endswith("bias") and not biases else Described(module.name, size, size)
    scheme = module_scheme(quantization, prefix + module.name, module)
    bits = None if scheme is None or scheme.online else STORED_BITS.get(scheme.storage, scheme.bits)
    return Described(module.name, *_tensors(module), *(_biases(module) if biases else ((), ())), bits)


def _tensors(module: Linear | Experts | Embedding) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Weights apart and fused."""
    if isinstance(module, Embedding):
        table = (module.vocab_size * module.hidden_size,)
        return table, table
    if isinstance(module, Experts):
        one = module.count * module.intermediate_size * module.hidden_size
        return ((one,) * (3 if module.gated else 2), (one * (2 if module.gated else 1), one))
    parts = tuple(output.features * module.in_features for output in module.outputs if not output.copied)
    return parts, (sum(parts),)


def _biases(module: Linear | Experts | Embedding) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if not module.bias:
        return (), ()
    if isinstance(module, Embedding):
        return (module.vocab_size,), (module.vocab_size,)
    if isinstance(module, Experts):
        width, hidden = module.count * module.intermediate_size, module.count * module.hidden_size
        return (width,) * (2 if module.gated else 1) + (hidden,), (width * (2 if module.gated else 1), hidden)
    parts = tuple(output.features for output in module.outputs if not output.copied)
    return parts, (sum(parts),)
