"""make_plan: spec + checkpoint + catalogue in, Plan out. Pure: nothing is read or written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.candidates import enumerate_candidates, unsold_counts
from planner.judge import Question, judge
from planner.model.architectures import make_facts
from planner.model.parameters import count_parameters
from planner.plan import Option, Plan
from planner.ranking import rank_key
from planner.rejection import Rejection
from planner.throughput.measured import rows_of
from planner.warnings import plan_warnings
from planner.workload import make_workload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from decimal import Decimal

    from planner.catalog import Catalog
    from planner.cost import Hour
    from planner.measurements import Measurement
    from planner.model.facts import ModelFacts
    from planner.model.identity import Checkpoint
    from planner.spec import Spec


def make_plan(
    spec: Spec,
    checkpoint: Checkpoint,
    catalog: Catalog,
    *,
    today: date,
    measurements: Sequence[Measurement] = (),
    assume_kv_bytes: int | None = None,
) -> Plan:
    """Judge every candidate of the spec and rank what is valid.

    Raises UnknownArchitectureError where the model cannot be understood; "nothing fits" is a Plan without options.
    """
    facts = make_facts(checkpoint)
    seen = rows_of(measurements, checkpoint.repo)
    question = Question(spec, facts, make_workload(spec, facts), catalog.rates, seen, assume_kv_bytes)
    verdicts = [judge(question, candidate) for candidate in enumerate_candidates(spec.gpu, catalog)]
    options = [verdict for verdict in verdicts if isinstance(verdict, Option)]
    return Plan(
        spec=spec,
        checkpoint=checkpoint,
        facts=facts,
        workload=question.workload,
        parameters=count_parameters(facts),
        options=tuple(sorted(options, key=rank_key(spec.objective, question.workload))),
        rejections=(
            *unsold_counts(spec.gpu, catalog),
            *(verdict for verdict in verdicts if isinstance(verdict, Rejection)),
        ),
        warnings=plan_warnings(spec, checkpoint, facts, question.workload, catalog, today),
        prices_as_of=catalog.prices_as_of,
    )


def find_cheapest(
    spec: Spec,
    facts: ModelFacts,
    catalog: Catalog,
    *,
    seen: Sequence[Measurement] = (),
    below_usd_per_hour: Decimal | None = None,
    hours: dict[tuple[str, int], Hour] | None = None,
) -> Option | None:
    """The valid option of the lowest price per hour, judged from the cheapest candidate on; None where none is.

    ``seen``: measured rows of this model. ``below_usd_per_hour``: only what costs less is looked at. ``hours``: prices
    that are known by GPU and count, for specs that differ in nothing that has a price; added to.
    """
    workload = make_workload(spec, facts)
    question = Question(spec, facts, workload, catalog.rates, seen, hours={} if hours is None else hours)
    candidates = enumerate_candidates(spec.gpu, catalog)
    for candidate in sorted(candidates, key=lambda one: question.hour_of(one).usd):
        price = question.hour_of(candidate).usd
        if below_usd_per_hour is not None and price >= below_usd_per_hour:
            return None
        verdict = judge(question, candidate)
        if isinstance(verdict, Option):
            return verdict
    return None
