"""Load: tokens per second and latencies of one configuration under a burst or a steady load."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.throughput.terms import attention_s, host_s, prefill_pass_s, request_bytes, step_s

if TYPE_CHECKING:
    from planner.engine import EngineConfig
    from planner.memory.kv_cache import KvCache
    from planner.throughput.constants import Constants
    from planner.throughput.terms import Terms
    from planner.workload import Workload


# How many of the others' prompts stand before one's own: a load starts all at once, so that some requests wait for half
# of the others, and later about the square root of them meet. Least error on 820 published first tokens of 4 to 512 in
# flight: gpt-oss-120b, MiniMax-M2.5, Kimi-K2.5, Llama-3.1-70B, Qwen3-32B and Qwen3-235B on H100, H200, B200 and B300
# (ai-dynamo/aiconfigurator). In short runs most requests are of the start and wait longer.
STARTED = 0.03
MET = 0.3


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
    of them as they can, so that short answers see several prompts in one step. It is also what a request takes from
    its first byte to its last: what is left of it after the first token is shared by the other tokens.
    """
    batch = min(workload.concurrency, limit)
    tokens, answer = workload.input_tokens, workload.output_tokens
    context = tokens + answer / 2
    missed = _missed_steps(terms, batch) * (1 - 1 / answer)
    steps = answer + missed
    if terms.separate_prefill:
        step = step_s(terms, batch, context)
        passes = max(1.0, tokens / engine.max_num_batched_tokens)
        joined = min(max(steps * terms.stages, batch * tokens / engine.max_num_batched_tokens), batch * passes)
        one_pass = prefill_pass_s(terms, batch * tokens / joined, batch / joined)
    else:
        steps = max(steps, batch * (tokens + answer - 1) / (engine.max_num_batched_tokens * terms.stages))
        running = batch * (answer - 1) / steps  # a prompt's pass gives its first token
        room = engine.max_num_batched_tokens - running / terms.stages  # running sequences take theirs first
        passes = max(1.0, tokens / room)
        joined = min(steps * terms.stages, batch * passes)
        step = step_s(terms, running, context)
        attention = batch / joined * attention_s(terms, tokens)
        one_pass = step_s(terms, running, context, batch * tokens / joined, attention) - step
    own_passes = max(1.0, joined / batch)
    prompt = _pipelined_s(one_pass, own_passes, terms.stages)
    prompts = _prompts_s(prompt, joined / own_passes, _overlaps(own_passes, terms.stages), steps * step)
    round_s = api_s + steps * step + prompts
    rate = batch * answer / round_s
    busy = prompts / round_s * (1 - 1 / batch)  # by others
    turn = prompts / batch  # what one of them takes, with its share of the steps that it joins
    if not terms.separate_prefill:
        turn += tokens / room / terms.stages * step
    ahead = turn * (busy / (1 - busy) / 2 + _ahead(batch))  # M/D/1, and those that meet
    first = api_s + (1 + missed) * step + prompt + ahead
    # Others' prompts go before all that runs, wherever its answers are; in a shared step none waits for more than one.
    most = prompts / answer if terms.separate_prefill else max(one_pass, prompts / steps)
    held_up = (answer - 1) * most
    first = max(first, round_s - (answer - 1) * step - held_up * min(1.0, batch - 1))
    first = min(first, round_s - (answer - 1) * step)
    waiting = max(0.0, workload.concurrency - batch) * answer / rate
    tpot = (round_s - first) / (answer - 1) if answer > 1 else step
    return Speed(rate, first + waiting, tpot, batch, starved)


def _missed_steps(terms: Terms, batch: float) -> float:
    """Steps that a request waits for when it comes while others run: the rest of the one that runs, and with async
    scheduling also the next, which was scheduled when that one began (EngineCore.step_with_batch_queue)."""
    return min(1.0, batch - 1) * (1.5 if terms.overlap else 0.5)


def _ahead(batch: float) -> float:
    """Prompts of others before one's own where all start at once, see STARTED."""
    return STARTED * (batch - 1) + MET * sqrt(batch - 1)


def _pipelined_s(one_pass: float, passes: float, stages: int) -> float:
    """Seconds of so many passes one after the other, each through all stages; a stage takes the next at once."""
    return one_pass * (passes / stages + 1 - 1 / stages)


def _overlaps(passes: float, stages: int) -> float:
    """How many prompts of so many passes each fill a pipeline."""
    return (passes + stages - 1) / passes


def _prompts_s(prompt: float, prompts: float, overlaps: float, decoding: float) -> float:
    """What a round's prompts add to its ``decoding`` seconds.

    A prompt that comes alone holds up everybody for as long as it takes through all stages; prompts that meet fill the
    pipeline, at most ``overlaps`` at once. They meet the more, the larger their share of the round is: with W seconds
    of prompts one by one, M at most at once and D of decoding, T = W / (1 + (M - 1) T / (D + T)).
    """
    alone, most = prompt * prompts, min(prompts, overlaps)
    rest = decoding - alone
    return (sqrt(rest * rest + 4 * most * alone * decoding) - rest) / (2 * most)


def _burst(terms: Terms, engine: EngineConfig, workload: Workload, requests: int, limit: float, starved: bool) -> Speed:
    """All requests at once; answers of mean m and longest M, (1 - t / M)^(M / m - 1) of them still running at t."""
    mean, longest = workload.output_tokens, workload.output_tokens_max or workload.output_tokens
    tokens = requests * mean
    waves = requests / min(requests, limit)
    prompt_tokens = requests * workload.input_tokens
    passes = max(waves, prompt_tokens / engine.max_num_batched_tokens)
    one_pass = prefill_pass_s(terms, prompt_tokens / passes, requests / passes)
    prefill = max(_pipelined_s(one_pass, passes, terms.stages), passes * host_s(terms, requests / passes))
    steps = _burst_steps(requests, limit, mean, longest)
    batch = tokens / steps
    step = step_s(terms, batch, workload.input_tokens + mean / 2)
    total = prefill + (steps - 1) * step
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
