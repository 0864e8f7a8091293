"""Load: tokens per second and latencies of one configuration under a burst or a steady load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from planner.throughput.terms import attention_s, prefill_pass_s, request_bytes, step_s

if TYPE_CHECKING:
    from planner.engine import EngineConfig
    from planner.memory.kv_cache import KvCache
    from planner.throughput.constants import Constants
    from planner.throughput.terms import Terms
    from planner.workload import Workload


MOST_BUSY = 0.95


class Speed(Struct, frozen=True):
    """Seconds are means over requests; ``batch`` is the mean number of sequences in a step."""

    output_tokens_per_second: float
    ttft_s: float
    tpot_s: float
    batch: float
    starved: bool  # the KV cache, not the load, bounds the batch


def run_load(terms: Terms, engine: EngineConfig, kv_cache: KvCache, workload: Workload, constants: Constants) -> Speed:
    """The speed under ``workload``: one burst where it names requests, else a closed loop."""
    pool = kv_cache.num_blocks * kv_cache.bytes_per_block - terms.outside_bytes
    capacity = pool / request_bytes(terms, _held_tokens(terms, workload, pool))
    limit = max(1.0, min(capacity, engine.max_num_seqs))
    starved = capacity < min(workload.requests or workload.concurrency, engine.max_num_seqs)
    if workload.requests is None:
        return _closed_loop(terms, engine, workload, limit, starved, constants.api_s)
    return _burst(terms, engine, workload, workload.requests, limit, starved)


def _held_tokens(terms: Terms, workload: Workload, pool_bytes: float) -> float:
    """Tokens that a running request holds in a full KV cache.

    Half of its answer on average where requests are at different points; a burst that nearly fits reaches the end of
    its answers together, and the longer its queue, the more its requests drift apart.
    """
    half = workload.input_tokens + workload.output_tokens / 2
    if workload.requests is None:
        return half
    fits = min(1.0, pool_bytes / request_bytes(terms, half) / workload.requests)
    return half + max(0.0, fits) * workload.output_tokens / 2


def _closed_loop(
    terms: Terms, engine: EngineConfig, workload: Workload, limit: float, starved: bool, api_s: float
) -> Speed:
    """Every answer is followed by a new request: rate = batch x answer / time of one round of answers.

    A round has as many steps as an answer has tokens, or as it takes to pass its prompts through; prompts join as many
    of them as they can, so that short answers see several prompts in one step.
    """
    batch = min(workload.concurrency, limit)
    tokens, answer = workload.input_tokens, workload.output_tokens
    context = tokens + answer / 2
    passes = max(1.0, tokens / engine.max_num_batched_tokens)
    if terms.separate_prefill:
        step = step_s(terms, batch, context)
        steps, shared = float(answer), passes * prefill_pass_s(terms, tokens / passes, 1 / passes) / terms.stages
    else:
        steps = max(answer, batch * tokens / engine.max_num_batched_tokens)
        running = batch * (answer - 1) / steps  # a prompt's pass gives its first token
        joined = min(steps, batch * passes)
        step = step_s(terms, running, context)
        attention = batch / joined * attention_s(terms, tokens)
        shared = joined / batch * (step_s(terms, running, context, batch * tokens / joined, attention) - step)
    prompt = shared * terms.stages  # stages work on different requests at once
    round_s = api_s + steps * step + batch * shared
    rate = batch * answer / round_s
    busy = min(MOST_BUSY, batch * shared / round_s)
    queued = busy / (1 - busy) * shared / 2  # M/D/1: behind other prompts
    joins = step / 2 if batch > 1 else 0.0  # the step that runs when it comes
    first = api_s + joins + step + prompt + queued if answer > 1 else round_s  # one token: the round is its latency
    waiting = max(0.0, workload.concurrency - batch) * answer / rate
    tpot = max(step, (round_s - first) / max(1, answer - 1)) if answer > 1 else step
    return Speed(rate, first + waiting, tpot, batch, starved)


def _burst(terms: Terms, engine: EngineConfig, workload: Workload, requests: int, limit: float, starved: bool) -> Speed:
    """All requests at once; answers of mean m and longest M, (1 - t / M)^(M / m - 1) of them still running at t."""
    mean, longest = workload.output_tokens, workload.output_tokens_max or workload.output_tokens
    tokens = requests * mean
    width = min(requests, limit)
    prompt_tokens = requests * workload.input_tokens
    passes = max(1.0, prompt_tokens / engine.max_num_batched_tokens)
    one_pass = prefill_pass_s(terms, prompt_tokens / passes, requests / passes)
    prefill = one_pass * (passes / terms.stages + 1 - 1 / terms.stages)
    steps = _burst_steps(requests, limit, mean, longest)
    batch = tokens / steps
    step = step_s(terms, batch, workload.input_tokens + mean / 2)
    total = prefill + (steps - 1) * step
    waves = requests / width
    first = prefill / waves / 2 + one_pass / 2  # mean over the first wave
    waiting = (1 - 1 / waves) * total / 2
    return Speed(tokens / total, first + waiting, step, batch, starved)


def _burst_steps(requests: int, limit: float, mean: float, longest: float) -> float:
    """Steps until the last answer ends: the longest where all run at once, else full steps and then a tail.

    The tail is the longest answer less the mean rest of the others when nothing waits any more (renewal theory).
    """
    if requests <= limit:
        return float(longest)
    return requests * mean / limit + longest * longest / (longest + mean)
