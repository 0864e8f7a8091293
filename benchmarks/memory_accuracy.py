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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memory_rows import Models, Row, answer_of, same_code, spec_of, unreliable_fields  # puts the checkout on the path
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.catalog import load_catalog
from planner.checks.memory import check_memory
from planner.engine import resolve_engine
from planner.errors import ModelError
from planner.memory.account import make_memory
from planner.memory.kv_cache import plan_kv_cache, stage_layouts
from planner.model.parameters import count_parameters

GIB = 2**30
LOADING_LIMITS = {"mxfp4": 0.01, "awq": 0.02}  # of measured rows; others 0.005
# what a format's kernels add at load: planned but for the blocks in which repacked tensors come to lie
FORMAT_NOTES = {
    "mxfp4": "Triton's padded scales and fp32 biases are planned; which freed blocks the swizzle reuses is not",
    "awq": "Marlin's own layout is planned; which freed blocks the repacking reuses is not",
}


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
            (judge_starts if "rows" in document else judge_counts)(document, book)
    return 0


@dataclass
class Score:
    """What the rows of one architecture gave."""

    verdicts: list[bool] = field(default_factory=list)
    loading: list[float] = field(default_factory=list)  # relative error of the worst stage
    blocks: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: Score) -> None:
        self.verdicts += other.verdicts
        self.loading += other.loading
        for name, hits in other.blocks.items():
            self.blocks[name] += hits

    def cells(self) -> str:
        """Verdicts, loading within three limits and at worst, bytes per block, blocks and tokens that are exact."""
        within = "".join(f"{sum(error <= limit for error in self.loading):>7}" for limit in (0, 0.001, 0.005))
        worst = f"{max(self.loading):>8.3%}" if self.loading else f"{'-':>8}"
        exact = "".join(f"{ratio(self.blocks[name]):>9}" for name in KV_FIELDS)
        return f"{ratio(self.verdicts):>9}{len(self.loading):>6}{within}{worst}{exact}"


KV_FIELDS = ("kv_bytes_per_block", "num_blocks", "kv_tokens")


def ratio(hits: list[bool]) -> str:
    return f"{sum(hits)}/{len(hits)}" if hits else "-"


def judge_answers(rows: list[Row], book: Models, worst: int) -> None:
    """Rows of vLLM's own answers: verdict and code, weights, KV layout."""
    gpus = load_catalog().gpus
    scores: dict[str, Score] = defaultdict(Score)
    unknown: Counter[str] = Counter()
    wrong: list[str] = []
    for row in rows:
        try:
            facts = book.of(row)
        except ModelError:
            unknown[row.get("architecture") or row["model"]] += 1
            continue
        gpu = next((gpu for name, gpu in gpus.items() if name.startswith(row["gpu"])), None)
        if gpu is None:
            unknown[row["gpu"]] += 1
        elif "all" not in unreliable_fields(row):
            judge_row(row, answer_of(row, facts, gpu), scores[facts.architecture], wrong)
    print_scores(scores)
    for line in wrong[:worst]:
        print("  ", line)
    if unknown:
        print(f"not understood: {sum(unknown.values())} rows of {dict(unknown)}")


def judge_row(row: Row, answer: Any, score: Score, wrong: list[str]) -> None:
    unreliable = unreliable_fields(row)
    if row["valid"] is not None and "valid" not in unreliable:
        right = answer.code is None if row["valid"] else same_code(answer.code, row["failure_class"])
        score.verdicts.append(right)
        if not right:
            wrong.append(f"{row['id']}: vLLM {row['failure_class'] or 'valid'}, plan {answer.code or 'valid'}")
    if row["model_loading_bytes"] and "model_loading_bytes" not in unreliable and answer.loading:
        error = max(abs(a / b - 1) for a, b in zip(answer.loading, row["model_loading_bytes"], strict=True))
        score.loading.append(error)
        if error > 0.001:
            wrong.append(f"{row['id']}: model loading off by {error:.3%}")
    for name, got in kv_answers(answer, valid=row["valid"]):
        if row[name] and name not in unreliable:
            score.blocks[name].append(got == row[name])
            if got != row[name]:
                wrong.append(f"{row['id']}: {name} {got}, vLLM {row[name]}")


def kv_answers(answer: Any, *, valid: bool | None) -> list[tuple[str, Any]]:
    """The KV fields that the planner has an answer to."""
    found: list[tuple[str, Any]] = []
    if answer.layouts:
        found.append(("kv_bytes_per_block", [layout.bytes_per_block for layout in answer.layouts]))
    if answer.cache and valid:
        found += [("num_blocks", answer.cache.num_blocks), ("kv_tokens", answer.cache.tokens)]
    return found


def print_scores(scores: dict[str, Score]) -> None:
    total = Score()
    for score in scores.values():
        total.add(score)
    print(f"{'':<36}{'':>9}{'model loading of each stage':>41}{'exact KV cache':>27}")
    print(
        f"{'architecture':<36}{'verdicts':>9}{'rows':>6}{'exact':>7}{'<=0.1%':>7}{'<=0.5%':>7}{'worst':>8}"
        f"{'B/block':>9}{'blocks':>9}{'tokens':>9}"
    )
    for name, score in (("all", total), *sorted(scores.items())):
        print(f"{name:<36}{score.cells()}")


def judge_starts(document: Row, book: Models) -> None:
    """Rows of real starts: weights, activation peak, what is left for the KV cache, its blocks and tokens."""
    gpus = load_catalog().gpus
    print(
        f"{'row':<30}{'loading':>9}{'activation GiB':>16}{'left for KV GiB':>17}{'of asked':>10}{'tokens':>9}  verdict"
    )
    misses, failed = [], []
    for row in document["rows"]:
        try:
            facts = book.of(row)
        except ModelError as error:
            print(f"{row['name']:<30}{error}")
            continue
        found = next(gpu for name, gpu in gpus.items() if row["gpu"].startswith(name.partition("-")[0]))
        memory, tokens, refused = start_of(row, facts, replace(found, total_bytes=row["total_bytes"]))
        loading = memory.model_loading_bytes / row["model_loading_bytes"] - 1
        activation = memory.peak_activation_bytes - row["peak_activation_bytes"]
        miss = (memory.available_kv_bytes - row["available_kv_bytes"]) / row["requested_bytes"]
        misses.append(abs(miss))
        form = next((form for form in LOADING_LIMITS if form in str(facts.quantization).lower()), "")
        right = bool(refused) != row["started"]
        failed += [f"{row['name']} loading"] * (abs(loading) > LOADING_LIMITS.get(form, 0.005))
        failed += [f"{row['name']} activation"] * (
            abs(activation) > max(0.15 * row["peak_activation_bytes"], 0.15 * GIB)
        )
        failed += [f"{row['name']} KV"] * (abs(miss) > 0.007) + [f"{row['name']} verdict"] * (not right)
        peaks = f"{memory.peak_activation_bytes / GIB:.3f} / {row['peak_activation_bytes'] / GIB:.3f}"
        left = f"{memory.available_kv_bytes / GIB:.2f} / {row['available_kv_bytes'] / GIB:.2f}"
        gained = f"{tokens / row['kv_cache_tokens'] - 1:>+9.2%}" if row["kv_cache_tokens"] else f"{'-':>9}"
        verdict = f"rejected: {refused}" if refused else "valid"
        print(f"{row['name']:<30}{loading:>+9.3%}{peaks:>16}{left:>17}{miss:>+10.3%}{gained}  {verdict}")
        if form and abs(loading) > 0.0001:
            print(f"{'':<30}  {FORMAT_NOTES[form]}")
    if misses:
        print(f"available KV, planned against measured: mean {sum(misses) / len(misses):.3%}, worst {max(misses):.3%}")
    print(f"outside the bounds: {', '.join(failed) or 'nothing'}")


def start_of(row: Row, facts: Any, gpu: Any) -> tuple[Any, int, str | None]:
    """Memory, tokens of the KV cache, and the code of what would refuse the start."""
    tp = row.get("tensor_parallel_size", 1)
    engine = resolve_engine(spec_of({**row, "vllm": row["engine"].split()[-1], "id": row["name"]}), facts, gpu, tp, 1)
    memories = make_memory(facts, gpu, engine, tp, 1)
    refusal = check_memory(Candidate(gpu, None, tp, tp, 1), engine, memories)
    layouts = stage_layouts(facts, gpu, engine, tp, 1)
    cache = plan_kv_cache(layouts, [memory.available_kv_bytes for memory in memories], engine)
    return memories[0], cache.tokens, refusal.code if refusal else None


def judge_counts(document: Row, book: Models) -> None:
    """Counted models: parameters, exact or with the reason of the difference."""
    right, explained, missing, unexplained = 0, 0, Counter(), 0
    for repo, counted in document["models"].items():
        total = counted.get("total_params")
        if not total:
            continue
        try:
            facts = book.get(repo.replace("/", "--", 1))
        except ModelError:
            missing[counted["class"]] += 1
            continue
        got = count_parameters(facts)
        right += got == total
        if got != total:
            reason = explain_difference(got - total, counted, facts)
            explained += reason is not None
            unexplained += reason is None
            print(f"  {repo}: {got:,} here, {total:,} counted: {got - total:+,}: {reason or 'not explained'}")
    print(f"parameters: {right} exact, {explained} explained, {unexplained} not; not understood: {dict(missing)}")


def explain_difference(difference: int, counted: Row, facts: Any) -> str | None:
    """The engine's own reason, where the difference is one that is known."""
    if difference == counted.get("persistent_buffer_elements"):
        return "router correction biases, a parameter to vLLM and a buffer to transformers"
    if not facts.engine_has_class and facts.architecture != counted["class"]:
        return f"vLLM has no {facts.architecture}; counted was {counted['class']} with transformers' defaults"
    return None


if __name__ == "__main__":
    sys.exit(main())
