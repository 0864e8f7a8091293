"""The scheme of every module of a model, and its quantized modules, each kind once: what the checks walk."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.model.facts import Experts, Linear, Parameter
from planner.model.quantization.matching import scheme_for
from planner.model.quantization.parse import engine_quantization
from planner.model.quantization.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.model.facts import Layer, ModelFacts, Module
    from planner.model.quantization.quantization import Quantization

Schemes = tuple[Scheme | None, ...]


class QuantizedModule(Struct, frozen=True):
    """A module and its scheme; ``name`` is the first of that shape, in full."""

    name: str
    module: Linear | Experts
    scheme: Scheme
    in_tower: bool = False


@lru_cache(maxsize=64)
def quantized_modules(
    facts: ModelFacts, online: str | None = None, *, with_tower: bool = True
) -> tuple[QuantizedModule, ...]:
    """Every (module, scheme) of the layers and of the tower once, in order of appearance.

    Not the tower of GPTQ: its config.json names nothing that is left alone, vLLM asks the checkpoint's tensors
    (auto_gptq.py maybe_update_config), and published ones leave towers alone.
    """
    quantization = engine_quantization(facts, online)
    if quantization.method is None:
        return ()
    with_tower = with_tower and quantization.method != "auto_gptq"
    kinds, order = layer_kinds(facts, quantization)
    found: dict[tuple[Module, Scheme], QuantizedModule] = {}
    for kind, (layer, schemes) in enumerate(kinds):
        prefix = _prefix(facts, order.index(kind))
        for module, scheme in zip(layer.modules, schemes, strict=True):
            if scheme is not None and isinstance(module, Linear | Experts):
                found.setdefault((module, scheme), QuantizedModule(prefix + module.name, module, scheme))
    return (*found.values(), *(_quantized_in_tower(facts, quantization) if with_tower else ()))


def _quantized_in_tower(facts: ModelFacts, quantization: Quantization) -> Iterator[QuantizedModule]:
    found: dict[tuple[Module, Scheme], QuantizedModule] = {}
    for module in facts.tower:
        scheme = module_scheme(quantization, module.name, module)
        if scheme is not None and isinstance(module, Linear):
            found.setdefault((module, scheme), QuantizedModule(module.name, module, scheme, in_tower=True))
    yield from found.values()


@lru_cache(maxsize=64)
def layer_kinds(
    facts: ModelFacts, quantization: Quantization
) -> tuple[tuple[tuple[Layer, Schemes], ...], tuple[int, ...]]:
    """Layers that differ in modules or in formats, each once, and the kind of every layer in order."""
    uniform = quantization.matching == "uniform"
    kinds: dict[tuple[Layer, Schemes], int] = {}
    order: list[int] = []
    for run in facts.layers:
        for index in range(len(order), len(order) + run.count):
            schemes = _layer_schemes(facts, quantization, run.layer, 0 if uniform else index)
            order.append(kinds.setdefault((run.layer, schemes), len(kinds)))
    return tuple(kinds), tuple(order)


@lru_cache(maxsize=16384)
def _layer_schemes(facts: ModelFacts, quantization: Quantization, layer: Layer, index: int) -> Schemes:
    """The scheme of each module of layer ``index``, in order."""
    prefix = _prefix(facts, index)
    return tuple(module_scheme(quantization, prefix + module.name, module) for module in layer.modules)


def _prefix(facts: ModelFacts, index: int) -> str:
    return f"{facts.layers_prefix}.{index}."


def module_scheme(quantization: Quantization, name: str, module: Module) -> Scheme | None:
    """The scheme of one module with the engine's full ``name``; None where it stays as it is."""
    if isinstance(module, Parameter) or not module.quantizable or quantization.method is None:
        return None
    if isinstance(module, Linear):
        return scheme_for(quantization, name, "linear", tuple(part.name for part in module.outputs if part.name))
    return scheme_for(quantization, name, "experts" if isinstance(module, Experts) else "head")
