"""Load: tokens per second and latencies of one configuration under a burst or a steady load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.throughput.terms import decode_step_s, joined_prompt_s, prefill_pass_s, request_bytes

if TYPE_CHECKING:
    from planner.engine import EngineConfig
    from planner.memory.kv_cache import KvCache
    from planner.throughput.constants import Constants
    from planner.throughput.terms import Terms
    from planner.workload import Workload


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds are means over requests; ``batch`` is the mean number of sequences in a step."""

    output_tokens_per_second: float
    ttft_s: float
    tpot_s: float
    batch: float


def run_load(terms: Terms, engine: EngineConfig, kv_cache: KvCache, workload: Workload, constants: Constants) -> Speed:
    """The speed under ``workload``: one burst where it names requests, else a closed loop."""
    held = workload.input_tokens + constants.kv_growth * workload.output_tokens
    capacity = kv_cache.num_blocks * kv_cache.bytes_per_block / request_bytes(terms, held)
    limit = max(1.0, min(capacity, engine.max_num_seqs))
    if workload.requests is None:
        return _closed_loop(terms, engine, workload, limit)
    return _burst(terms, engine, workload, workload.requests, limit)


def _closed_loop(terms: Terms, engine: EngineConfig, workload: Workload, limit: float) -> Speed:
    batch = min(workload.concurrency, limit)
    tokens, answer = workload.input_tokens, workload.output_tokens
    step = decode_step_s(terms, batch, tokens + answer / 2)
    passes = max(1.0, tokens / engine.max_num_batched_tokens)
    if terms.separate_prefill:
        prompt = passes * prefill_pass_s(terms, tokens / passes, 1 / passes)
    else:
        prompt = joined_prompt_s(terms, tokens, batch - 1, passes)
    round_s = (answer - 1) * step + batch * prompt + step * (not terms.separate_prefill)
    rate = batch * answer / round_s
    busy = min(0.95, batch * prompt / round_s)
    first = prompt + step * (1.5 if batch > 1 else 0.5) + busy / (1 - busy) * prompt / 2
    waiting = max(0.0, workload.concurrency - batch) * answer / rate
    tpot = max(0.0, batch * answer / rate - first) / max(1, answer - 1)
    return Speed(rate, first + waiting, tpot, batch)


def _burst(terms: Terms, engine: EngineConfig, workload: Workload, requests: int, limit: float) -> Speed:
    mean, longest = workload.output_tokens, workload.output_tokens_max or workload.output_tokens
    tokens = requests * mean
    width = min(requests, limit)
    prompt_tokens = requests * workload.input_tokens
    passes = max(1.0, prompt_tokens / engine.max_num_batched_tokens)
    prefill = passes * prefill_pass_s(terms, prompt_tokens / passes, requests / passes)
    # Answers of mean m and longest M are spread so that (1 - t / M)^(M/m - 1) of them still run at step t.
    if requests <= limit:
        steps = float(longest)
    else:
        spread = longest / mean - 1
        steps = tokens / width + longest * (spread + 1) / (spread + 2)
    batch = tokens / steps
    step = decode_step_s(terms, batch, workload.input_tokens + mean / 2)
    total = prefill + max(0.0, steps - 1) * step
    rate = tokens / total
    first_wave = prefill * (width / requests) / 2
    waiting = max(0.0, 1 - width / requests) * total / 2
    return Speed(rate, first_wave + step + waiting, step, batch)
