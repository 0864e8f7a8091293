"""A plan for people: the choice, its memory, the next best, why the rest lost, and what would change it."""

from __future__ import annotations

import textwrap
from itertools import islice
from typing import TYPE_CHECKING

from planner.cost import HOURS_PER_MONTH
from planner.explain.figures import HOURS_PER_DAY, count, gib, gpus, milliseconds, short_count, speed, usd
from planner.explain.grid import grid
from planner.explain.lines import Line
from planner.explain.misses import Miss, group_misses
from planner.explain.money import month_lines, sweet_spot_lines
from planner.sweet_spot import find_sweet_spot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from planner.hints import Hint
    from planner.month import Month
    from planner.plan import Option, Plan

WIDTH = 80
RUNNERS_UP = 6
BAR_CELLS = 24
MOST_NAMED = 3  # specs that a shared warning names, before it only counts them


def explain_plan(plan: Plan, hints: Sequence[Hint] = (), month: Month | None = None) -> list[Line]:
    """The plan as lines of at most 80 columns."""
    lines = [*_headline(plan), Line("")]
    if plan.chosen:
        lines += [*_choice(plan, plan.chosen), *sweet_spot_lines(find_sweet_spot(plan.options)), Line("")]
        lines += [*_memory(plan, plan.chosen), Line(""), *month_lines(plan, month), *_runners_up(plan)]
    else:
        lines += [Line(_no_option(plan), "warn")]
    lines += [*_rejections(plan), *_hints(hints), *_prices(plan)]
    return lines


def _headline(plan: Plan) -> Iterator[Line]:
    size = [f"{count(plan.parameters)} parameters"]
    if plan.checkpoint.checkpoint_bytes:
        size.append(gib(plan.checkpoint.checkpoint_bytes))
    settings = [f"vLLM {plan.spec.engine.version}"]
    if plan.chosen:
        engine = plan.chosen.engine
        settings += [engine.quantization or engine.dtype, f"{count(engine.max_model_len)} tokens of context"]
    yield Line(plan.spec.model.repo, "title")
    yield Line("  " + " · ".join(size))
    yield Line("  " + " · ".join(settings))
    revision = plan.checkpoint.revision or "unpinned"
    yield Line(f"  facts from the {plan.checkpoint.source}, revision {revision}", "dim")


def _choice(plan: Plan, option: Option) -> Iterator[Line]:
    candidate, cost = option.candidate, option.cost
    yield Line(f"{gpus(candidate.sold_as, candidate.count)}  {_split(option)}", "good")
    monthly = cost.usd_per_hour * HOURS_PER_MONTH
    yield Line(
        f"  {usd(cost.usd_per_hour)}/h   {usd(cost.usd_per_hour * HOURS_PER_DAY)}/day   {usd(monthly)}/month always on"
    )
    yield Line("  " + " + ".join(f"{line.name} {usd(line.usd)}" for line in cost.lines), "dim")
    yield Line(f"  {_speed_sentence(option)}")
    load = plan.workload
    burst = f"one burst of {load.requests}" if load.requests else f"{load.concurrency} in flight"
    yield Line(
        f"  for {burst}, {load.input_tokens} tokens in and {load.output_tokens} out each;"
        f" {usd(cost.usd_per_million_output_tokens)}/M output tokens",
        "dim",
    )
    if option.throughput.note:
        yield from _wrapped(option.throughput.note, "dim")
    if crowd := _crowd(option, load.requests or load.concurrency):
        yield from _wrapped(crowd, "warn")
    if cost.usd_per_million_input_tokens is not None and cost.usd_per_request is not None:
        yield Line(
            f"  the same money as {usd(cost.usd_per_million_input_tokens)}/M input tokens, or"
            f" {usd(1000 * cost.usd_per_request)} per 1,000 requests",
            "dim",
        )


def _speed_sentence(option: Option) -> str:
    speeds = option.throughput
    return (
        f"{speed(speeds.output_tokens_per_second)} tok/s ({speed(speeds.low)} to {speed(speeds.high)},"
        f" {speeds.provenance}), first token {milliseconds(speeds.ttft_ms)},"
        f" then {milliseconds(speeds.tpot_ms)} each"
    )


def _crowd(option: Option, asked: int) -> str:
    """Who waits where not all of the load run at once, and for what; empty where they do."""
    running, seqs = option.throughput.batch_size, option.engine.max_num_seqs
    if running > asked - 1:
        return ""
    full = max(running, option.highest_concurrency) > 0.99 * seqs
    room = f"max_num_seqs is {count(seqs)}" if full else "the KV cache holds no more"
    return f"about {count(max(1, round(running)))} of {count(asked)} run at a time: {room}; the others wait"


def _wrapped(sentence: str, style: str) -> Iterator[Line]:
    for text in textwrap.wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False):
        yield Line(text, style)


def _split(option: Option) -> str:
    candidate = option.candidate
    parts = [f"tensor_parallel_size {candidate.tensor_parallel_size}"]
    if candidate.pipeline_parallel_size > 1:
        parts.append(f"pipeline_parallel_size {candidate.pipeline_parallel_size}")
    return ", ".join(parts)


def _memory(plan: Plan, option: Option) -> Iterator[Line]:
    memory, cache = option.memory, option.kv_cache
    yield Line(
        f"Memory of each GPU: {gib(memory.total_bytes)}, of which vLLM takes {gib(memory.requested_bytes)}"
        f" ({option.engine.gpu_memory_utilization:.0%})"
    )
    parts = [
        ("weights", memory.model_loading_bytes),
        ("activations", memory.peak_activation_bytes),
        ("CUDA graphs", memory.cuda_graph_bytes),
        ("other", memory.non_torch_bytes),
        ("KV cache", memory.available_kv_bytes),
    ]
    for name, nbytes in parts:
        if nbytes:
            cells = round(BAR_CELLS * nbytes / memory.requested_bytes)
            yield Line(f"  {name:<12}{gib(nbytes):>11}  {'█' * cells or '▏'}")
    yield Line(
        f"  The KV cache holds {count(cache.tokens)} tokens: {cache.max_concurrency:.2f} requests of"
        f" {count(option.engine.max_model_len)}.",
    )
    yield Line(f"  Longest max_model_len that would start: {count(option.longest_context_tokens)}.", "dim")
    yield Line(
        f"  Highest concurrency: {count(option.highest_concurrency)} requests of {count(plan.workload.request_tokens)}"
        f" tokens (max_num_seqs {count(option.engine.max_num_seqs)}).",
        "dim",
    )


def _runners_up(plan: Plan) -> Iterator[Line]:
    others = tuple(islice(plan.options, 1, 1 + RUNNERS_UP))
    if not others:
        return
    yield Line(f"Next best of {len(plan.options)} valid, by {plan.spec.objective}", "title")
    header = ("GPUs", "TP×PP", "$/h", "$/M", "tok/s", "TTFT", "TPOT", "ctx", "conc.")
    for text in grid(header, [_runner_up(option) for option in others]):
        yield Line(text)
    yield Line("  $/M: output tokens; ctx: longest max_model_len; conc.: most requests at once", "dim")
    yield Line("")


def _runner_up(option: Option) -> tuple[str, ...]:
    candidate, speeds = option.candidate, option.throughput
    return (
        gpus(candidate.sold_as, candidate.count),
        f"{candidate.tensor_parallel_size}×{candidate.pipeline_parallel_size}",
        usd(option.cost.usd_per_hour),
        usd(option.cost.usd_per_million_output_tokens),
        speed(speeds.output_tokens_per_second),
        milliseconds(speeds.ttft_ms),
        milliseconds(speeds.tpot_ms),
        short_count(option.longest_context_tokens),
        count(option.highest_concurrency),
    )


def _no_option(plan: Plan) -> str:
    total = len(plan.rejections)
    return f"No valid configuration: all {total} were rejected."


def _rejections(plan: Plan) -> Iterator[Line]:
    if not plan.rejections:
        return
    total = len(plan.rejections) + len(plan.options)
    yield Line(
        f"Rejected: {len(plan.rejections)} of {total}, by the first rule that failed; the closest of each", "title"
    )
    yield from rejection_lines(plan)
    yield Line("")


def rejection_lines(plan: Plan) -> Iterator[Line]:
    """The rejected, grouped by reason, each with its closest miss."""
    for miss in group_misses(plan.rejections):
        yield from _miss(miss)


def _miss(miss: Miss) -> Iterator[Line]:
    head = f"  {miss.code:<19}{miss.number:>4}  "
    for text in textwrap.wrap(miss.sentence, WIDTH, initial_indent=head, subsequent_indent=" " * len(head)):
        yield Line(text)


def _hints(hints: Sequence[Hint]) -> Iterator[Line]:
    if not hints:
        return
    yield Line("What would change it", "title")
    for hint in hints:
        for text in textwrap.wrap(hint.sentence, WIDTH, initial_indent="  ", subsequent_indent="    "):
            yield Line(text)
    yield Line("")


def _prices(plan: Plan) -> Iterator[Line]:
    if plan.prices_as_of:
        yield Line(f"Prices as of {plan.prices_as_of}.", "dim")


def warning_lines(plan: Plan) -> Iterator[Line]:
    """What goes to standard error beside a plan."""
    yield from wrapped_warnings(plan.warnings)


def comparison_warnings(plans: Sequence[Plan]) -> Iterator[Line]:
    """What goes to standard error beside a comparison: each warning once, with the specs that it is about."""
    about: dict[str, list[str]] = {}
    for plan in plans:
        for warning in plan.warnings:
            about.setdefault(warning, []).append(plan.spec.name)
    for warning, names in about.items():
        if len(plans) == 1:
            whose = ""
        elif len(names) > MOST_NAMED:
            whose = f"{len(names)} of {len(plans)} specs: "
        else:
            whose = f"{', '.join(names)}: "
        yield from wrapped_warnings([whose + warning])


def wrapped_warnings(warnings: Iterable[str]) -> Iterator[Line]:
    """Each within the width of the page."""
    for warning in warnings:
        for text in textwrap.wrap(f"warning: {warning}", WIDTH, subsequent_indent="  "):
            yield Line(text, "warn")
