"""Classes that vLLM no longer has or never had: models are counted, candidates are refused in vLLM's words."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from planner.candidates import Candidate
from planner.checks.shards import check_architecture
from planner.cli import gpuplan
from planner.model.architectures import make_facts
from planner.model.identity import Checkpoint
from planner.model.parameters import count_parameters
from tests.made_facts import engine_of, facts_of, gpu_of
from tests.test_families import FAMILIES

MLLAMA = "meta-llama/Llama-3.2-11B-Vision-Instruct"
MPT = "mosaicml/mpt-7b"


@pytest.mark.parametrize(
    ("repo", "version", "until"),
    [
        (MLLAMA, "0.33.0", "0.10.2"),
        (MLLAMA, "0.25.0", "0.10.2"),
        (MLLAMA, "0.10.2", "0.10.2"),  # it may exist there, and its memory is not documented
        (MPT, "0.33.0", "0.28.0"),
        (MPT, "0.28.1", "0.28.0"),
        (MPT, "0.28.0", None),
        (MPT, "0.25.0", None),
    ],
)
def test_a_class_is_refused_after_its_last_version(repo: str, version: str, until: str | None) -> None:
    facts, gpu = facts_of(repo), gpu_of("H100")
    refusal = check_architecture(facts, Candidate(gpu, None, 1, 1, 1), engine_of(repo, "H100", version=version))
    if until is None:
        assert refusal is None
        return
    assert refusal is not None
    assert refusal.code == "engine_support"
    assert refusal.reason.startswith(
        f"Model architecture {facts.architecture} was supported in vLLM until v{until}, and is not supported anymore."
    )


def test_layers_of_cross_attention_and_the_tower_are_counted() -> None:
    facts = facts_of(MLLAMA)
    assert count_parameters(facts) == 10_670_220_835  # the hub's safetensors total
    kinds = [run.layer.caches[0].kind for run in facts.layers for _ in range(run.count)]
    assert [index for index, kind in enumerate(kinds) if kind == "cross"] == [3, 8, 13, 18, 23, 28, 33, 38]


def test_a_plan_of_a_removed_class_says_so_for_every_size() -> None:
    result = CliRunner().invoke(gpuplan, ["plan", MLLAMA, "--offline", "--json"])
    assert result.exit_code == 4
    plan = json.loads(result.stdout)
    assert plan["options"] == []
    assert {row["code"] for row in plan["rejected"]} <= {"engine_support", "count_not_sold"}
    assert "engine_support" in {row["code"] for row in plan["rejected"]}


def test_a_class_that_no_version_has_is_refused_by_its_name() -> None:
    config = {**FAMILIES["step3p5"]["config"], "architectures": ["Step3p7FlashForCausalLM"], "model_type": "step3p7"}
    facts = make_facts(Checkpoint(repo="made/step", source="path", config=config))
    assert count_parameters(facts) == 196_956_130_368
    refusal = check_architecture(facts, Candidate(gpu_of("H100"), None, 8, 8, 1), engine_of(MPT, "H100", tp=8))
    assert refusal is not None
    assert refusal.code == "engine_support"
    assert refusal.reason == "Model architectures ['Step3p7FlashForCausalLM'] are not supported for now."
