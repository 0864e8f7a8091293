"""guidellm, the vLLM project's load generator, as a child process: what it is told, and what its report says.

Chosen over `vllm bench serve` (needs the whole of vLLM, which has no wheels for laptops) and aiperf (needs the model's
tokenizer from the hub, and Python below 3.14): it takes prompts as text, sweeps concurrency or request rate in one run,
counts failures by kind, and computes goodput under an SLO.
"""

from __future__ import annotations

import random
from collections import Counter
from statistics import fmean, quantiles
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
    """From the rows of single requests: guidellm's own sums leave out answers that end after its window closed."""
    requests, share = benchmark["requests"], benchmark["metrics"].get("slo_attainment")
    answers: Sequence[Mapping[str, Any]] = requests["successful"]
    answered, seconds = len(answers), _seconds(answers)
    tokens = _sum(answers, "output_tokens")
    judged = asked.ttft_ms is not None or asked.tpot_ms is not None
    return Point(
        model=asked.model,
        gpu=None,
        num_gpus=None,
        load=load,
        requests=answered,
        failed=len(requests["errored"]) + len(requests["incomplete"]),
        runs=1,
        input_tokens=_sum(answers, "prompt_tokens") / answered if answered else None,
        output_tokens=tokens / answered if answered else None,
        output_tokens_per_second=tokens / seconds if seconds else 0.0,
        requests_per_second=answered / seconds if seconds else 0.0,
        usd_per_hour=usd_per_hour,
        ttft_ms=_latency(answers, "time_to_first_token_ms"),
        tpot_ms=_latency(answers, "inter_token_latency_ms"),
        e2e_ms=_latency(answers, "request_latency", scale=1000.0),
        goodput_per_second=(share or 0.0) * answered / seconds if judged and seconds else None,
        slo_share=share if answered else None,
        errors=tuple(_error_kinds(requests["errored"])),
    )


def _seconds(answers: Sequence[Mapping[str, Any]]) -> float:
    """From the first request to the last answer's end."""
    if not answers:
        return 0.0
    first, last = min(row["request_start_time"] for row in answers), max(row["request_end_time"] for row in answers)
    return float(last - first)


def _sum(answers: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(sum(row[name] or 0 for row in answers))


def _latency(answers: Sequence[Mapping[str, Any]], name: str, scale: float = 1.0) -> Latency | None:
    values = [row[name] * scale for row in answers if row[name] is not None]
    if not values:
        return None
    if len(values) == 1:
        return Latency(*values * 4)
    percentiles = quantiles(values, n=100, method="inclusive")
    return Latency(fmean(values), percentiles[49], percentiles[89], percentiles[98])


def _error_kinds(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    words = Counter(str((request.get("info") or {}).get("error") or "failed")[:160] for request in requests)
    return [f"{number}× {text}" for text, number in words.most_common(5)]
