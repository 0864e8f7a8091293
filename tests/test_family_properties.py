"""What must hold for the memory of each family that has a config here and no model in the catalogue."""

from __future__ import annotations

import sys
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from planner.engine import resolve_engine
from planner.memory.account import loaded_bytes
from planner.memory.kv_cache import stage_layouts
from planner.memory.weights import Rank
from planner.model.facts import ITEMSIZE_BYTES
from planner.model.quantization import engine_quantization, layer_kinds
from planner.spec import parse_spec
from tests.made_facts import gpu_of
from tests.test_families import FAMILIES, facts_of_family
from tests.test_memory_properties import held_bytes, is_plain, needs, starts, whole_and_copies

if TYPE_CHECKING:
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts

GPUS = ("L40S", "A100-80GB", "H100", "B200")
SPLITS = ((1, 1), (2, 1), (1, 2), (4, 1))
SEQS, TOKENS = 64, 4096


def engine_for(facts: ModelFacts, gpu: str, split: tuple[int, int], **changes: Any) -> EngineConfig:
    spec = parse_spec("{name: t, model: {repo: made/x, trust_remote_code: true}}", "a test")
    few = {"max_model_len": min(2048, facts.max_model_len), "max_num_seqs": SEQS, "max_num_batched_tokens": TOKENS}
    return replace(resolve_engine(spec, facts, gpu_of(gpu), *split), **(few | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_more_of_anything_never_needs_less_and_more_gpus_never_more_on_each(family: str) -> None:
    """But for the logits, which every rank of a tensor-parallel group gathers from the others."""
    facts = facts_of_family(family)
    for gpu, split in ((gpu, split) for gpu in GPUS for split in SPLITS):
        few = engine_for(facts, gpu, split)
        if not starts(facts, gpu, few, split):
            continue
        need = needs(facts, gpu, few, split)
        for grown in ("max_model_len", "max_num_seqs", "max_num_batched_tokens"):
            assert needs(facts, gpu, replace(few, **{grown: 2 * getattr(few, grown)}), split) >= need, (gpu, grown)
        tp, pp = split
        gathered = 2 * SEQS * facts.vocab_size * ITEMSIZE_BYTES[few.dtype]
        for wider, beside in (((tp * 2, pp), gathered), ((tp, pp * 2), 0)):
            many = engine_for(facts, gpu, wider)
            if starts(facts, gpu, many, wider):
                assert needs(facts, gpu, many, wider) <= need + beside, (gpu, split, wider)


@pytest.mark.parametrize("tp", [1, 2, 4])
@pytest.mark.parametrize("family", [name for name in FAMILIES if not facts_of_family(name).quantization])
def test_a_familys_ranks_sum_to_its_checkpoint_and_what_is_copied_and_padded(family: str, tp: int) -> None:
    facts, gpu = facts_of_family(family), "H100"
    engine = engine_for(facts, gpu, (tp, 1))
    if not starts(facts, gpu, engine, (tp, 1)):
        pytest.skip("vLLM does not start this family so")
    rank, (kinds, _) = Rank(facts, gpu_of(gpu), engine, tp), layer_kinds(facts, engine_quantization(facts))
    outside = (*facts.embedding, *facts.lm_head, *facts.final, *facts.everywhere, *facts.first_only)
    for module in filter(is_plain, (*outside, *(module for layer, _ in kinds for module in layer.modules))):
        whole, more = whole_and_copies(module, tp, engine.dtype)
        assert tp * held_bytes(rank, module) == whole + more, module


def forget() -> None:
    """Everything that the memory arithmetic has kept of earlier answers."""
    for name, module in list(sys.modules.items()):
        if name.startswith("planner.memory."):
            for kept in vars(module).values():
                if hasattr(kept, "cache_clear"):
                    kept.cache_clear()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_does_not_depend_on_what_was_asked_before(family: str) -> None:
    """GPUs and engines that are alike share what was reckoned; no two that differ in it may."""
    facts = facts_of_family(family)
    changes = ({}, {"max_num_batched_tokens": 3072}, {"max_num_seqs": 48}, {"language_model_only": True})

    def answer(gpu: str, tp: int, changed: int) -> tuple[object, ...]:
        engine = engine_for(facts, gpu, (tp, 1), **changes[changed])
        loaded = [loaded_bytes(facts, gpu_of(gpu), engine, tp, 1, in_blocks=blocks) for blocks in (False, True)]
        return (*loaded, stage_layouts(facts, gpu_of(gpu), engine, tp, 1))

    asked = [(gpu, tp, n) for gpu, tp, n in product(("L4", "H100", "B200"), (1, 2), range(len(changes)))]
    asked = [one for one in asked if starts(facts, one[0], engine_for(facts, one[0], (one[1], 1)), (one[1], 1))]
    forget()
    together = [answer(*one) for one in asked]
    for one, answered in zip(asked, together, strict=True):
        forget()
        assert answer(*one) == answered, one
