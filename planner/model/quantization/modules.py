"""The quantized modules of a model, each kind once: what the checks walk."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.model.facts import Experts, Linear
from planner.model.quantization.parse import engine_quantization

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.model.facts import ModelFacts, Module
    from planner.model.quantization.quantization import Quantization
    from planner.model.quantization.scheme import Scheme


class QuantizedModule(Struct, frozen=True):
    """A module and its scheme; ``name`` is the first of that shape, in full."""

    name: str
    module: Linear | Experts
    scheme: Scheme


@lru_cache(maxsize=64)
def quantized_modules(facts: ModelFacts, online: str | None = None) -> tuple[QuantizedModule, ...]:
    """Every (module, scheme) of the layers once, in order of appearance."""
    quantization = engine_quantization(facts, online)
    if quantization.method is None:
        return ()
    found: dict[tuple[Module, Scheme], QuantizedModule] = {}
    for name, module in _layer_modules(facts):
        scheme = module_scheme(quantization, name, module)
        if scheme is not None and isinstance(module, Linear | Experts):
            found.setdefault((module, scheme), QuantizedModule(name, module, scheme))
    return tuple(found.values())


def module_scheme(quantization: Quantization, name: str, module: Module) -> Scheme | None:
    """The scheme of one linear layer or of routed experts; None for what the engine never quantizes."""
    if isinstance(module, Linear) and module.quantizable:
        return quantization.scheme_for(name, "linear", tuple(part.name for part in module.outputs if part.name))
    if isinstance(module, Experts) and module.quantizable:
        return quantization.scheme_for(name, "experts")
    return None


def _layer_modules(facts: ModelFacts) -> Iterator[tuple[str, Module]]:
    """Every module of every layer with its full name."""
    index = 0
    for run in facts.layers:
        for offset in range(run.count):
            for module in run.layer.modules:
                yield f"{facts.layers_prefix}.{index + offset}.{module.name}", module
        index += run.count
