"""Write benchmarks/RESULTS.md: plans beside what the engine said on real GPUs, from the measured rows that ship.

python benchmarks/results.py            print it
python benchmarks/results.py --write    write it beside this file
python benchmarks/results.py --rows FILE    your own rows instead
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from planner.catalog import load_catalog
from planner.engine import resolve_engine
from planner.measurements import Measurement, read_rows, shipped_measurements
from planner.memory.account import make_memory
from planner.memory.kv_cache import plan_kv_cache, stage_layouts
from planner.model.architectures import make_facts
from planner.spec.schema import EngineSpec, ModelSpec, Spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from planner.catalog import Catalog
    from planner.memory.account import Memory
    from planner.model.facts import ModelFacts

RESULTS = Path(__file__).parent / "RESULTS.md"
GIB = 2**30
NOTE_LOAD = (59, 45, 350)  # requests, tokens in, tokens out of the note's benchmark
INTRODUCTION = """\
# Plans against the real engine

Written by `python benchmarks/results.py --write` from the rows in `planner/catalog/measurements.json`; a test keeps it
so. Each start is vLLM 0.26.0 (torch 2.11.0, CUDA 13) with random weights on H200 GPUs joined by NVLink, 2026-11-23,
without FlashInfer and DeepGEMM. "layers" marks a model cut short, so that more of them could be started.
"""


class Row(NamedTuple):
    """One start beside its plan."""

    start: Measurement
    memory: Memory
    tokens: int


def planned(start: Measurement, catalog: Catalog) -> Row:
    """The plan of exactly what was started."""
    checkpoint = catalog.find_model(start.model)
    if checkpoint is None:
        raise SystemExit(f"{start.model}: not in the catalogue")
    facts = make_facts(replace(checkpoint, config={**checkpoint.config, **start.overrides}))
    gpu, tp, pp = catalog.gpus[start.gpu], start.tensor_parallel_size, start.pipeline_parallel_size
    spec = Spec(
        name="measured",
        model=ModelSpec(repo=start.model, quantization="fp8" if _quantized_at_load(start, facts) else "auto"),
        engine=EngineSpec(
            version=start.engine_version,
            max_model_len=start.max_model_len,
            max_num_seqs=start.max_num_seqs,
            max_num_batched_tokens=start.max_num_batched_tokens,
            kv_cache_dtype="fp8" if start.kv_cache_dtype.startswith("fp8") else "auto",
            enforce_eager=start.enforce_eager,
            gpu_memory_utilization=start.gpu_memory_utilization,
            enable_expert_parallel=start.enable_expert_parallel,
        ),
    )
    engine = resolve_engine(spec, facts, gpu, tp, pp)
    memories = make_memory(facts, gpu, engine, tp, pp)
    layouts = stage_layouts(facts, gpu, engine, tp, pp)
    kv_cache = plan_kv_cache(layouts, [memory.available_kv_bytes for memory in memories], engine)
    return Row(start, memories[0], kv_cache.tokens)


def _quantized_at_load(start: Measurement, facts: ModelFacts) -> bool:
    return start.quantization == "fp8" and not facts.quantization


def results(rows: Sequence[Measurement], catalog: Catalog) -> str:
    """The whole page."""
    starts = [planned(row, catalog) for row in rows if row.available_kv_bytes is not None]
    speeds = [row for row in rows if row.is_speed]
    parts = [INTRODUCTION, memory_part(starts), note_part(speeds, catalog), flags_part(rows), cache_part(rows)]
    return "\n".join([*parts, experts_part(speeds)])


def memory_part(rows: Sequence[Row]) -> str:
    errors = [abs(_kv_error(row)) for row in rows]
    lines = [
        f"## Memory: {len(rows)} starts",
        "",
        "GiB of one GPU, planned / measured. The last column is the error of what is left for the KV cache as a share",
        f"of the memory requested: {mean(errors):.3%} on average, {max(errors):.3%} at worst.",
        "",
        *_table(
            ("model", "TP", "batched tokens", "sequences", "", "weights", "activations", "KV tokens", "left for KV"),
            [_memory_cells(row) for row in rows],
        ),
    ]
    return "\n".join([*lines, ""])


def _memory_cells(row: Row) -> tuple[str, ...]:
    start, memory = row.start, row.memory
    return (
        model_name(start),
        str(start.tensor_parallel_size),
        f"{start.max_num_batched_tokens:,}",
        f"{start.max_num_seqs:,}",
        ", ".join(_conditions(start)),
        _pair(memory.model_loading_bytes, start.model_loading_bytes),
        _pair(memory.peak_activation_bytes, start.peak_activation_bytes),
        f"{row.tokens:,} / {start.kv_cache_tokens:,}" if start.kv_cache_tokens else "-",
        f"{_kv_error(row):+.3%}",
    )


def _conditions(start: Measurement) -> Iterable[str]:
    if start.enforce_eager:
        yield "eager"
    if start.kv_cache_dtype.startswith("fp8"):
        yield "FP8 KV"
    if start.quantization == "fp8" and "FP8" not in start.model:
        yield "FP8 at load"
    if start.enable_expert_parallel:
        yield "expert parallel"


def _kv_error(row: Row) -> float:
    return (row.memory.available_kv_bytes - (row.start.available_kv_bytes or 0)) / row.memory.requested_bytes


def note_part(speeds: Sequence[Measurement], catalog: Catalog) -> str:
    requests, tokens_in, tokens_out = NOTE_LOAD
    rows = [
        row
        for row in speeds
        if (row.requests, row.input_tokens, row.output_tokens) == NOTE_LOAD and "gpuplan bench" in row.source
    ]
    cells = []
    for row in sorted(rows, key=lambda row: row.count):
        usd_per_hour = catalog.offers[row.gpu].usd_per_second * 3600 * row.count
        speed = row.output_tokens_per_second or 0
        cells.append(
            (
                row.model,
                row.gpu,
                str(row.count),
                f"{speed:,.0f}",
                f"{row.output_tokens_per_second_stdev:,.0f}",
                str(row.runs),
                f"${float(usd_per_hour) / speed / 3600 * 1e6:.3f}",
            )
        )
    header = ("model", "GPU", "num_gpus", "avg tok/sec", "stdev", "runs", "$ per million tokens (GPUs alone)")
    return "\n".join(
        [
            "## The note's benchmark",
            "",
            f"{requests} prompts of {tokens_in} tokens through `LLM.generate`, {tokens_out} tokens each:",
            "",
            "    gpuplan bench llama-2-7b.yaml --num-gpus 1,2 --plot note.svg",
            "",
            *_table(header, cells),
            "",
            "![avg tok/sec by number of GPUs](note.svg)",
            "",
        ]
    )


def flags_part(rows: Sequence[Measurement]) -> str:
    """Rendered flags beside bare defaults: output tokens per second of three loads, and seconds to start."""
    kinds: dict[str, list[Measurement]] = {}
    for row in rows:
        if row.note and ("rendered" in row.note or "defaults" in row.note):
            kinds.setdefault(ONE_OF_SEVERAL.sub("", row.note), []).append(row)
    loads = [(1, 128, 128), (59, 45, 350), (256, 512, 128)]
    cells = []
    for kind, group in kinds.items():
        starts = [row.start_s for row in group if row.start_s is not None]
        speeds: dict[tuple[int | None, int | None, int | None], list[Measurement]] = {}
        for row in group:
            speeds.setdefault((row.requests, row.input_tokens, row.output_tokens), []).append(row)
        seconds = ", ".join(f"{start:.0f}" for start in starts)
        cells.append((kind, f"{seconds} s", *(_mean_speed(speeds.get(load, [])) for load in loads)))
    header = ("Llama-3.1-8B on one H200", "until ready", "1 × (128, 128)", "59 × (45, 350)", "256 × (512, 128)")
    words = (
        "What the template renders is what `vllm serve` would take by itself on this GPU, said aloud: no flag here\n"
        "beats the defaults, so none is set. Twice the batched tokens gain nothing; eager starts sooner and serves at\n"
        "a third of the speed. The same flags took from 45 to 73 s to start, more than any difference between flags."
    )
    table = _table(header, cells)
    return "\n".join(
        [
            "## Rendered flags against defaults",
            "",
            "Output tokens per second: mean and spread over the starts, each the mean of two or three runs.",
            "",
            *table,
            "",
            words,
            "",
        ]
    )


ONE_OF_SEVERAL = re.compile(r", (again|start \d+)$")


def _mean_speed(rows: Sequence[Measurement]) -> str:
    speeds = [row.output_tokens_per_second for row in rows if row.output_tokens_per_second is not None]
    if not speeds:
        return "-"
    return f"{mean(speeds):,.0f}" + (f" ± {stdev(speeds):,.0f}" if len(speeds) > 1 else "")


def _speed(row: Measurement | None) -> str:
    if row is None or row.output_tokens_per_second is None:
        return "-"
    spread = row.output_tokens_per_second_stdev
    return f"{row.output_tokens_per_second:,.0f}" + (f" ± {spread:,.0f}" if spread is not None else "")


def cache_part(rows: Sequence[Measurement]) -> str:
    """A second start with the compile cache of the first."""
    kept = [row for row in rows if row.compile_cache == "kept" and row.start_s is not None]
    cells = []
    for row in kept:
        first = next(
            other
            for other in rows
            if other.start_s is not None
            and other.compile_cache == "empty"
            and (other.model, other.count, other.overrides, other.source)
            == (row.model, row.count, row.overrides, row.source)
        )
        for name, one in (("first", first), ("second", row)):
            cells.append((model_name(row), name, f"{one.start_s:.1f} s", f"{one.compile_s:.1f} s"))
    words = "The deployed app keeps vLLM's caches on a volume for this reason."
    return "\n".join(
        ["## Compile cache", "", *_table(("model", "start", "until ready", "torch.compile"), cells), "", words, ""]
    )


def experts_part(speeds: Sequence[Measurement]) -> str:
    """Random weights route alike: the same loads with experts drawn at random."""
    own = {(row.requests, row.input_tokens): row for row in speeds if row.note and "the gate of random" in row.note}
    spread = {(row.requests, row.input_tokens): row for row in speeds if row.flags.get("moe_routing")}
    cells = [
        (
            f"{load[0]} × ({load[1]}, {row.output_tokens})",
            _speed(row),
            _speed(spread[load]),
            f"{(row.output_tokens_per_second or 0) / (spread[load].output_tokens_per_second or 1) - 1:+.0%}",
        )
        for load, row in own.items()
    ]
    words = (
        "`gpuplan measure` lets vLLM draw experts at random (VLLM_MOE_ROUTING_SIMULATION_STRATEGY=uniform_random):\n"
        "with random weights the gate sends most tokens to the same few, and the engine looks faster than it is."
    )
    header = ("Qwen3-30B-A3B, 4 layers, one H200", "experts by the gate", "experts at random", "too fast by")
    return "\n".join(["## Mixtures of experts with random weights", "", *_table(header, cells), "", words, ""])


def model_name(row: Measurement) -> str:
    layers = row.overrides.get("num_hidden_layers")
    return f"{row.model}, {layers} layers" if layers else row.model


def _pair(plan: int, measured: int | None) -> str:
    return f"{plan / GIB:.2f} / {measured / GIB:.2f}" if measured is not None else f"{plan / GIB:.2f} / -"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write benchmarks/RESULTS.md.")
    parser.add_argument("--write", action="store_true", help="write the file instead of printing it")
    parser.add_argument("--rows", type=Path, help="measured rows of your own")
    asked = parser.parse_args()
    rows = read_rows(asked.rows) if asked.rows else shipped_measurements()
    text = results(rows, load_catalog())
    if asked.write:
        RESULTS.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
