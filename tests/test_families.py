"""Families beyond the shipped catalogue: loading bytes of small configs, as vLLM's own classes allocate them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from planner.memory.weights import stage_loading_bytes
from planner.model.architectures import make_facts
from planner.model.identity import Checkpoint
from tests.made_facts import engine_of, gpu_of

if TYPE_CHECKING:
    from planner.model.facts import Layer, ModelFacts

FAMILIES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "family_configs.json").read_text(encoding="utf-8")
)["families"]
SPLITS = [
    (family, split, tuple(stages)) for family, row in FAMILIES.items() for split, stages in row["loading_bytes"].items()
]


def facts_of_family(family: str) -> ModelFacts:
    return make_facts(Checkpoint(repo=f"made/{family}", source="path", config=FAMILIES[family]["config"]))


@pytest.mark.parametrize(("family", "split", "stages"), SPLITS, ids=[f"{row[0]} {row[1]}" for row in SPLITS])
def test_a_family_loads_what_the_engine_allocates(family: str, split: str, stages: tuple[int, ...]) -> None:
    tp, pp = (int(part[2:]) for part in split.split()[:2])
    engine = engine_of("Qwen/Qwen3-0.6B", "H100", tp=tp, pp=pp, enable_expert_parallel=split.endswith("ep"))
    assert stage_loading_bytes(facts_of_family(family), gpu_of("H100"), engine, tp, pp) == stages


def attends(layer: Layer) -> bool:
    """Whether a search has left the layer its attention; other layers have Linears of an MLP alone."""
    return any(output.replicable for module in layer.modules for output in getattr(module, "outputs", ()))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_of_a_family_that_attends_keeps_a_cache(family: str) -> None:
    facts = facts_of_family(family)
    assert facts.num_hidden_layers > 0
    assert all(run.layer.caches for run in facts.layers if attends(run.layer))
    assert facts.max_model_len > 0


def test_ernie_with_a_tied_head_cannot_be_cut_into_stages() -> None:
    tied = FAMILIES["ernie4_5_moe"]["config"]
    untied = Checkpoint(repo="made/untied", source="path", config={**tied, "tie_word_embeddings": False})
    assert not facts_of_family("ernie4_5_moe").supports_pp
    assert make_facts(untied).supports_pp
