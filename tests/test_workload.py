"""The load a plan is judged under: what the spec says, the defaults, and what a short context leaves of them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from planner.make_plan import make_plan
from planner.spec import parse_spec
from planner.workload import make_workload
from tests.made_facts import catalog, facts_of

if TYPE_CHECKING:
    from planner.plan import Plan

REPO = "meta-llama/Llama-2-7b-chat-hf"  # 4,096 tokens


def text(more: str) -> str:
    return f"name: x\nmodel: {{repo: {REPO}}}\ngpu: {{types: [T4, L4], counts: [1]}}\n{more}"


def plan(more: str) -> Plan:
    checkpoint = catalog().find_model(REPO)
    assert checkpoint is not None
    return make_plan(parse_spec(text(more), "a test"), checkpoint, catalog(), today=date(2026, 11, 1))


CLIPPED = [  # spec, mean prompt and answer
    ("", (512, 256)),
    ("engine: {max_model_len: auto}", (512, 256)),
    ("engine: {max_model_len: 600}", (344, 256)),
    ("engine: {max_model_len: 100}", (50, 50)),
    ("engine: {max_model_len: 1}", (1, 1)),
    ("workload: {}", (512, 256)),
    ("engine: {max_model_len: 100}\nworkload: {concurrency: 4}", (50, 50)),
    ("engine: {max_model_len: 600}\nworkload: {input_tokens: 500}", (500, 100)),
    ("engine: {max_model_len: 600}\nworkload: {output_tokens: 500}", (100, 500)),
    ("workload: {input_tokens: 4000}", (4000, 96)),
    ("workload: {input_tokens: 5000, output_tokens: 10}", (5000, 10)),
]


@pytest.mark.parametrize(("more", "lengths"), CLIPPED)
def test_lengths_that_are_left_out_take_what_the_context_leaves(more: str, lengths: tuple[int, int]) -> None:
    workload = make_workload(parse_spec(text(more), "a test"), facts_of(REPO))
    assert (workload.input_tokens, workload.output_tokens) == lengths


def test_a_load_that_the_model_cannot_take_is_a_warning() -> None:
    said = [one for one in plan("workload: {input_tokens: 5000, output_tokens: 10}").warnings if "workload" in one]
    assert said == [
        "workload: one request has 5,000 + 10 = 5,010 tokens, more than the model's 4,096: the engine would refuse it. "
        "Type shorter workload.input_tokens or output_tokens."
    ]
    assert not [one for one in plan("workload: {input_tokens: 4000}").warnings if "workload" in one]


def test_auto_never_chooses_a_context_that_the_load_does_not_fit() -> None:
    auto = "engine: {max_model_len: auto, gpu_memory_utilization: 0.65}\n"
    fits = plan(auto).options[0].engine.max_model_len
    assert 768 <= fits < 4096
    longer = plan(f"{auto}workload: {{input_tokens: {fits}}}")
    assert longer.chosen is None
    lost = next(one for one in longer.rejections if one.gpu == "L4")
    assert lost.code == "kv_cache"
    assert f"The longest context that fits is {fits:,} tokens." in lost.reason
