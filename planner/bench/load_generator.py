"""guidellm, the vLLM project's load generator, as a child process: what it is told, and what its report says.

Chosen over `vllm bench serve` (needs the whole of vLLM, which has no wheels for laptops) and aiperf (needs the model's
tokenizer from the hub, and Python below 3.14): it takes prompts as text, sweeps concurrency or request rate in one run,
counts failures by kind, and computes goodput under an SLO.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from planner.bench.point import Latency, Point

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECT_S = 5.0
FEWEST_ERRORS = 10  # so many failures, or a quarter of the requests, end a load early
SENTENCE = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which "
    "one you were all her she there would their we him been has when who will no more if out so up said what its "
    "about than into them can only other time new some could these two may first then do any like my now over such"
)


class Asked(Struct, frozen=True):
    """What is asked of an endpoint. ``concurrency`` or ``rates`` (requests a second) has the loads, in order."""

    url: str
    model: str
    requests: int  # for each load
    input_tokens: int
    output_tokens: int
    concurrency: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    request_timeout_s: float = 120.0
    load_timeout_s: float = 900.0
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    prompts: tuple[str, ...] = ()

    @property
    def loads(self) -> tuple[str, ...]:
        """The loads by name."""
        return (*(f"{number} in flight" for number in self.concurrency), *(f"{rate:g}/s" for rate in self.rates))


def scenario(asked: Asked, headers: Mapping[str, str], data: str, report: str) -> dict[str, Any]:
    """guidellm's scenario file. Keys and tokens stand in it, so it is written to a private folder and removed."""
    profile = (
        {"kind": "concurrent", "streams": list(asked.concurrency)}
        if asked.concurrency
        else {"kind": "poisson", "rate": list(asked.rates)}
    )
    slo = {"ttft_ms": asked.ttft_ms, "itl_ms": asked.tpot_ms}
    wanted = {key: value for key, value in slo.items() if value is not None}
    return {
        "spec": {
            "backend": {
                "kind": "openai_http",
                "target": asked.url,
                "model": asked.model,
                "request_format": "/v1/completions",
                "timeout": asked.request_timeout_s,
                "timeout_connect": CONNECT_S,
                "verify": True,
                "validate_backend": False,
                "extras": {"headers": dict(headers), "body": {"temperature": 0}},
            },
            "profile": profile,
            "constraints": [
                {"kind": "max_requests", "count": asked.requests},
                {"kind": "max_duration", "seconds": asked.load_timeout_s},
                {"kind": "max_errors", "count": max(FEWEST_ERRORS, asked.requests // 4)},
            ],
            "data": [{"kind": "json_file", "path": data}],
            "metrics": {"kind": "generative", **({"slo": wanted} if wanted else {})},
            "outputs": [{"kind": "json", "path": report}],
        }
    }


def prompt_rows(asked: Asked) -> list[dict[str, Any]]:
    """A prompt for each request; made-up ones are common words, about a token each, and share no beginning."""
    if asked.prompts:
        chosen = [asked.prompts[index % len(asked.prompts)] for index in range(asked.requests)]
    else:
        draw, words = random.Random(0), SENTENCE.split()  # noqa: S311 - no secret; the same prompts each time
        chosen = [" ".join(draw.choices(words, k=asked.input_tokens)) for _ in range(asked.requests)]
    return [{"prompt": prompt, "output_tokens_count": asked.output_tokens} for prompt in chosen]


def read_report(report: Mapping[str, Any], asked: Asked, usd_per_hour: float | None) -> list[Point]:
    """A point for each load of the report."""
    return [
        _point(benchmark, load, asked, usd_per_hour)
        for benchmark, load in zip(report["benchmarks"], asked.loads, strict=False)
    ]


def _point(benchmark: Mapping[str, Any], load: str, asked: Asked, usd_per_hour: float | None) -> Point:
    metrics, totals = benchmark["metrics"], benchmark["metrics"]["request_totals"]
    answered, seconds = totals["successful"], benchmark["duration"] or 0.0
    tokens = _sum(metrics, "output_token_count")
    goodput = _goodput(metrics, answered, seconds) if asked.ttft_ms is not None or asked.tpot_ms is not None else None
    return Point(
        model=asked.model,
        gpu=None,
        num_gpus=None,
        load=load,
        requests=answered,
        failed=totals["errored"] + totals["incomplete"],
        runs=1,
        input_tokens=_sum(metrics, "prompt_token_count") / answered if answered else None,
        output_tokens=tokens / answered if answered else None,
        output_tokens_per_second=tokens / seconds if seconds else 0.0,
        requests_per_second=answered / seconds if seconds else 0.0,
        usd_per_hour=usd_per_hour,
        ttft_ms=_latency(metrics, "time_to_first_token_ms", answered),
        tpot_ms=_latency(metrics, "inter_token_latency_ms", answered),
        e2e_ms=_latency(metrics, "request_latency", answered, scale=1000.0),
        goodput_per_second=goodput,
        slo_share=metrics.get("slo_attainment") if answered else None,
        errors=tuple(_error_kinds(benchmark["requests"]["errored"])),
    )


def _goodput(metrics: Mapping[str, Any], answered: int, seconds: float) -> float:
    share = metrics.get("slo_attainment")
    return (share or 0.0) * answered / seconds if seconds else 0.0


def _sum(metrics: Mapping[str, Any], name: str) -> float:
    return float(metrics[name]["successful"]["total_sum"] or 0.0)


def _latency(metrics: Mapping[str, Any], name: str, answered: int, scale: float = 1.0) -> Latency | None:
    values = metrics[name]["successful"]
    if not answered or not values["count"]:
        return None
    parts = values["percentiles"]
    return Latency(*(number * scale for number in (values["mean"], parts["p50"], parts["p90"], parts["p99"])))


def _error_kinds(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    words = Counter(str((request.get("info") or {}).get("error") or "failed")[:160] for request in requests)
    return [f"{number}× {text}" for text, number in words.most_common(5)]
