"""Warnings: what a person should know although the plan is valid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.catalog.price_age import price_warnings
from planner.engine import version_warnings
from planner.engine_flags import flag_warnings
from planner.workload import workload_warnings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from planner.catalog import Catalog
    from planner.model.facts import ModelFacts
    from planner.model.identity import Checkpoint
    from planner.spec import Spec
    from planner.workload import Workload


def plan_warnings(
    spec: Spec, checkpoint: Checkpoint, facts: ModelFacts, workload: Workload, catalog: Catalog, today: date
) -> tuple[str, ...]:
    """Everything worth a warning, in the order spec, model, prices; each one sentence that says what to type."""
    asked = spec.engine.max_model_len
    longest = asked if facts.any_max_model_len and isinstance(asked, int) else facts.max_model_len
    found = [
        *version_warnings(spec.engine.version),
        *_model_warnings(spec, checkpoint),
        *flag_warnings(spec.engine.extra_args),
        *_unknown_flags(spec),
        *workload_warnings(workload, longest),
        *checkpoint.warnings,
        *_header_warnings(checkpoint, facts),
        *facts.notes,
        *price_warnings(catalog, today, spec.region),
    ]
    return tuple(dict.fromkeys(found))


def _model_warnings(spec: Spec, checkpoint: Checkpoint) -> Iterator[str]:
    if spec.model.trust_remote_code:
        yield (
            "model.trust_remote_code: the engine will run Python code that the model's repository ships; "
            "pin model.revision to a commit that you have read."
        )
    if checkpoint.revision is None and checkpoint.source != "path":
        yield (
            "model.revision: unpinned until the hub is reached; plan without --offline, "
            "or set model.revision to a 40-hex commit."
        )


def _unknown_flags(spec: Spec) -> Iterator[str]:
    if spec.engine.extra_args:
        from planner.flag_names import unknown_flags  # most specs have none

        yield from unknown_flags(spec.engine.extra_args, spec.engine.version)


NAMES_SHOWN = 3  # of the tensors that differ, largest first


def _header_warnings(checkpoint: Checkpoint, facts: ModelFacts) -> Iterator[str]:
    """Where the tensors are not those that config.json describes; nothing where they agree or none was read."""
    if not checkpoint.tensors:
        return
    from planner.model.agreement import find_disagreement

    found = find_disagreement(facts, checkpoint.config, checkpoint.tensors)
    if found is None:
        return
    key = "model.path" if checkpoint.source == "path" else "model.repo"
    difference = found.stored_bytes - found.described_bytes
    yield (
        f"{key}: the safetensors headers of {checkpoint.repo} hold {found.stored_bytes:,} bytes of weights where "
        f"config.json describes {found.described_bytes:,}: {abs(difference):,} bytes "
        f"{'more' if difference > 0 else 'fewer'}.{_names('Not described', found.only_stored)}"
        f"{_names('Not stored', found.only_described)} The plan counts what config.json describes; "
        "check that both are of one commit."
    )


def _names(heading: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    rest = len(names) - NAMES_SHOWN
    others = f" and {rest} more" if rest > 0 else ""
    return f" {heading}: {', '.join(names[:NAMES_SHOWN])}{others}."
