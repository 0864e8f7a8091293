"""Which configurations of a plan are started. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.cost import make_hour
from planner.engine import resolve_engine
from planner.errors import LaunchError
from planner.measure.job import make_job, workload_load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from planner.catalog import Catalog
    from planner.engine import EngineConfig
    from planner.measure.job import Job
    from planner.plan import Option, Plan
    from planner.rejection import Rejection
    from planner.spec import Spec

# Rejections that are about memory: the engine can be started to see what it says.
STARTABLE = frozenset({"memory", "kv_cache", "slo", "budget", "max_model_len", "engine_support", "attention_backend"})


class Subject(Struct, frozen=True):
    """A configuration to start, with the plan's verdict: exactly one of ``option`` and ``rejection`` is set."""

    candidate: Candidate
    engine: EngineConfig
    option: Option | None = None
    rejection: Rejection | None = None

    @property
    def gpu_string(self) -> str:
        """As Modal writes it."""
        return f"{self.candidate.sold_as}:{self.candidate.count}"

    def job(self, plan: Plan, model: str | None, runs: int, timeout_s: float | None) -> Job:
        """The start with the plan's flags under the plan's load; random weights."""
        made = make_job(
            plan.spec, plan.checkpoint, plan.facts, self.candidate, self.engine, [workload_load(plan.workload, runs)]
        )
        if model is not None:
            words = (*made.words, "--load-format", "dummy", "--skip-tokenizer-init")
            made = replace(made, config=None, hf_quant_config=None, model=model, words=words)
        return made if timeout_s is None else replace(made, timeout_s=timeout_s)

    def usd_per_hour(self, catalog: Catalog, spec: Spec) -> Decimal:
        """The price of one container of it."""
        if self.option:
            return self.option.cost.usd_per_hour
        return make_hour(self.candidate, catalog.rates, spec.resources, spec.region).usd


def choose(
    plan: Plan, catalog: Catalog, machine: Sequence[str] | None, *, top: int = 1, anyway: bool = False
) -> tuple[Subject, ...]:
    """The best ``top`` options, of this ``machine``'s GPUs where it is given; with ``anyway`` a rejected one, too.

    Raises LaunchError where there is none.
    """
    options = [option for option in plan.options if machine is None or fits(option.candidate, machine)]
    subjects = [Subject(option.candidate, option.engine, option=option) for option in options[:top]]
    if anyway:
        subjects += _rejected(plan, catalog, machine)[:1]
    if subjects:
        return tuple(subjects)
    if machine is None:
        raise LaunchError(
            f"{plan.spec.name}: the plan has no valid configuration to measure. See `gpuplan plan`; "
            "--anyway starts the first rejected one and shows what the engine says."
        )
    wanted = sorted({f"{option.candidate.count}×{option.candidate.sold_as}" for option in plan.options})
    raise LaunchError(
        f"{plan.spec.name}: no valid configuration is for this machine's {len(machine)}×{machine[0]}; "
        f"the plan has {', '.join(wanted[:6]) or 'none'}. Set gpu.types and gpu.counts, or pass --anyway."
    )


def fits(candidate: Candidate, machine: Sequence[str]) -> bool:
    """Whether the machine has these GPUs."""
    same = [name for name in machine if name.casefold() == candidate.gpu.device_name.casefold()]
    return candidate.count <= len(same)


def _rejected(plan: Plan, catalog: Catalog, machine: Sequence[str] | None) -> list[Subject]:
    found = []
    for rejection in plan.rejections:
        if rejection.code not in STARTABLE or rejection.tensor_parallel_size is None:
            continue
        offer = catalog.offers[rejection.gpu]
        tp, pp = rejection.tensor_parallel_size, rejection.pipeline_parallel_size or 1
        candidate = Candidate(catalog.gpus[offer.planned_as], offer, rejection.count, tp, pp)
        if machine is None or fits(candidate, machine):
            engine = resolve_engine(plan.spec, plan.facts, candidate.gpu, tp, pp)
            found.append(Subject(candidate, engine, rejection=rejection))
    return found
