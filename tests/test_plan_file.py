from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from planner.errors import SpecError
from planner.plan_file import SavedPlan, read_plan, save_plan, saved_option, stale_reasons
from planner.release import spec_sha256
from planner.spec import parse_spec
from tests.command import gpuplan
from tests.hand_plans import SPEC_7B, SPEC_70B, hand_plan
from tests.options import make_option
from tests.releases import COMMIT, OTHER_COMMIT

if TYPE_CHECKING:
    from pathlib import Path

    from planner.plan import Plan

PLAN = hand_plan(SPEC_70B)


def saved(tmp_path: Path, plan: Plan = PLAN) -> SavedPlan:
    path = tmp_path / "plan.json"
    save_plan(plan, path, spec_path="specs/70b.yaml")
    read = read_plan(path)
    assert read is not None
    return read


def test_a_saved_plan_says_what_was_decided_from_what(tmp_path: Path) -> None:
    plan = saved(tmp_path)
    assert plan.split == ("A100-80GB", 2, 2, 1)
    assert plan.revision == COMMIT
    assert plan.engine_version == "0.33.0"
    assert plan.spec_sha256 == spec_sha256(PLAN.spec)
    assert parse_spec(plan.spec_text, "saved") == PLAN.spec
    assert saved_option(plan, PLAN) == PLAN.chosen


def test_a_plan_that_is_still_true_has_no_reasons(tmp_path: Path) -> None:
    assert stale_reasons(saved(tmp_path), PLAN, spec_sha256(PLAN.spec)) == []
    assert stale_reasons(saved(tmp_path), PLAN, None) == []


def with_option(plan: Plan, **changes: Any) -> Plan:
    return replace(plan, options=(make_option(**changes),))


@pytest.mark.parametrize(
    ("plan", "file_sha256", "said"),
    [
        (PLAN, "0" * 64, "specs/70b.yaml was edited since"),
        (replace(PLAN, checkpoint=replace(PLAN.checkpoint, revision=OTHER_COMMIT)), None, f"is now {OTHER_COMMIT}"),
        (with_option(PLAN, count=2, usd_per_hour="6.00"), None, "It costs $6.00/h now, planned was $5.44/h."),
        (with_option(PLAN, gpu="H100", count=2), None, "2×A100-80GB with TP 2, PP 1 is not valid any more: It is not"),
        (
            replace(PLAN, prices_as_of=date(2026, 12, 1)),
            None,
            "Prices are of 2026-12-01 now, planned was with those of 2026-10-08.",
        ),
        (
            replace(PLAN, options=(make_option("L40S", 1, "1.95"), *PLAN.options)),
            None,
            "1×L40S is the better choice now ($1.95/h).",
        ),
    ],
)
def test_what_changed_is_said(plan: Plan, file_sha256: str | None, said: str, tmp_path: Path) -> None:
    reasons = stale_reasons(saved(tmp_path), plan, file_sha256)
    assert [reason for reason in reasons if said in reason]


def test_a_plan_of_another_generator_is_stale(tmp_path: Path) -> None:
    old = replace(saved(tmp_path), generator="0.0.9")
    assert "It was saved by gpuplan 0.0.9" in stale_reasons(old, PLAN, None)[0]


def test_a_plan_without_an_option_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no configuration is valid"):
        save_plan(replace(PLAN, options=()), tmp_path / "plan.json")


def test_a_plan_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="Name another file"):
        save_plan(PLAN, tmp_path / "nowhere" / "plan.json")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "name: a\nmodel: {repo: o/m}", '{"kind": "other"}', "{", "[" * 100_000]
)
def test_what_is_no_saved_plan(text: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text)
    assert read_plan(path) is None


@pytest.mark.parametrize("lost", ["spec", "chosen", "spec_sha256", "model", "generator"])
def test_a_damaged_plan_is_refused(lost: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    save_plan(PLAN, path)
    document = json.loads(path.read_text())
    del document[lost]
    path.write_text(json.dumps(document))
    with pytest.raises(SpecError, match="a damaged plan"):
        read_plan(path)


def test_a_saved_plan_is_not_planned_but_pointed_at(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    save_plan(PLAN, path, spec_path="specs/70b.yaml")
    done = gpuplan("plan", str(path), "--offline")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"{path}: a saved plan, not a spec. Type `gpuplan deploy {path}`, or plan specs/70b.yaml again.\n"
    )


def test_the_specs_hash_is_of_its_values() -> None:
    same = parse_spec("# a comment\n" + SPEC_70B + "objective: usd_per_hour\n", "another")
    assert spec_sha256(same) == spec_sha256(PLAN.spec)
    assert spec_sha256(parse_spec(SPEC_7B, "x")) != spec_sha256(PLAN.spec)
    assert spec_sha256(parse_spec(SPEC_70B, "x", ["engine.enforce_eager=true"])) != spec_sha256(PLAN.spec)
