"""Judge one candidate: checks cheapest first, then memory, speed and cost; an Option or a Rejection comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from planner.checks import CHECKS
from planner.checks.kv_cache import check_kv_cache
from planner.checks.memory import check_asked_pool, check_memory
from planner.checks.slo import check_budget, check_slo
from planner.cost import make_cost, make_hour
from planner.engine import in_stages, resolve_engine
from planner.memory.account import Stage, loaded_bytes, make_memory, stage_pools
from planner.memory.kv_cache import highest_concurrency, longest_context, plan_kv_cache, stage_layouts
from planner.plan import Option
from planner.rejection import Rejection
from planner.throughput import predict
from planner.throughput.make_terms import one_stage, terms_in_stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.candidates import Candidate
    from planner.catalog import Gpu
    from planner.catalog.rates import Rates
    from planner.checks.refusal import Refusal
    from planner.cost import Hour
    from planner.engine import EngineConfig
    from planner.measurements import Measurement
    from planner.memory.account import Memory
    from planner.memory.kv_cache import KvLayout
    from planner.model.facts import ModelFacts
    from planner.spec import Spec
    from planner.throughput.terms import Terms
    from planner.workload import Workload


class Question(Struct, frozen=True):
    """What every candidate of one plan is asked: the model, the spec, the load and what is known beside them."""

    spec: Spec
    facts: ModelFacts
    workload: Workload
    rates: Rates
    measurements: Sequence[Measurement] = ()
    assume_kv_bytes: int | None = None  # bytes per GPU; then memory, slo and budget are not judged
    engines: dict[tuple[str, int], EngineConfig] = field(default_factory=dict)  # by GPU and stages, once resolved
    terms: dict[tuple[str, int], Terms] = field(default_factory=dict)  # by GPU and tensor parallel size
    hours: dict[tuple[str, int], Hour] = field(default_factory=dict)  # by GPU as sold and count, once priced

    def engine_of(self, candidate: Candidate) -> EngineConfig:
        """The engine on this GPU; every candidate of a GPU and as many stages runs the same."""
        gpu, tp, pp = candidate.gpu, candidate.tensor_parallel_size, candidate.pipeline_parallel_size
        found = self.engines.get((gpu.name, pp))
        if found is None and pp > 1:
            found = self.engines[gpu.name, pp] = in_stages(self.engine_on(gpu, tp), pp)
        return found or self.engine_on(gpu, tp)

    def engine_on(self, gpu: Gpu, tp: int) -> EngineConfig:
        """The engine on this GPU in one pipeline stage."""
        found = self.engines.get((gpu.name, 1))
        if found is None:
            found = self.engines[gpu.name, 1] = resolve_engine(self.spec, self.facts, gpu, tp, 1)
        return found

    def terms_of(self, candidate: Candidate, engine: EngineConfig) -> Terms:
        """The coefficients of its speed, which do not depend on max_model_len."""
        rank = (candidate.gpu.name, candidate.tensor_parallel_size)
        found = self.terms.get(rank)
        if found is None:
            found = self.terms[rank] = one_stage(self.facts, candidate, engine)
        return terms_in_stages(found, candidate)

    def hour_of(self, candidate: Candidate) -> Hour:
        """What a container of it costs for an hour."""
        sold = (candidate.sold_as, candidate.count)
        found = self.hours.get(sold)
        if found is None:
            found = self.hours[sold] = make_hour(candidate, self.rates, self.spec.resources, self.spec.region)
        return found


def judge(question: Question, candidate: Candidate) -> Option | Rejection:
    """The first rule that fails as a Rejection, else the finished Option."""
    spec, facts = question.spec, question.facts
    tp, pp = candidate.tensor_parallel_size, candidate.pipeline_parallel_size
    engine = question.engine_of(candidate)
    for check in CHECKS:
        if refusal := check(facts, candidate, engine):
            return _rejection(candidate, refusal)

    assumed = question.assume_kv_bytes
    chosen, limit = spec.engine.max_model_len == "auto", engine.max_model_len
    memories = make_memory(facts, candidate.gpu, engine, tp, pp, in_blocks=assumed is None)
    if chosen and facts.is_mla and assumed is None and check_memory(candidate, engine, memories):
        # a shorter context takes a smaller workspace (memory/workspace.py)
        engine = replace(engine, max_model_len=min(limit, question.workload.request_tokens))
        memories = make_memory(facts, candidate.gpu, engine, tp, pp, in_blocks=True)
    if assumed is None and (refusal := check_memory(candidate, engine, memories)):
        return _rejection(candidate, refusal)
    layouts = stage_layouts(facts, candidate.gpu, engine, tp, pp)
    available = stage_pools(engine, memories, layouts, assumed)
    if assumed is None and (refusal := check_asked_pool(candidate, engine, memories, available)):
        return _rejection(candidate, refusal)
    if facts.is_mla and assumed is None:
        from planner.memory.workspace import longest_beside_workspace

        longest = longest_beside_workspace(facts, candidate.gpu, engine, (tp, pp), layouts, available)
    else:
        longest = longest_context(layouts, available, engine)
    if chosen:
        # a context that the load does not fit is none
        least = question.workload.request_tokens if assumed is None else 0
        engine = replace(engine, max_model_len=min(limit, max(longest, least)))
        if facts.is_mla and assumed is None:
            memories = make_memory(facts, candidate.gpu, engine, tp, pp, in_blocks=True)
            available = stage_pools(engine, memories, layouts)
    if refusal := check_kv_cache(layouts, available, engine, longest):
        return _rejection(candidate, refusal)
    return _option(question, candidate, engine, layouts, memories, available, longest)


def _option(
    question: Question,
    candidate: Candidate,
    engine: EngineConfig,
    layouts: Sequence[KvLayout],
    memories: Sequence[Memory],
    available: Sequence[int],
    longest: int,
) -> Option | Rejection:
    spec = question.spec
    kv_cache = plan_kv_cache(layouts, available, engine)
    throughput = predict(
        question.facts,
        candidate,
        engine,
        kv_cache,
        question.workload,
        measurements=question.measurements,
        terms=question.terms_of(candidate, engine),
    )
    cost = make_cost(question.hour_of(candidate), throughput.output_tokens_per_second, question.workload)
    if question.assume_kv_bytes is None:
        refusal = check_slo(spec.slo, throughput) or check_budget(spec.budget, cost)
        if refusal:
            return _rejection(candidate, refusal)
    request_tokens = min(question.workload.request_tokens, engine.max_model_len)
    tp, pp = candidate.tensor_parallel_size, candidate.pipeline_parallel_size
    storages = loaded_bytes(question.facts, candidate.gpu, engine, tp, pp, in_blocks=False)
    limiting = min(range(len(layouts)), key=lambda stage: available[stage] // layouts[stage].bytes_per_block)
    memory = memories[limiting]
    if question.assume_kv_bytes is not None:
        memory = replace(memory, available_kv_bytes=question.assume_kv_bytes)
    return Option(
        candidate=candidate,
        engine=engine,
        stages=tuple(Stage(loading, layout.bytes_per_block) for loading, layout in zip(storages, layouts, strict=True)),
        memory=memory,
        kv_cache=kv_cache,
        throughput=throughput,
        cost=cost,
        longest_context_tokens=longest,
        highest_concurrency=highest_concurrency(layouts, available, engine, request_tokens),
    )


def _rejection(candidate: Candidate, refusal: Refusal) -> Rejection:
    return Rejection(
        gpu=candidate.offer.gpu if candidate.offer else candidate.gpu.name,
        count=candidate.count,
        tensor_parallel_size=candidate.tensor_parallel_size,
        pipeline_parallel_size=candidate.pipeline_parallel_size,
        code=refusal.code,
        reason=refusal.reason,
        needed=refusal.needed,
        available=refusal.available,
    )
