"""The catalogues for people: GPUs, prices with their age, models; and the same as documents."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from planner.explain.figures import GIB_BYTES, usd
from planner.explain.grid import grid
from planner.explain.lines import Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from planner.catalog import Catalog, Gpu, Offer
    from planner.catalog.account_plans import AccountPlan
    from planner.model.facts import ModelFacts
    from planner.model.identity import Checkpoint

WIDTH = 80
SECONDS_PER_HOUR = 3600
# part of a published name -> what a table calls it
FORMAT_WORDS = {
    "mixed": "mixed",
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
    "mxfp8": "mxfp8",
    "fp8": "fp8",
    "w4a16_awq": "awq",
    "compressed-tensors": "ct",
    "bfloat16": "bf16",
    "float16": "fp16",
    "float32": "fp32",
}
GPU_HEADER = ("GPU", "GiB", "GB/s", "bf16", "fp8", "fp4", "CC", "link", "sold", "$/h")
PRICE_HEADER = ("price of", "$", "per", "as of", "days", "source")
MODEL_HEADER = ("model", "size", "tokens", "format", "gated")

# kind of row -> (what it is called, its unit, seconds of that unit in one that people read)
RATE_WORDS = {
    "usd_per_cpu_core_second": ("CPU core", "h", SECONDS_PER_HOUR),
    "usd_per_memory_gib_second": ("memory GiB", "h", SECONDS_PER_HOUR),
    "usd_per_volume_gib_month": ("volume GiB", "month", 1),
}
MULTIPLIER_WORDS = {
    "broad_region_multiplier": "a broad region, such as us",
    "narrow_region_multiplier": "a narrow region, such as us-west",
}


def explain_gpus(catalog: Catalog, names: Sequence[str]) -> list[Line]:
    """One row per GPU or alias; TFLOPS are dense."""
    rows = [_gpu_row(catalog, name) for name in names]
    lines = [Line(text) for text in grid(GPU_HEADER, rows, frozenset({0, 7, 8}), indent="")]
    notes = (
        "GiB: what CUDA sees. bf16, fp8, fp4: dense TFLOPS (fp16 where there is no bf16). "
        "CC: compute capability. link: GB/s per direction. sold: GPUs per container."
    )
    aliases = [
        f"{name} is planned as {offer.planned_as}{f': {offer.note}' if offer.note else ''}."
        for name, offer in catalog.offers.items()
        if name in names and name != offer.planned_as
    ]
    return [*lines, *(line for note in (notes, *aliases) for line in _wrapped(note))]


def _gpu_row(catalog: Catalog, name: str) -> tuple[str, ...]:
    offer = catalog.offers.get(name)
    gpu = catalog.gpus[offer.planned_as if offer else name]
    return (
        name,
        f"{gpu.total_bytes / GIB_BYTES:.1f}",
        f"{gpu.memory_bandwidth_gbps:,.0f}",
        _tflops(gpu.bf16_tflops or gpu.fp16_tflops),
        _tflops(gpu.fp8_tflops),
        _tflops(gpu.fp4_tflops),
        f"{gpu.compute_capability // 10}.{gpu.compute_capability % 10}",
        f"{gpu.link} {gpu.link_gbps_per_direction:g}",
        _sold(offer),
        f"{offer.usd_per_second * SECONDS_PER_HOUR:.2f}" if offer else "-",
    )


def _sold(offer: Offer | None) -> str:
    if offer is None:
        return "-"
    counts = offer.counts_sold
    return f"{counts[0]}-{counts[-1]}" if len(counts) > 1 else str(counts[0])


def _tflops(figure: float | None) -> str:
    return f"{figure:,.0f}" if figure else "-"


def gpu_document(gpu: Gpu, offer: Offer | None) -> dict[str, Any]:
    """Everything known of one GPU, each figure's source, and its offer."""
    return {**to_builtins(gpu), "offer": offer_document(offer) if offer else None}


def offer_document(offer: Offer) -> dict[str, Any]:
    """One price."""
    return {
        **to_builtins(offer),
        "usd_per_second": float(offer.usd_per_second),
        "usd_per_hour": float(offer.usd_per_second * SECONDS_PER_HOUR),
        "as_of": offer.as_of.isoformat(),
    }


def explain_version(version: str, catalog: Catalog) -> list[str]:
    """The program's version, then what it knows and how old that is."""
    from planner.engine import DOCUMENTED
    from planner.measurements import shipped_measurements

    rows = shipped_measurements()
    first, last = (".".join(map(str, rules)) for rules in (DOCUMENTED[0], DOCUMENTED[-1]))
    known = (
        ("vLLM", f"{first} to {last}"),
        ("prices", f"{catalog.target}, as of {catalog.prices_as_of}"),
        ("GPUs", f"{sum(offer.listed for offer in catalog.offers.values())} on offer, {len(catalog.gpus)} known"),
        ("models", f"{len(catalog.model_names())} without a network"),
        ("measured", f"{len(rows)} rows, the newest of {max(row.date for row in rows)}"),
    )
    return [f"gpuplan {version}", *(f"  {what:<9} {words}" for what, words in known)]


def explain_prices(catalog: Catalog, plans: Sequence[AccountPlan], today: date) -> list[Line]:
    """Every price with its age and its source, then what multiplies them and what is free."""
    sources: dict[str, int] = {}

    def row(thing: str, dollars: str, unit: str, as_of: date, source: str) -> tuple[str, ...]:
        number = sources.setdefault(source, len(sources) + 1)
        return (thing, dollars, unit, as_of.isoformat(), str((today - as_of).days), f"[{number}]")

    rows = [
        row(name, f"{offer.usd_per_second * SECONDS_PER_HOUR:.4f}", "h", offer.as_of, offer.source)
        for name, offer in catalog.offers.items()
    ]
    for name, (thing, unit, seconds) in RATE_WORDS.items():
        rate = catalog.rates.rows[name]
        rows.append(row(thing, f"{rate.value * seconds:.4f}", unit, rate.as_of, rate.source))
    for name, thing in MULTIPLIER_WORDS.items():
        rate = catalog.rates.rows[name]
        rows.append(row(thing, f"×{rate.value}", "all", rate.as_of, rate.source))
    lines = [Line(text) for text in grid(PRICE_HEADER, rows, frozenset({0, 2, 5}), indent="")]
    lines += [Line(""), *(line for plan in plans for line in _account_plan(plan, sources)), Line("")]
    for source, number in sources.items():
        lines += _wrapped(f"[{number}] {source}", "    ")
    return lines


def _account_plan(plan: AccountPlan, sources: dict[str, int]) -> Iterator[Line]:
    number = sources.setdefault(plan.source, len(sources) + 1)
    yield from _wrapped(
        f"Plan {plan.name}: {usd(plan.usd_per_month)} a month, {usd(plan.credit_usd_per_month)} of credit in it, "
        f"{plan.max_gpus} GPUs and {plan.max_containers:,} containers at once ({plan.as_of}) [{number}]"
    )


def prices_document(catalog: Catalog, plans: Sequence[AccountPlan], today: date) -> dict[str, Any]:
    """The same as values; days count from ``today``."""
    return {
        "target": catalog.target,
        "prices_as_of": catalog.prices_as_of.isoformat() if catalog.prices_as_of else None,
        "offers": [{**offer_document(offer), "days": (today - offer.as_of).days} for offer in catalog.offers.values()],
        "rates": [
            {
                "name": rate.name,
                "value": float(rate.value),
                "as_of": rate.as_of.isoformat(),
                "days": (today - rate.as_of).days,
                "source": rate.source,
            }
            for rate in catalog.rates.rows.values()
        ],
        "plans": [
            {
                **to_builtins(plan),
                "usd_per_month": float(plan.usd_per_month),
                "credit_usd_per_month": float(plan.credit_usd_per_month),
                "as_of": plan.as_of.isoformat(),
            }
            for plan in plans
        ],
    }


def explain_models(rows: Iterable[tuple[Checkpoint, ModelFacts | None, int | None]]) -> list[Line]:
    """One row per model; a dash where its architecture is not known here."""
    cells = [
        (
            checkpoint.repo,
            _parameters(parameters),
            _tokens(facts.max_model_len) if facts else "-",
            format_name(facts) if facts else "-",
            "yes" if checkpoint.gated else "",
        )
        for checkpoint, facts, parameters in rows
    ]
    return [Line(text) for text in grid(MODEL_HEADER, cells, frozenset({0, 3, 4}), indent="")]


def model_document(checkpoint: Checkpoint, facts: ModelFacts | None, parameters: int | None) -> dict[str, Any]:
    """One model of the catalogue."""
    return {
        "repo": checkpoint.repo,
        "revision": checkpoint.revision,
        "gated": checkpoint.gated,
        "checkpoint_bytes": checkpoint.checkpoint_bytes,
        "parameters": parameters,
        "architecture": facts.architecture if facts else None,
        "max_model_len": facts.max_model_len if facts else None,
        "format": format_name(facts) if facts else None,
    }


def format_name(facts: ModelFacts) -> str:
    """How the weights are stored, in one short word."""
    published = facts.quantization or {}
    algorithm = published.get("quant_algo") or (published.get("quantization") or {}).get("quant_algo")
    word = str(algorithm or published.get("quant_method") or facts.dtype).lower()
    return next((short for part, short in FORMAT_WORDS.items() if part in word), word)


def _parameters(number: int | None) -> str:
    if number is None:
        return "-"
    if number < 1e9:
        return f"{number / 1e6:.0f}M"
    return f"{number / 1e9:.1f}B" if number < 1e11 else f"{number / 1e9:.0f}B"


def _tokens(number: int) -> str:
    return f"{number // 1024}k" if number % 1024 == 0 else f"{number:,}"


def _wrapped(text: str, indent: str = "") -> list[Line]:
    return [Line(line, "dim") for line in textwrap.wrap(text, WIDTH, subsequent_indent=indent)]
