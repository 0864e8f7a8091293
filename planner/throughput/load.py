"""Load: tokens per second and latencies of one configuration under a burst or a steady load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.throughput.terms import decode_step_s, prompt_work_s, request_bytes

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


def run_load(
    terms: Terms, engine: EngineConfig, kv_cache: KvCache, workload: Workload, constants: Constants
) -> Speed:
    """The speed under ``workload``: one burst where it names requests, else a closed loop."""
    held = workload.input_tokens + constants.kv_growth * workload.output_tokens
    capacity = kv_cache.num_blocks * kv_cache.bytes_per_block / request_bytes(terms, held)
    limit = max(1.0, min(capacity, engine.max_num_seqs))
    if workload.requests is None:
        return _closed_loop(terms, engine, workload, limit)
    return _burst(terms, engine, workload, workload.requests, limit)


def _closed_loop(terms: Terms, engine: EngineConfig, workload: Workload, limit: float) -> Speed:
    batch = min(workload.concurrency, limit)
    context = workload.input_tokens + workload.output_tokens / 2
    step = decode_step_s(terms, batch, context)
    prompt = prompt_work_s(terms, workload.input_tokens)
    if terms.separate_prefill:
        prompt += terms.prompt_pass_s * max(1.0, workload.input_tokens / engine.max_num_batched_tokens)
    round_s = (workload.output_tokens - 1) * step + batch * prompt + (step if batch == 1 else 0.0) * 0
    rate = batch * workload.output_tokens / round_s
    busy = min(0.95, batch * prompt / round_s)
    first = prompt + step * (1.5 if batch > 1 else 0.5) + busy / (1 - busy) * prompt / 2
    waiting = max(0.0, workload.concurrency - batch) * workload.output_tokens / rate
    tpot = max(0.0, batch * workload.output_tokens / rate - first) / max(1, workload.output_tokens - 1)
    return Speed(rate, first + waiting, tpot, batch)


def _burst(terms: Terms, engine: EngineConfig, workload: Workload, requests: int, limit: float) -> Speed:
    mean, longest = workload.output_tokens, workload.output_tokens_max or workload.output_tokens
    tokens = requests * mean
    width = min(requests, limit)
    prompt = prompt_work_s(terms, workload.input_tokens)
    passes = requests * workload.input_tokens / engine.max_num_batched_tokens
    prefill = requests * prompt + max(1.0, passes) * terms.prompt_pass_s
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
