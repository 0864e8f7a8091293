"""From the runner's events and the engine's log to measured rows. Pure."""

from __future__ import annotations

import re
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from planner.measurements import Measurement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from planner.measure.job import Job, Load

MEMORY = (
    "total_bytes",
    "free_at_start_bytes",
    "requested_bytes",
    "model_loading_bytes",
    "peak_activation_bytes",
    "non_torch_bytes",
    "cuda_graph_bytes",
    "available_kv_bytes",
)
BLOCKS = ("bytes_per_block", "block_size", "num_blocks", "kv_cache_tokens", "max_concurrency")
PHASES = ("load_s", "compile_s", "capture_s", "start_s")
NUMBER = r"(-?[\d.,]+)"
# vLLM 0.25.0 to 0.33.0: gpu_model_runner.py, compilation/monitor.py, v1/core/kv_cache_utils.py
LOAD_S = re.compile(rf"Model loading took {NUMBER} GiB(?: memory)? and {NUMBER} sec")
COMPILE_S = re.compile(rf"torch\.compile took {NUMBER} s in total")
CAPTURE_S = re.compile(rf"Graph capturing finished in {NUMBER} sec")
TOKENS = re.compile(rf"KV cache size: {NUMBER} tokens")
CONCURRENCY = re.compile(rf"Maximum concurrency for {NUMBER} tokens per request: {NUMBER}x")
ERROR = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception): .+)")
# what is said about a failure elsewhere
SECOND_HAND = ("Engine core initialization failed", "See stack trace", "See root cause", "WorkerProc initialization")
LONGEST_WORDS = 600


class Outcome(Struct, frozen=True):
    """What one job left behind: events in order, the engine's log, and how the runner says it ended."""

    job: Job
    events: Sequence[Mapping[str, Any]]
    log: str
    end: str  # "done", "failed", "timeout", "lost"


def make_rows(outcome: Outcome, *, date: str, source: str) -> tuple[Measurement, ...]:
    """The start's row, then one for each load."""
    start = start_row(outcome, date=date, source=source)
    nothing: dict[str, Any] = dict.fromkeys((*MEMORY, *BLOCKS, *PHASES))
    bare = replace(start, **nothing)
    return (start, *(_load_row(bare, load, events) for load, events in _loads(outcome)))


def start_row(outcome: Outcome, *, date: str, source: str) -> Measurement:
    """Memory, blocks and start-up of one job; where the engine refused, its words."""
    host, settings = _first(outcome, "host"), _first(outcome, "settings")
    started = bool(_first(outcome, "started"))
    memory = _first(outcome, "memory")
    values: dict[str, Any] = {
        **outcome.job.settings,
        **{key: value for key, value in settings.items() if key in SETTINGS},
        **{key: memory.get(key) for key in MEMORY},
        **_blocks(_first(outcome, "kv_cache"), settings, outcome.log),
        **_phases(outcome),
        **{key: host[key] for key in ("torch", "device", "driver") if host.get(key)},
    }
    if host.get("engine_version"):
        values["engine_version"] = plain_version(host["engine_version"])
    return Measurement(
        model=outcome.job.repo,
        gpu=outcome.job.gpu,
        count=outcome.job.count,
        load_format="dummy" if outcome.job.config is not None else "auto",
        date=date,
        source=source,
        started=started,
        refusal=None if started else refusal(outcome),
        **values,
    )


SETTINGS = (
    "dtype",
    "quantization",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "gpu_memory_utilization",
    "enforce_eager",
)


def plain_version(version: str) -> str:
    """0.33.0 of 0.33.0+cu130 or 0.33.1.dev5."""
    return ".".join(version.split("+", maxsplit=1)[0].split(".")[:3])


def refusal(outcome: Outcome) -> str:
    """The engine's own words: its first error that is not about another one."""
    found = [match.group(1).strip() for line in outcome.log.splitlines() if (match := ERROR.search(line))]
    own = [words for words in found if not any(mark in words for mark in SECOND_HAND)]
    words = (own or found or [_first(outcome, "error").get("words") or ""])[0]
    if outcome.end == "timeout":
        words = f"not ready after {outcome.job.timeout_s:.0f} s. {words}".strip()
    return words[:LONGEST_WORDS] or f"the engine ended ({outcome.end}) and said nothing"


def _first(outcome: Outcome, event: str) -> Mapping[str, Any]:
    """Rank 0's event of this kind, {} where there is none."""
    return next((row for row in outcome.events if row["event"] == event and row.get("rank", 0) == 0), {})


def _blocks(kv_cache: Mapping[str, Any], settings: Mapping[str, Any], log: str) -> dict[str, Any]:
    tokens, concurrency = TOKENS.search(log), CONCURRENCY.search(log)
    blocks = kv_cache.get("num_blocks")
    return {
        "num_blocks": blocks,
        "bytes_per_block": kv_cache["total_bytes"] // blocks if blocks else None,
        "block_size": settings.get("block_size"),
        "kv_cache_tokens": int(_number(tokens.group(1))) if tokens else None,
        "max_concurrency": _number(concurrency.group(2)) if concurrency else None,
    }


def _phases(outcome: Outcome) -> dict[str, Any]:
    load, compiled, captured = (pattern.search(outcome.log) for pattern in (LOAD_S, COMPILE_S, CAPTURE_S))
    start = _first(outcome, "started")
    return {
        "load_s": round(_number(load.group(2)), 2) if load else None,
        "compile_s": _number(compiled.group(1)) if compiled else None,
        "capture_s": _number(captured.group(1)) if captured else None,
        "start_s": round(start["seconds"], 2) if start else None,
    }


def _number(text: str) -> float:
    return float(text.replace(",", "").rstrip("."))


def _loads(outcome: Outcome) -> list[tuple[Load, list[Mapping[str, Any]]]]:
    """Each load of the job with its runs, in order; a load that never ran is left out."""
    runs = [row for row in outcome.events if row["event"] == "load"]
    found = []
    for load in outcome.job.loads:
        mine, runs = runs[: load.runs], runs[load.runs :]
        if mine:
            found.append((load, mine))
    return found


def _load_row(start: Measurement, load: Load, runs: Sequence[Mapping[str, Any]]) -> Measurement:
    rates = [run["output_tokens"] / run["seconds"] for run in runs]
    inputs = [run["input_tokens"] for run in runs if run.get("input_tokens")]
    return replace(
        start,
        requests=None if load.in_flight else load.requests,
        concurrency=load.in_flight,
        input_tokens=round(mean(inputs) / load.requests) if inputs else load.input_tokens,
        output_tokens=load.output_tokens if load.in_flight else _answered(load, runs),
        runs=len(runs),
        output_tokens_per_second=round(mean(rates), 2),
        output_tokens_per_second_stdev=round(stdev(rates), 2) if len(rates) > 1 else None,
        ttft_ms=_mean_ms(runs, "ttft_s"),
        tpot_ms=_mean_ms(runs, "tpot_s"),
    )


def _answered(load: Load, runs: Sequence[Mapping[str, Any]]) -> int:
    """Mean tokens of an answer: one's own prompts end where the model ends them."""
    tokens = [int(run["output_tokens"]) for run in runs]
    return max(1, round(mean(tokens) / load.requests))


def _mean_ms(runs: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [run[key] for run in runs if run.get(key) is not None]
    return round(mean(values) * 1000, 2) if values else None
