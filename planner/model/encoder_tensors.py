"""What a checkpoint stores of its image encoder and the engine does not build.

LLaVA's encoders end with the layer whose features are used (vllm/model_executor/models/llava.py
_get_num_hidden_layers), without the norm and the pooling head behind it.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from planner.model.facts import ModelFacts
    from planner.model.stored import Stored

BEHIND = re.compile(r"(.*\.)?vision_(tower|model)\.(.*\.)?(post_layernorm|head)\..*")  # CLIP's and SigLIP's last parts
FIRST_LAYER = re.compile(r"(.*\.(layers?|blocks))\.0\..*")  # towers name every layer as the first


def as_built(facts: ModelFacts, stored: Iterable[Stored]) -> list[Stored]:
    """``stored`` without encoder layers past those that are built, and without what lies behind them."""
    built, behind = _built_layers(facts), any(BEHIND.fullmatch(module.name) for module in facts.tower)
    kept = []
    for one in stored:
        count = built.get(_list_name(facts, one))
        if count is not None:
            layers = tuple(layer for layer in one.run.layers if layer is None or layer < count)
            kept.append(replace(one, run=replace(one.run, layers=layers)))
        elif behind or not facts.tower or not BEHIND.fullmatch(one.run.pattern):
            kept.append(one)
    return kept


def _built_layers(facts: ModelFacts) -> dict[str, int]:
    """The number of layers by the name of their list: how often the tower has its first layer's modules."""
    names = Counter(module.name for module in facts.tower if FIRST_LAYER.fullmatch(module.name))
    return {FIRST_LAYER.sub(r"\1", name): count for name, count in names.items()}


def _list_name(facts: ModelFacts, one: Stored) -> str:
    """The engine's name of the list of layers that the tensors belong to; "" for tensors of no list."""
    name, numbered, _ = one.run.pattern.partition(".#.")
    for old, new in facts.name_prefixes:
        if name.startswith(old):
            name = new + name.removeprefix(old)
    return name if numbered else ""
