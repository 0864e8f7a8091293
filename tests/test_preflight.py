from __future__ import annotations

from msgspec.structs import replace

from planner.deployment.preflight import preflight
from planner.deployment.running import Running, Survey
from planner.release import make_release
from tests.hand_plans import SPEC_7B, SPEC_70B, hand_plan

NOTHING = Survey(None, weights_present=True)
RUNNING = Running("llama", None, 3, "deployed", None, ())


def found(text: str = SPEC_70B, survey: Survey = NOTHING, **checkpoint: object) -> Survey:
    plan = hand_plan(text, **checkpoint)
    assert plan.chosen is not None
    return preflight(plan, make_release(plan, plan.chosen), survey)


def test_a_plan_with_everything_has_no_problem() -> None:
    assert found(source="hub") == NOTHING


def test_a_gated_model_needs_a_secret_with_a_token() -> None:
    without = SPEC_7B.replace("huggingface: huggingface-secret, ", "")
    assert found(without, gated=False).problems == ()
    problems = found(without, gated=True).problems
    assert len(problems) == 1
    assert "is gated, and the spec names no secret with HF_TOKEN" in problems[0]
    assert found(gated=True, source="hub").problems == ()


def test_what_was_not_checked_is_said() -> None:
    assert any("whether its licence is accepted was not checked" in text for text in found(gated=True).warnings)
    assert any("The commit of" in text for text in found(revision=None).warnings)
    assert any(
        "was not recorded by gpuplan" in text for text in found(survey=replace(NOTHING, running=RUNNING)).warnings
    )


def test_all_problems_are_told_at_once() -> None:
    over = SPEC_7B.replace("huggingface: huggingface-secret, ", "") + "budget: {max_usd_per_hour: 1}\n"
    problems = found(over, replace(NOTHING, problems=("from the provider",)), gated=True).problems
    assert len(problems) == 3
    assert problems[0] == "from the provider"
    assert "is over $1" in problems[2]


def test_on_ones_own_machine_the_token_is_its_own() -> None:
    survey = found(SPEC_7B.replace("huggingface: huggingface-secret, ", "") + "target: local\n", gated=True)
    assert survey.problems == ()
    assert [text for text in survey.warnings if "this machine's own token (HF_TOKEN" in text]
