"""Whether the tensors of a checkpoint are those that its config.json describes, and where they are not.

Compared are parameters, layer by layer and for everything outside the layers together, and how many of them are
quantized. What the engine does not load is left out first: heads that are tied, layers for multi-token prediction,
an encoder's last layers that nothing reads, scales, masks and rope frequencies.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from planner.model.described import describe
from planner.model.encoder_tensors import as_built
from planner.model.facts import ITEMSIZE_BYTES, Embedding
from planner.model.quantization import engine_quantization
from planner.model.stored import are_readable, stored_weights
from planner.model.stored_dtypes import DTYPE_BITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from planner.model.described import Described
    from planner.model.facts import ModelFacts, Module
    from planner.model.quantization import Quantization
    from planner.model.stored import Stored
    from planner.model.tensor_runs import TensorRun

Key = int | None  # a decoder layer, or None for everything outside
GPTQ_METHODS = frozenset({"auto_gptq", "inc"})  # their exports write zeros as biases of layers that have none


class Disagreement(Struct, frozen=True):
    """Bytes of weights on both sides, in the formats of the checkpoint, and what has no counterpart, largest first."""

    stored_bytes: int
    described_bytes: int
    only_stored: tuple[str, ...]
    only_described: tuple[str, ...]


def find_disagreement(facts: ModelFacts, config: Mapping[str, Any], runs: Sequence[TensorRun]) -> Disagreement | None:
    """None where both agree, where no header was read, or where packed words do not say how wide they are."""
    quantization = engine_quantization(facts)
    schemes = quantization.all_schemes()
    if not runs or not are_readable(schemes):
        return None
    biases = quantization.method not in GPTQ_METHODS
    stored = as_built(facts, stored_weights(runs, schemes))
    stored = [one for one in stored if biases or not one.run.pattern.endswith(".bias")]
    held = _by_layer(_without_tied_head(facts, stored), facts, config)
    asked = _described_by_layer(facts, quantization, biases=biases)
    differing = [
        key for key in dict.fromkeys((*held, *asked)) if _sums(held.get(key, ())) != _asked(asked.get(key, ()))
    ]
    return _disagreement(facts, [(held.get(key, []), asked.get(key, [])) for key in differing], held, asked)


def _sums(held: Iterable[Stored]) -> tuple[int, int]:
    """Parameters, and those of them that are quantized."""
    sizes = [(one.elements * one.run.per_layer, one.quantized) for one in held]
    return sum(size for size, _ in sizes), sum(size for size, quantized in sizes if quantized)


def _asked(asked: Iterable[Described]) -> tuple[int, int]:
    sizes = [(one.elements, one.quantized) for one in asked]
    return sum(size for size, _ in sizes), sum(quantized for _, quantized in sizes)


def _without_tied_head(facts: ModelFacts, stored: Sequence[Stored]) -> list[Stored]:
    """A head that is tied to the embedding and stored all the same is not loaded."""
    tables = {(one.vocab_size, one.hidden_size) for one in facts.embedding if isinstance(one, Embedding)}
    twins = [one for one in stored if one.run.layers == (None,) and one.run.shape in tables]
    dropped = twins[1:] if facts.tied_embedding else []
    return [one for one in stored if one not in dropped]


def _by_layer(stored: Iterable[Stored], facts: ModelFacts, config: Mapping[str, Any]) -> dict[Key, list[Stored]]:
    """What each decoder layer holds; layers past the last that config.json announces for prediction are left out."""
    stored = list(stored)
    prefix = _decoder_prefix(stored)
    count = facts.num_hidden_layers
    unloaded = range(count, count + _prediction_layers(config))
    found: dict[Key, list[Stored]] = {}
    for one in stored:
        in_decoder = one.run.pattern.startswith(f"{prefix}#.") if prefix is not None else False
        for layer in one.run.layers:
            if not in_decoder:
                found.setdefault(None, []).append(one)
            elif layer not in unloaded:
                found.setdefault(layer, []).append(one)
    return found


def _decoder_prefix(stored: Iterable[Stored]) -> str | None:
    """The list of layers that holds most: towers have fewer and smaller ones."""
    sizes: Counter[str] = Counter()
    for one in stored:
        if "#" in one.run.pattern:
            sizes[one.run.pattern.partition("#")[0]] += one.elements * one.run.per_layer * len(one.run.layers)
    return max(sizes, key=lambda prefix: sizes[prefix], default=None)


def _prediction_layers(config: Mapping[str, Any]) -> int:
    """Layers for multi-token prediction, as num_nextn_predict_layers, num_mtp_modules and their kin say."""
    nested = [value for value in config.values() if isinstance(value, dict)]
    found = [
        value
        for holder in (config, *nested)
        for key, value in holder.items()
        if ("nextn" in key or "mtp" in key) and type(value) is int
    ]
    return max(found, default=0)


def _described_by_layer(
    facts: ModelFacts, quantization: Quantization, *, biases: bool
) -> dict[Key, tuple[Described, ...]]:
    outside = (*facts.embedding, *facts.lm_head, *facts.final, *facts.everywhere, *facts.first_only, *facts.tower)
    found: dict[Key, tuple[Described, ...]] = {None: _describe(outside, "", quantization, biases=biases)}
    first = 0
    for run in facts.layers:
        for index in range(first, first + run.count):
            if index > first and quantization.matching == "uniform":
                found[index] = found[first]
                continue
            prefix = f"{facts.layers_prefix}.{index}."
            found[index] = _describe(run.layer.modules, prefix, quantization, biases=biases)
        first += run.count
    return found


def _describe(
    modules: Iterable[Module], prefix: str, quantization: Quantization, *, biases: bool
) -> tuple[Described, ...]:
    found = (describe(module, prefix, quantization, biases=biases) for module in modules)
    return tuple(one for one in found if one is not None)


def _disagreement(
    facts: ModelFacts,
    differing: Sequence[tuple[Sequence[Stored], Sequence[Described]]],
    held: Mapping[Key, Sequence[Stored]],
    asked: Mapping[Key, Sequence[Described]],
) -> Disagreement | None:
    if not differing:
        return None
    only_stored: Counter[str] = Counter()
    only_described: Counter[str] = Counter()
    for stored, described in differing:
        more, less = _unmatched(stored, described)
        for one in more:
            only_stored[_tensor_words(one)] += _stored_bytes(one, facts.dtype)
        for other in less:
            only_described[other.name] += other.nbytes(facts.dtype)
    return Disagreement(
        sum(_stored_bytes(one, facts.dtype) for group in held.values() for one in group),
        sum(one.nbytes(facts.dtype) for group in asked.values() for one in group),
        tuple(name for name, _ in only_stored.most_common()),
        tuple(name for name, _ in only_described.most_common()),
    )


def _unmatched(stored: Sequence[Stored], described: Sequence[Described]) -> tuple[list[Stored], list[Described]]:
    """What is left on both sides when tensors of one size and kind are put together, whatever their names."""
    left = Counter((one.elements * one.run.per_layer, one.quantized) for one in stored)
    missing = []
    for one in described:
        way = next((way for way in one.ways() if way <= left), None)
        if way is None:
            missing.append(one)
        else:
            left -= way
    more = []
    for tensor in reversed(stored):
        size = (tensor.elements * tensor.run.per_layer, tensor.quantized)
        if left[size] > 0:
            left[size] -= 1
            more.append(tensor)
    return more, missing


def _stored_bytes(one: Stored, dtype: str) -> int:
    """In one layer: quantized tensors as they are, others in the dtype that the engine loads them in."""
    if one.quantized:
        return one.run.per_layer * one.run.elements * DTYPE_BITS[one.run.dtype] // 8
    return one.run.per_layer * one.elements * ITEMSIZE_BYTES[dtype]


def _tensor_words(one: Stored) -> str:
    return f"{one.run.pattern} ({one.run.dtype} {list(one.run.shape)})"
