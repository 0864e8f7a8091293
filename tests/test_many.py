"""Plans of many specs, made by copies of the process: as one process makes them, in order, failures included."""

from __future__ import annotations

import pytest

from planner.cli import many
from planner.cli.planning import plan_from
from planner.errors import ModelError
from planner.explain.json import plan_document

REPOS = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-14B-AWQ", "google/gemma-3-1b-it", "meta-llama/Llama-2-7b-hf", "Qwen/Qwen3-4B")


@pytest.fixture(autouse=True)
def three_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_processors", lambda: 3)
    monkeypatch.setattr(many, "FEWEST_EACH", 1)


def test_shared_out_plans_are_those_of_one_process() -> None:
    shared = many.plan_many(REPOS, offline=True)
    alone = [plan_from(repo, offline=True).plan for repo in REPOS]
    assert [plan_document(plan) for plan in shared] == [plan_document(plan) for plan in alone]


def test_a_spec_that_fails_in_a_copy_fails_in_words() -> None:
    with pytest.raises(ModelError, match="nobody/nothing"):
        many.plan_many((*REPOS[:4], "nobody/nothing"), offline=True)  # the second copy's
