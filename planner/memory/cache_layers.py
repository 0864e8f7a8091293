"""The caches of a model by kind: which layers keep which cache, gathered once per model."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.model.facts import Cache, ModelFacts


@lru_cache(maxsize=256)
def cache_layers(facts: ModelFacts) -> tuple[tuple[Cache, tuple[int, ...]], ...]:
    """Each different cache with the indices of the layers that keep it, in the order in which they first appear.

    An index appears twice where a layer keeps the same cache twice.
    """
    layers: dict[Cache, list[int]] = {}
    first = 0
    for run in facts.layers:
        for offset in range(run.count):
            for cache in run.layer.caches:
                layers.setdefault(cache, []).append(first + offset)
        first += run.count
    return tuple((cache, tuple(indices)) for cache, indices in layers.items())


@lru_cache(maxsize=256)
def cache_kinds(facts: ModelFacts) -> frozenset[str]:
    """The kinds of cache the model keeps at all."""
    return frozenset(cache.kind for cache, _ in cache_layers(facts))
