"""How many parameters the engine loads: no MTP blocks, tied weights once, no buffers."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from planner.model.facts import Embedding, Experts, Linear

if TYPE_CHECKING:
    from planner.model.facts import ModelFacts, Module


@lru_cache(maxsize=512)
def count_parameters(facts: ModelFacts) -> int:
    """Elements of all modules before quantization."""
    rest = (*facts.embedding, *facts.lm_head, *facts.final, *facts.everywhere, *facts.first_only, *facts.tower)
    layers = sum(run.count * sum(map(module_parameters, run.layer.modules)) for run in facts.layers)
    return layers + sum(map(module_parameters, rest))


def module_parameters(module: Module) -> int:
    """Elements of one module's weight and bias, whole."""
    if isinstance(module, Linear):
        features = sum(output.features for output in module.outputs if not output.copied)
        return features * (module.in_features + int(module.bias))
    if isinstance(module, Experts):
        gates = 2 if module.gated else 1
        weights = (gates + 1) * module.intermediate_size * module.hidden_size
        biases = (gates * module.intermediate_size + module.hidden_size) if module.bias else 0
        return module.count * (weights + biases)
    if isinstance(module, Embedding):
        return module.vocab_size * (module.hidden_size + int(module.bias))
    return prod(module.shape) if module.loaded and not module.buffer else 0
