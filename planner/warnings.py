"""Warnings: what a person should know although the plan is valid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.catalog.offers import price_warnings
from planner.engine import version_warnings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from planner.catalog import Catalog
    from planner.model.facts import ModelFacts
    from planner.model.identity import Checkpoint
    from planner.spec import Spec


def plan_warnings(
    spec: Spec, checkpoint: Checkpoint, facts: ModelFacts, catalog: Catalog, today: date
) -> tuple[str, ...]:
    """Everything worth a warning, in the order spec, model, prices; each one sentence that says what to type."""
    found = [
        *version_warnings(spec.engine.version),
        *_model_warnings(spec, checkpoint),
        *checkpoint.warnings,
        *facts.notes,
        *price_warnings(catalog, today),
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
