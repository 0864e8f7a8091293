"""Published measurements, read from CSV files by path, as arguments of planner.throughput.predict.

Columns: model, dtype, kv_dtype, gpu, n_gpus, tp, pp, dp, input_len, output_len, concurrency_or_batch, mode (closed,
batch, oneshot, poisson<rate>), n_requests, out_len_max, engine, version, output_tok_s, exactness, max_num_seqs, source.
Those of NEEDED must be there; the others may be absent or empty.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from throughput_names import SIXTEEN_BITS, find_facts, find_gpu

from planner.candidates import Candidate
from planner.engine import resolve_engine
from planner.memory.account import make_memory
from planner.memory.kv_cache import plan_kv_cache, stage_layouts
from planner.spec import parse_spec
from planner.throughput import predict
from planner.throughput.constants import CONSTANTS
from planner.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.memory.kv_cache import KvCache
    from planner.model.facts import ModelFacts
    from planner.throughput import Throughput
    from planner.throughput.constants import Constants

Row = dict[str, str]

RELEASED = (  # where a version is not stated, the newest release of the time that is: year, month, version
    ("2026-01", "0.14.0"),
    ("2025-10", "0.11.0"),
    ("2025-05", "0.9.0"),
    ("2025-01", "0.8.0"),
    ("2024-09", "0.6.3"),
    ("2024-01", "0.5.0"),
    ("2023-06", "0.1.3"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement and everything that predicts it."""

    row: Row
    facts: ModelFacts
    candidate: Candidate
    engine: EngineConfig
    kv_cache: KvCache
    workload: Workload
    replicas: int
    arrival_s: float  # mean wait for a request that does not come with the first

    @property
    def measured(self) -> float:
        return float(self.row["output_tok_s"])


class WrongFileError(ValueError):
    """A file that is not what it was given as, and what to give instead."""


NEEDED = (
    "model",
    "dtype",
    "gpu",
    "tp",
    "input_len",
    "output_len",
    "concurrency_or_batch",
    "mode",
    "version",
    "output_tok_s",
)
ABSENT = {
    "kv_dtype": "auto",
    "pp": "1",
    "dp": "1",
    "n_gpus": "",
    "n_requests": "",
    "out_len_max": "",
    "engine": "vllm",
    "exactness": "",
    "max_num_seqs": "",
    "source": "unstated",
}


def read_rows(paths: list[Path]) -> list[Row]:
    """All rows of all files, as text without blanks around it. Raises WrongFileError: which file, what it lacks."""
    return [row for path in paths for row in _read(path)]


def _read(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise WrongFileError(
                    f"{path}: not a CSV of measurements, it has no column {', '.join(missing)}. "
                    f"Needed are {', '.join(NEEDED)}."
                )
            return [_cleaned(row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WrongFileError(f"{path}: cannot be read ({error}). Type the path of a CSV of measurements.") from error


def _cleaned(row: dict[str, str | None]) -> Row:
    stated = {name: (text or "").strip() for name, text in row.items() if isinstance(name, str)}
    whole = {**ABSENT, **{name: text for name, text in stated.items() if text or name not in ABSENT}}
    gpus = whole["n_gpus"] or str(_count(whole, "tp", 1) * _count(whole, "pp", 1) * _count(whole, "dp", 1))
    return {**whole, "n_gpus": gpus}


def _count(row: Row, name: str, otherwise: int) -> int:
    return int(row[name]) if row[name].isdigit() else otherwise


def project(row: Row) -> str:
    """Who measured: the source without commit and path, so that one experiment's rows stay together."""
    return re.split(r"[@ ]", row["source"], maxsplit=1)[0]


def series(row: Row) -> tuple[str, ...]:
    """Rows that differ in load alone."""
    return (project(row), *(row[key] for key in ("gpu", "model", "dtype", "tp", "version")))


def held_out(rows: list[Row]) -> frozenset[tuple[str, ...]]:
    """A third of the series, by a hash of their names, chosen before any was looked at."""

    def place(name: tuple[str, ...]) -> tuple[int, int]:
        number = int(hashlib.sha256("|".join(name).encode()).hexdigest()[:8], 16)
        return number % 3, number

    names = sorted({series(row) for row in rows}, key=place)
    return frozenset(names[: round(len(names) / 3)])


def split(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Rows to fit on, rows held out."""
    held = held_out(rows)
    return [row for row in rows if series(row) not in held], [row for row in rows if series(row) in held]


def make_case(row: Row, facts: ModelFacts | None = None) -> Case:
    """What the planner is asked for one row. Raises ValueError or a planner error where the row is not understood."""
    number = {name: whole_number(row, name) for name in ("tp", "pp", "dp", "concurrency_or_batch")}
    if not re.fullmatch(MODES, row["mode"]):
        raise ValueError(f"no mode {row['mode']!r}; known are closed, batch, oneshot and poisson<requests per second>")
    if "vllm" not in row["engine"].lower():
        raise ValueError(f"measured with {row['engine']}, not with vLLM")
    if not 0 < _number(row["output_tok_s"]) < float("inf"):
        raise ValueError(f"output_tok_s is {row['output_tok_s']!r}, not a number above 0")
    gpu = find_gpu(row["gpu"])
    facts = facts or find_facts(row["model"], row["dtype"])
    mean_in, mean_out, longest = lengths(row)
    longest_answer = whole_number(row, "out_len_max" if row["out_len_max"] else "output_len")
    text = spec_text(row, facts, version_of(row["version"]), whole_number(row, "input_len") + longest_answer)
    spec = parse_spec(text, row["model"])
    tp, pp, dp = number["tp"], number["pp"], number["dp"]
    engine = with_flags(resolve_engine(spec, facts, gpu, tp, pp), row)
    in_flight = number["concurrency_or_batch"]
    burst = row["mode"] != "closed"
    asked = in_flight if row["mode"] == "batch" or not row["n_requests"] else whole_number(row, "n_requests")
    requests = max(1, asked // dp) if burst else None
    rate = re.fullmatch(MODES, row["mode"])
    return Case(
        row=row,
        facts=facts,
        candidate=Candidate(gpu, None, tp * pp, tp, pp),
        engine=engine,
        kv_cache=cache_of(facts, gpu, engine, tp, pp),
        workload=Workload(
            max(1, in_flight // dp), mean_in, mean_out, requests, output_tokens_max=longest if burst else None
        ),
        replicas=dp,
        arrival_s=asked / float(rate[1]) / 2 if rate and rate[1] else 0.0,
    )


MODES = r"closed|batch|oneshot|poisson(\d+\.?\d*)"


def whole_number(row: Row, name: str) -> int:
    """A column that must have a whole number above 0; 1024.0 is one. Raises ValueError naming the column."""
    value = _number(row[name])
    if not value.is_integer() or value < 1:
        raise ValueError(f"{name} is {row[name]!r}, not a whole number above 0")
    return int(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def predict_case(case: Case, constants: Constants = CONSTANTS) -> Throughput:
    """Output tokens per second of the whole set-up, as the row counts them."""
    one = predict(
        case.facts, case.candidate, case.engine, case.kv_cache, case.workload, measurements=(), constants=constants
    )
    share = float(case.replicas)
    if case.arrival_s:
        tokens = (case.workload.requests or 1) * case.workload.output_tokens
        share /= 1 + case.arrival_s * one.output_tokens_per_second / tokens
    return replace(
        one,
        output_tokens_per_second=one.output_tokens_per_second * share,
        low=one.low * share,
        high=one.high * share,
    )


def lengths(row: Row) -> tuple[int, int, int | None]:
    """Mean prompt, mean answer and longest answer, as they were and not as they were asked for.

    InferenceMAX draws lengths evenly between 0.8 and 1.0 of the nominal ones. A longest answer that is only a cap
    on lengths that were themselves estimated says nothing.
    """
    mean_in, mean_out = whole_number(row, "input_len"), whole_number(row, "output_len")
    if is_inference_max(row):
        mean_in, mean_out = round(0.9 * mean_in), round(0.9 * mean_out)
    estimated = "ESTIMATED" in row["exactness"]
    longest = None if estimated or not row["out_len_max"] else max(mean_out, whole_number(row, "out_len_max"))
    return mean_in, mean_out, longest


def is_inference_max(row: Row) -> bool:
    """aiconfigurator's sample keeps InferenceMAX runs under ids that begin with their date."""
    return re.search(r"aiconfigurator.* id=20\d\d_", row["source"]) is not None


def with_flags(engine: EngineConfig, row: Row) -> EngineConfig:
    """What a source is known to have set and its row does not say.

    AccelMark forces quantization="gptq" on its w4a16 checkpoint (suites/suite_C/suite.json); InferenceMAX runs with
    async scheduling, and its FP8 and NVFP4 checkpoints of Llama (NVIDIA's, by ModelOpt) with an FP8 KV cache.
    """
    flags: dict[str, Any] = {}
    if "AccelMark" in row["source"] and row["dtype"] == "w4a16":
        flags["quantization"] = "gptq"
    if is_inference_max(row):
        flags["async-scheduling"] = True
    narrow_kv = is_inference_max(row) and row["dtype"] in {"fp8", "fp4"}
    return replace(engine, extra_args=flags, kv_cache_dtype="fp8" if narrow_kv else engine.kv_cache_dtype)


def cache_of(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int) -> KvCache:
    """The KV cache that the planner expects; what was measured did run, so at least one request fits."""
    layouts = stage_layouts(facts, gpu, engine, tp, pp)
    available = [memory.available_kv_bytes for memory in make_memory(facts, gpu, engine, tp, pp)]
    least = [layout.bytes_per_block * (engine.max_model_len // layout.block_size + 2) for layout in layouts]
    return plan_kv_cache(layouts, [max(*pair) for pair in zip(available, least, strict=True)], engine)


def spec_text(row: Row, facts: ModelFacts, version: str, longest: int) -> str:
    """The row as a spec: vLLM's old default of 0.9 of the memory, a context that holds the row's requests."""
    context = min(facts.max_model_len, max(4096, longest + 16))
    dtype = SIXTEEN_BITS.get(row["dtype"], "auto")
    return (
        f"name: row\nmodel: {{repo: a/b, dtype: {dtype}}}\n"
        f'engine: {{version: "{version}", max_model_len: {context}, max_num_seqs: {row["max_num_seqs"] or 256},'
        f" gpu_memory_utilization: 0.9, kv_cache_dtype: {row['kv_dtype'] or 'auto'}}}\n"
    )


def version_of(text: str) -> str:
    """0.7.3 from "0.7.3", 0.1.3 from "0.1.3+79af7e96", 0.11.0 from "unstated (2025-10)"."""
    if stated := re.match(r"~?(\d+)\.(\d+)(?:\.(\d+))?", text):
        return f"{stated[1]}.{stated[2]}.{stated[3] or 0}"
    day = re.search(r"20\d\d(-\d\d)?", text)
    moment = (day[0] if day else "2026").ljust(7, "~")  # a year alone: its end
    known = next((version for since, version in RELEASED if since <= moment), RELEASED[-1][1])
    return "0.8.0" if moment == "2025~~~" else known  # the middle of a year in which generations changed
