"""Classes that vLLM no longer has: the model is counted and every candidate is refused in vLLM's words."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from planner.candidates import Candidate
from planner.checks.shards import check_architecture
from planner.cli import gpuplan
from planner.model.parameters import count_parameters
from tests.made_facts import engine_of, facts_of, gpu_of

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
