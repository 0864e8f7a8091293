"""Published measurements, read from CSV files by path, as arguments of planner.throughput.predict.

Columns: model, dtype, kv_dtype, gpu, n_gpus, tp, pp, dp, input_len, output_len, concurrency_or_batch, mode (closed,
batch, oneshot, poisson<rate>), n_requests, out_len_max, version, output_tok_s, exactness, max_num_seqs, source.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.candidates import Candidate
from planner.catalog import load_catalog
from planner.engine import resolve_engine
from planner.memory.account import make_memory
from planner.memory.kv_cache import plan_kv_cache, stage_layouts
from planner.model.architectures import make_facts
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

# Names that measurements use, where they are not the catalogue's own.
GPUS = {
    "A10G": "A10",
    "A100-40GB SXM": "A100-40GB",
    "A100-80GB SXM": "A100-80GB",
    "GH200 96GB": "GH200-96GB",
    "H100 NVL": "H100-NVL",
    "H100 PCIe": "H100-PCIe",
    "H100 SXM": "H100",
    "H100-SXM": "H100",
    "H20-3e": "H20-141GB",
    "RTX PRO 6000 Blackwell Server": "RTX-PRO-6000",
    "RTX 4090": "RTX-4090",
    "RTX A6000": "A6000",
    "RTX3090": "RTX-3090",
    "RTX4090": "RTX-4090",
    "RTX4090D": "RTX-4090D",
    "RTX5090": "RTX-5090",
    "RTX6000Ada": "RTX-6000-Ada",
    "V100 SXM2 16/32GB": "V100-32GB",
}
MODELS = {
    "Llama-2-7b": "meta-llama/Llama-2-7b-chat-hf",
    "Llama-2-13b": "meta-llama/Llama-2-13b-hf",
    "Llama-2-70b": "meta-llama/Llama-2-70b-hf",
    "Llama-2-70b-chat": "meta-llama/Llama-2-70b-hf",
    "Llama-3-8B": "meta-llama/Llama-3.1-8B-Instruct",
    "Llama-3-70B": "meta-llama/Llama-3.1-70B-Instruct",
    "Llama-3-405B": "meta-llama/Llama-3.1-405B",
    "Mistral-7B": "mistralai/Mistral-7B-Instruct-v0.3",
    "Mixtral-8x7B": "mistralai/Mixtral-8x7B-Instruct-v0.1",
}
# What a dtype column stands for, as a checkpoint publishes it. fp16 and bf16 are the engine's dtype alone.
MODELOPT = {"quant_method": "modelopt", "exclude_modules": ["lm_head"]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
EIGHT_BITS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
COMPRESSED = {"quant_method": "compressed-tensors", "ignore": ["lm_head"]}
QUANTIZATIONS: dict[str, dict[str, Any]] = {
    "fp8": {**MODELOPT, "quant_algo": "FP8"},
    "fp4": {**MODELOPT, "quant_algo": "NVFP4"},
    "nvfp4": {**MODELOPT, "quant_algo": "NVFP4"},
    "w8a8": {
        **COMPRESSED,
        "format": "int-quantized",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": EIGHT_BITS,
                "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
            }
        },
    },
    "w8a16": {
        **COMPRESSED,
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": EIGHT_BITS}},
    },
    "w4a16": GPTQ,
    "gptq": GPTQ,
    "gptq4": GPTQ,
    "int4": GPTQ,
    "awq": AWQ,
    "awq4": AWQ,
}
OWN_FORMAT = frozenset({"mxfp4"})  # the checkpoint itself is published in it
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


def read_rows(paths: list[Path]) -> list[Row]:
    """All rows of all files."""
    rows: list[Row] = []
    for path in paths:
        with path.open(newline="") as file:
            rows += list(csv.DictReader(file))
    return rows


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
    """What the planner is asked for one row. Raises KeyError or a planner error where the row is not understood."""
    gpu = find_gpu(row["gpu"])
    version = version_of(row["version"])
    facts = facts or find_facts(row["model"], row["dtype"])
    mean_in, mean_out, longest = lengths(row)
    text = spec_text(row, facts, version, int(row["input_len"]) + int(row["out_len_max"] or row["output_len"]))
    spec = parse_spec(text, row["model"])
    tp, pp, dp = int(row["tp"]), int(row["pp"]), int(row["dp"])
    engine = with_flags(resolve_engine(spec, facts, gpu, tp, pp), row)
    concurrency = max(1, int(row["concurrency_or_batch"]) // dp)
    burst = row["mode"] != "closed"
    asked = concurrency if row["mode"] == "batch" or not row["n_requests"] else max(1, int(row["n_requests"]) // dp)
    requests = asked if burst else None
    rate = re.fullmatch(r"poisson([\d.]+)", row["mode"])
    return Case(
        row=row,
        facts=facts,
        candidate=Candidate(gpu, None, tp * pp, tp, pp),
        engine=engine,
        kv_cache=cache_of(facts, gpu, engine, tp, pp),
        workload=Workload(concurrency, mean_in, mean_out, requests, output_tokens_max=longest if burst else None),
        replicas=dp,
        arrival_s=asked * dp / float(rate[1]) / 2 if rate else 0.0,
    )


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
    mean_in, mean_out = int(row["input_len"]), int(row["output_len"])
    if is_inference_max(row):
        mean_in, mean_out = round(0.9 * mean_in), round(0.9 * mean_out)
    estimated = "ESTIMATED" in row["exactness"]
    longest = None if estimated or not row["out_len_max"] else max(mean_out, int(row["out_len_max"]))
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
    return plan_kv_cache(layouts, [max(*pair) for pair in zip(available, least, strict=True)], engine, pp)


def spec_text(row: Row, facts: ModelFacts, version: str, longest: int) -> str:
    """The row as a spec: vLLM's old default of 0.9 of the memory, a context that holds the row's requests."""
    context = min(facts.max_model_len, max(4096, longest + 16))
    dtype = {"fp16": "float16", "bf16": "bfloat16"}.get(row["dtype"], "auto")
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


@lru_cache(maxsize=1)
def _catalog() -> Any:
    return load_catalog()


def find_gpu(name: str) -> Gpu:
    """The catalogue's GPU behind a measurement's name. Raises KeyError."""
    gpu: Gpu = _catalog().gpus[GPUS.get(name, name)]
    return gpu


@lru_cache(maxsize=256)
def find_facts(model: str, dtype: str) -> ModelFacts:
    """Facts of a model in a format. Raises KeyError where the catalogue has no such model or the format no meaning."""
    checkpoint = _catalog().find_model(find_repo(model))
    config = dict(checkpoint.config)
    if dtype not in OWN_FORMAT:
        config.pop("quantization_config", None)
        checkpoint = replace(checkpoint, hf_quant_config=None)
    if dtype in QUANTIZATIONS:
        config["quantization_config"] = QUANTIZATIONS[dtype]
    elif dtype not in OWN_FORMAT | {"fp16", "bf16"}:
        raise KeyError(dtype)
    return make_facts(replace(checkpoint, config=config))


def find_repo(model: str) -> str:
    """org/name as it is, a known short name, or the one repository of the catalogue that is called so."""
    names = _catalog().model_names()
    for name in (model, model.removesuffix("-chat"), model.removesuffix("-Instruct")):
        if name in MODELS or name in names:
            return MODELS.get(name, name)
    wanted = plain_name(model)
    alike = [repo for repo in names if plain_name(repo) == wanted]
    if not alike:
        raise KeyError(model)
    return str(min(alike, key=len))


def plain_name(repo: str) -> str:
    """A name without organization and without what says how it was tuned."""
    name = repo.rsplit("/", 1)[-1].lower()
    return re.sub(r"^meta-|-(instruct|chat|hf|it|v0\.\d)\b|[^a-z0-9.]", "", name)
