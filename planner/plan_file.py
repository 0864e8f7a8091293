"""A saved plan: what was decided, from what, and whether that is still true."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NotRequired

from msgspec import Struct
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from planner import __version__
from planner.errors import SpecError
from planner.explain.json import plan_document
from planner.release import spec_sha256
from planner.spec.dump import dump_spec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from planner.plan import Option, Plan
    from planner.rejection import Rejection

KIND = "gpuplan-plan"


class PlanModel(TypedDict):
    """The model of a plan document, as far as a deployment needs it."""

    revision: str | None


class PlanOption(TypedDict):
    """The chosen option, as far as it names the configuration and its price."""

    gpu: str
    count: int
    tensor_parallel_size: int
    pipeline_parallel_size: int
    usd_per_hour: float


class PlanDocument(TypedDict):
    """What must stand in a saved plan; the rest of the document is for people and scripts."""

    spec: str
    spec_path: str
    spec_sha256: str
    model: PlanModel
    chosen: PlanOption
    engine_version: str
    prices_as_of: str | None
    generator: str
    overrides: NotRequired[list[str]]


class SavedPlan(Struct, frozen=True):
    """What a plan file holds. ``split``: GPU type, count, tensor and pipeline parallel size."""

    spec_text: str
    spec_path: str
    spec_sha256: str
    revision: str | None
    engine_version: str
    split: tuple[str, int, int, int]
    usd_per_hour: float
    prices_as_of: str | None
    generator: str
    overrides: tuple[str, ...] = ()  # "key=value", that the spec's file was planned with


def save_plan(plan: Plan, path: Path, *, spec_path: str = "-", overrides: Sequence[str] = ()) -> None:
    """Write the plan of a spec file and what it was overridden with.

    Raises SpecError where it has no valid option, or the file cannot be written.
    """
    if plan.chosen is None:
        raise SpecError([f"{path}: not saved: no configuration is valid, so there is nothing to deploy."])
    document = {
        "kind": KIND,
        "generator": __version__,
        "spec_path": spec_path,
        "spec_sha256": spec_sha256(plan.spec),
        "spec": dump_spec(plan.spec),
        "overrides": list(overrides),
        "engine_version": plan.spec.engine.version,
        **plan_document(plan),
    }
    try:
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise SpecError([f"{path}: {error.strerror}. Name another file."]) from None


def read_plan(path: Path) -> SavedPlan | None:
    """The saved plan in a file, None where it holds something else. Raises SpecError on a damaged plan."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        return None
    from pydantic import TypeAdapter, ValidationError  # only a saved plan pays for it

    try:
        return _saved(TypeAdapter(PlanDocument).validate_python(document))
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(map(str, wrong["loc"]))
        damage = f"{path}: a damaged plan: {key}: {wrong['msg'].lower()}."
        raise SpecError([f"{damage} Make it again: gpuplan plan SPEC --out {path}"]) from None


def _saved(document: PlanDocument) -> SavedPlan:
    chosen = document["chosen"]
    return SavedPlan(
        spec_text=document["spec"],
        spec_path=document["spec_path"],
        spec_sha256=document["spec_sha256"],
        revision=document["model"]["revision"],
        engine_version=document["engine_version"],
        split=(
            chosen["gpu"],
            chosen["count"],
            chosen["tensor_parallel_size"],
            chosen["pipeline_parallel_size"],
        ),
        usd_per_hour=chosen["usd_per_hour"],
        prices_as_of=document["prices_as_of"],
        generator=document["generator"],
        overrides=tuple(document.get("overrides", ())),
    )


def saved_option(saved: SavedPlan, plan: Plan) -> Option | None:
    """The option of today's plan that the saved one chose, None where it is not valid any more."""
    return next((option for option in plan.options if _split(option) == saved.split), None)


def saved_rejection(saved: SavedPlan, plan: Plan) -> Rejection | None:
    """Why today's plan rejects what the saved one chose, None where it does not know it."""
    splits = {
        (one.gpu, one.count, one.tensor_parallel_size, one.pipeline_parallel_size): one for one in plan.rejections
    }
    return splits.get(saved.split)


def stale_reasons(saved: SavedPlan, plan: Plan, file_sha256: str | None) -> list[str]:
    """What changed since the plan was saved, each in a sentence; empty where it is still true.

    ``file_sha256`` is of the spec file as it is now, None where it is not there.
    """
    reasons = []
    if file_sha256 is not None and file_sha256 != saved.spec_sha256:
        reasons.append(f"{saved.spec_path} was edited since; the saved plan has the values of then.")
    if saved.revision and plan.checkpoint.revision and plan.checkpoint.revision != saved.revision:
        reasons.append(
            f"{plan.checkpoint.repo} at {plan.spec.model.revision} is now {plan.checkpoint.revision}, "
            f"planned was {saved.revision}; the planned commit is deployed."
        )
    if plan.spec.engine.version != saved.engine_version:
        reasons.append(
            f"engine.version is {plan.spec.engine.version} by default now, planned was {saved.engine_version}."
        )
    if saved.generator != __version__:
        reasons.append(f"It was saved by gpuplan {saved.generator}, this is {__version__}.")
    option = saved_option(saved, plan)
    if option is None:
        gpu, count, tp, pp = saved.split
        why = lost.reason if (lost := saved_rejection(saved, plan)) else "It is not among today's candidates."
        reasons.append(f"{count}×{gpu} with TP {tp}, PP {pp} is not valid any more: {why}")
        return reasons
    now = float(option.cost.usd_per_hour)
    if abs(now - saved.usd_per_hour) >= 0.005:
        reasons.append(f"It costs ${now:.2f}/h now, planned was ${saved.usd_per_hour:.2f}/h.")
    if plan.prices_as_of and plan.prices_as_of.isoformat() != saved.prices_as_of:
        reasons.append(f"Prices are of {plan.prices_as_of} now, planned was with those of {saved.prices_as_of}.")
    if plan.chosen is not option and plan.chosen is not None:
        best = plan.chosen.candidate
        reasons.append(
            f"{best.count}×{best.sold_as} is the better choice now (${plan.chosen.cost.usd_per_hour:.2f}/h)."
        )
    return reasons


def _split(option: Option) -> tuple[str, int, int, int]:
    candidate = option.candidate
    return candidate.sold_as, candidate.count, candidate.tensor_parallel_size, candidate.pipeline_parallel_size
