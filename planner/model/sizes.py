"""Sizes that no model can have: a well-formed config.json may still describe a width of 0, or 8 of 3 experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.model.facts import Embedding, Experts, Linear

# config classes of transformers 5 that ask it (validate_architecture), even where head_dim is stated
WHOLE_HEADS = frozenset(
    (
        "arcee",
        "aria_text",
        "cwm",
        "deepseek_v2",
        "gemma2",
        "gemma3_text",
        "hyperclovax",
        "jais2",
        "llama",
        "minicpm3",
        "vaultgemma",
    )
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.model.facts import Cache, ModelFacts, Module


def impossible_size(facts: ModelFacts) -> str | None:
    """The first module or cache of a size that cannot be, in words; None where all can."""
    return next(_impossible(facts), None)


def _impossible(facts: ModelFacts) -> Iterator[str]:
    if not facts.layers or facts.num_hidden_layers < 1:
        yield "the model would have no layer"
    if facts.max_model_len < 1:
        yield "the longest context would be 0 tokens"
    outside = (facts.embedding, facts.lm_head, facts.final, facts.everywhere, facts.first_only, facts.tower)
    for modules in (*outside, *(run.layer.modules for run in facts.layers)):
        for module in modules:
            if min(sizes := _sizes(module)) < 1:
                yield f"{module.name} would be {' × '.join(map(str, sizes))}"
            if isinstance(module, Experts) and module.top_k > module.count:
                yield f"{module.name}: each token would go to {module.top_k} of {module.count} experts"
    for run in facts.layers:
        for cache in run.layer.caches:
            if min(_cache_sizes(cache)) < 1 or cache.window_tokens == 0:
                yield f"the {cache.kind} cache of a layer would hold nothing"
    if facts.model_type in WHOLE_HEADS and facts.hidden_size % facts.num_attention_heads:
        size, heads = facts.hidden_size, facts.num_attention_heads
        yield f"hidden_size ({size}) is not a multiple of num_attention_heads ({heads})"


def _sizes(module: Module) -> tuple[int, ...]:
    if isinstance(module, Linear):
        return (module.in_features, *(output.features for output in module.outputs))
    if isinstance(module, Experts):
        return (module.count, module.hidden_size, module.intermediate_size)
    if isinstance(module, Embedding):
        return (module.vocab_size, module.hidden_size)
    return module.shape or (1,)


def _cache_sizes(cache: Cache) -> tuple[int, ...]:
    if cache.kind == "mamba":
        return tuple(size for state in cache.states for size in state.shape) or (0,)
    if cache.kind in ("mla", "none"):
        return (1,) if cache.kind == "none" else (cache.head_size,)
    return (cache.num_kv_heads, cache.head_size)
