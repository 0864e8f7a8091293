"""How well plans agree with the engine: verdicts, weights, KV cache, activations and parameters, per architecture.

    python benchmarks/memory_accuracy.py TRUTH... [--models DIR] [--worst N]

TRUTH is any of: a .jsonl of vLLM's own answers for many configurations, a .json of measured starts ("rows"), a .json
of counted models ("models"). Model configs are looked for in models/ and measured_models/ beside each file, or in
--models. A row that says which of its fields are unreliable is not judged by those.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from planner.candidates import Candidate  # noqa: E402 - runs from a checkout, installed or not
from planner.catalog import load_catalog  # noqa: E402
from planner.checks import CHECKS  # noqa: E402
from planner.checks.kv_cache import check_kv_cache  # noqa: E402
from planner.engine import resolve_engine  # noqa: E402
from planner.errors import ModelError  # noqa: E402
from planner.memory.account import make_memory  # noqa: E402
from planner.memory.kv_cache import longest_context, plan_kv_cache, stage_layouts  # noqa: E402
from planner.memory.weights import stage_loading_bytes  # noqa: E402
from planner.model.architectures import make_facts  # noqa: E402
from planner.model.folder import read_folder  # noqa: E402
from planner.model.parameters import count_parameters  # noqa: E402

Row = dict[str, Any]
# the engine's failure -> the plan's code that says the same
SAME = {
    "heads": "attention_heads",
    "vocab": "dimension",
    "shard_width": "dimension",
    "quant_shape": "quantization_shard",
    "quant_capability": "capability",
    "kv_dtype": "attention_backend",
    "kv_fit": "kv_cache",
    "trust_remote_code": "engine_support",
    "quant_deprecated": "engine_support",
    "arch_removed": "engine_support",
    "arch_unsupported": "engine_support",
}
WIDTH_CODES = {"attention_heads", "kv_heads", "dimension"}  # where several fail, any of them is right
DTYPES = {"half": "float16"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--models", type=Path, help="folder of folders with config.json")
    parser.add_argument("--worst", type=int, default=12, help="how many of the worst rows to print")
    arguments = parser.parse_args()
    for path in arguments.truth:
        folders = [arguments.models] if arguments.models else [path.parent / "models", path.parent / "measured_models"]
        book = Models([folder for folder in folders if folder.is_dir()])
        print(f"== {path.name}")
        if path.suffix == ".jsonl":
            judge_answers([json.loads(line) for line in path.read_text().splitlines()], book, arguments.worst)
        else:
            document = json.loads(path.read_text())
            (judge_starts if "rows" in document else judge_counts)(document, book, arguments.worst)
    return 0


class Models:
    """Facts by folder name; what cannot be understood is remembered with its reason."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders, self.facts, self.refused = folders, {}, {}

    def get(self, name: str, trust: bool = False) -> Any:
        key = (name, trust)
        if key not in self.facts:
            folder = next((one / name for one in self.folders if (one / name / "config.json").is_file()), None)
            if folder is None:
                raise ModelError(f"{name}: no config.json")
            self.facts[key] = make_facts(read_folder(folder, name.replace("--", "/", 1)))
        return self.facts[key]


def spec_of(row: Row) -> Any:
    """The settings of a row in the spec's shape."""
    given = row.get("mbt_seqs_given", True)
    extra = {"language-model-only": True} if row.get("language_model_only") else {}
    if "-allowdep" in str(row.get("id")):
        extra["allow-deprecated-quantization"] = True
    return SimpleNamespace(
        model=SimpleNamespace(
            dtype=DTYPES.get(row.get("dtype", "auto"), row.get("dtype", "auto")),
            quantization=row.get("quantization") or "auto",
            trust_remote_code="-trust" in str(row.get("id")),
        ),
        engine=SimpleNamespace(
            version=row["vllm"],
            max_model_len=row.get("max_model_len"),
            max_num_seqs=row.get("max_num_seqs") if given else None,
            max_num_batched_tokens=row.get("max_num_batched_tokens") if given else None,
            kv_cache_dtype=row.get("kv_cache_dtype") or "auto",
            gpu_memory_utilization=row.get("gpu_memory_utilization", 0.92),
            enforce_eager=bool(row.get("enforce_eager")),
            enable_prefix_caching=not str(row.get("id")).endswith("-nopc") and row.get("prefix_caching", True),
            enable_expert_parallel=bool(row.get("ep")),
            extra_args=extra,
        ),
    )


def judge_answers(rows: list[Row], book: Models, worst: int) -> None:
    """Rows of vLLM's own answers: verdict and code, weights, KV layout."""
    catalog = load_catalog()
    unknown: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    loading, wrong = defaultdict(list), []
    exact: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        try:
            facts = book.get(row["model"])
        except ModelError:
            unknown[row.get("architecture") or row["model"]] += 1
            continue
        gpu = next((gpu for name, gpu in catalog.gpus.items() if name.startswith(row["gpu"])), None)
        if gpu is None:
            unknown[row["gpu"]] += 1
            continue
        unreliable = set(row["unreliable_fields"] or ()) if not row["reliable"] else set()
        answer = answer_of(row, facts, gpu)
        if row["valid"] is not None and "valid" not in unreliable:
            right = answer.code is None if row["valid"] else same_code(answer.code, row["failure_class"])
            verdicts["right" if right else "wrong"] += 1
            if not right:
                wrong.append(f"{row['id']}: vLLM {row['failure_class'] or 'valid'}, plan {answer.code or 'valid'}")
        if row["model_loading_bytes"] and "model_loading_bytes" not in unreliable and answer.loading:
            error = max(abs(a / b - 1) for a, b in zip(answer.loading, row["model_loading_bytes"], strict=True))
            loading[facts.architecture].append((error, row["id"]))
        compare_cache(row, answer, unreliable, exact, wrong)
    print(f"verdicts: {verdicts['right']} right, {verdicts['wrong']} wrong")
    errors = sorted((error for group in loading.values() for error in group), reverse=True)
    print_loading(loading, errors, worst)
    for name, hits in exact.items():
        print(f"{name:<20} exact {sum(hits)} of {len(hits)}")
    for line in wrong[:worst]:
        print("  ", line)
    if unknown:
        print(f"not understood: {sum(unknown.values())} rows of {dict(unknown)}")


def same_code(code: str | None, failure: str | None) -> bool:
    """Whether the plan's code says what the engine said."""
    wanted = SAME.get(str(failure), failure)
    return code == wanted or (code in WIDTH_CODES and wanted in WIDTH_CODES)


def answer_of(row: Row, facts: Any, gpu: Any) -> Any:
    """What the planner says of one row, given the row's KV bytes."""
    tp, pp = row["tp"], row["pp"]
    engine = replace(resolve_engine(spec_of(row), facts, gpu, tp, pp), flashinfer=row.get("flashinfer", "on") == "on")
    candidate = Candidate(gpu, None, tp * pp, tp, pp)
    code = next((refusal.code for check in CHECKS if (refusal := check(facts, candidate, engine))), None)
    if code and code != "max_model_len":
        return SimpleNamespace(code=code, loading=None, cache=None, layouts=())
    layouts = stage_layouts(facts, gpu, engine, tp, pp)
    available = [row["available_kv_bytes"] or 0] * pp
    cache = None
    if code is None and row["available_kv_bytes"] is not None:
        refusal = check_kv_cache(layouts, available, engine, pp, longest_context(layouts, available, engine, pp))
        code = refusal.code if refusal else None
        cache = plan_kv_cache(layouts, available, engine, pp) if refusal is None else None
    loading = stage_loading_bytes(facts, gpu, engine, tp, pp)
    return SimpleNamespace(code=code, loading=loading, cache=cache, layouts=layouts)


def compare_cache(row: Row, answer: Any, unreliable: set[str], exact: dict[str, list[bool]], wrong: list[str]) -> None:
    per_block = row["kv_bytes_per_block"]
    if per_block and answer.layouts and "kv_bytes_per_block" not in unreliable:
        got = [layout.bytes_per_block for layout in answer.layouts]
        exact["bytes per block"].append(got == per_block)
        if got != per_block:
            wrong.append(f"{row['id']}: bytes per block {got}, vLLM {per_block}")
    if row["num_blocks"] and answer.cache and row["valid"]:
        for name, got in (("num_blocks", answer.cache.num_blocks), ("kv_tokens", answer.cache.tokens)):
            if name not in unreliable:
                exact[name].append(got == row[name])
                if got != row[name]:
                    wrong.append(f"{row['id']}: {name} {got}, vLLM {row[name]}")


def print_loading(loading: dict[str, list[tuple[float, str]]], errors: list[tuple[float, str]], worst: int) -> None:
    print(f"{'model loading':<40}{'rows':>6}{'exact':>7}{'<=0.1%':>8}{'<=0.5%':>8}{'worst':>9}")
    for architecture, group in (("all", errors), *sorted(loading.items())):
        values = [error for error, _ in group]
        counts = [sum(value <= limit for value in values) for limit in (0, 0.001, 0.005)]
        print(f"{architecture:<40}{len(values):>6}{counts[0]:>7}{counts[1]:>8}{counts[2]:>8}{max(values):>9.3%}")
    for error, name in errors[:worst]:
        if error > 0.001:
            print(f"   {error:.3%} {name}")


def judge_starts(document: Row, book: Models, worst: int) -> None:  # noqa: ARG001 - every row is printed
    """Rows of real starts: weights, activation peak and what is left for the KV cache."""
    catalog = load_catalog()
    gpus = {name: catalog.gpus[name] for name in ("H100", "H200", "A100-80GB", "A100-40GB", "L4", "A10", "T4")}
    print(f"{'row':<34}{'loading':>9}{'activation GiB':>20}{'left for KV GiB':>20}{'of requested':>13}")
    misses = []
    for row in document["rows"]:
        try:
            facts = book.get(row["model"])
        except ModelError as error:
            print(f"{row['name']:<34}{error}")
            continue
        gpu = replace(next(gpus[name] for name in gpus if row["gpu"].startswith(name)), total_bytes=row["total_bytes"])
        tp = row.get("tensor_parallel_size", 1)
        asked = {**row, "vllm": row["engine"].split()[-1], "id": row["name"]}
        engine = resolve_engine(spec_of(asked), facts, gpu, tp, 1)
        memory = make_memory(facts, gpu, engine, tp, 1)[0]
        miss = (memory.available_kv_bytes - row["available_kv_bytes"]) / row["requested_bytes"]
        misses.append(abs(miss))
        activation = f"{memory.peak_activation_bytes / 2**30:.3f} / {row['peak_activation_bytes'] / 2**30:.3f}"
        left = f"{memory.available_kv_bytes / 2**30:.2f} / {row['available_kv_bytes'] / 2**30:.2f}"
        loading = memory.model_loading_bytes / row["model_loading_bytes"] - 1
        print(f"{row['name']:<34}{loading:>+9.3%}{activation:>20}{left:>20}{miss:>+13.3%}")
    if misses:
        print(f"available KV, planned against measured: mean {sum(misses) / len(misses):.3%}, worst {max(misses):.3%}")


def judge_counts(document: Row, book: Models, worst: int) -> None:  # noqa: ARG001 - every difference is printed
    """Counted models: parameters."""
    right, missing = 0, []
    for repo, counted in document["models"].items():
        total = counted.get("total_params")
        if not total:
            continue
        try:
            got = count_parameters(book.get(repo.replace("/", "--", 1)))
        except ModelError:
            missing.append(counted["class"])
            continue
        right += got == total
        if got != total:
            print(f"  {repo}: {got:,} here, {total:,} counted: {explain_difference(got - total, counted)}")
    print(f"parameters: {right} exact; not understood: {dict(Counter(missing))}")


def explain_difference(difference: int, counted: Row) -> str:
    """The engine's own reason, where the difference is one that is known."""
    if difference == counted.get("persistent_buffer_elements") or 0 < difference < 100_000:
        return f"{difference:,} more: router correction biases, a parameter to vLLM and a buffer to transformers"
    return f"{difference:+,}: not explained"


if __name__ == "__main__":
    sys.exit(main())
