"""Hold the speed model against published measurements.

    python benchmarks/throughput_accuracy.py CSV... [--measured MEASURED.json] [--quick] [--rows]

Prints errors on the series held out from fitting (a third, chosen by a hash of their names), on those fitted and on
all; coverage of the 90 % interval; the order of dollars per token and what following the cheapest prediction costs.
Then it refits without each GPU and without each source in turn, the honest figures for what no row shows (needs scipy,
takes a minute or two; --quick leaves it out). MEASURED.json: engines started with dummy weights; never fitted on.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from fit_throughput import OWN_ROWS, fit, understood
from throughput_metrics import Score, by_gpu, coverage, grouped, macro, mape, median_error, picks
from throughput_rows import WrongFileError, held_out, make_case, predict_case, project, read_rows, series

from planner.model.architectures import make_facts
from planner.model.identity import Checkpoint
from planner.throughput.constants import CONSTANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from throughput_rows import Case

    from planner.throughput.constants import Constants

NOTE = "hamelsmu"
TODAY = "0.33.0"


def score(case: Case, constants: Constants = CONSTANTS) -> Score:
    """One case with its prediction."""
    predicted = predict_case(case, constants)
    return Score(case, predicted.output_tokens_per_second, predicted.low, predicted.high)


def figures(name: str, scores: Sequence[Score]) -> None:
    """One line of errors, one of choices."""
    if not scores:
        print(f"{name}: no rows")
        return
    print(
        f"{name} ({len(scores)} rows): MAPE {mape(scores):.1%}, median {median_error(scores):.1%}, "
        f"macro by GPU {macro(scores):.1%}, in the 90 % interval {coverage(scores):.1%}"
    )
    found = picks(scores)
    if found is None:
        print("  $/token: no workload has two configurations with a price")
        return
    print(
        f"  $/token: order right in {found.right_order:.1%} of {found.pairs} pairs; cheapest found in "
        f"{found.cheapest_found:.0%} of {found.groups} workloads, mean regret {found.mean_regret:.2%}, "
        f"worst {found.worst_regret:.0%}"
    )


def table(name: str, scores: Sequence[Score], key: Callable[[Score], str]) -> None:
    """Error and bias of each group."""
    print(f"by {name}:")
    for group, members in grouped(scores, key).items():
        bias = median(member.error for member in members)
        print(
            f"  {group[:44]:44} {len(members):4} rows  MAPE {mape(members):6.1%}  bias {bias:+6.1%}  "
            f"covered {coverage(members):4.0%}"
        )


def leave_one_out(name: str, cases: Sequence[Case], extra: Sequence[Case], key: Callable[[Case], str]) -> None:
    """Error on each group after fitting without it, and how often the interval held."""
    without = {group: [case for case in cases if key(case) != group] for group in sorted(set(map(key, cases)))}
    with ProcessPoolExecutor() as pool:
        fitted = dict(zip(without, pool.map(_fit_again, [[*rest, *extra] for rest in without.values()]), strict=True))
    scores = {group: [score(case, fitted[group]) for case in cases if key(case) == group] for group in without}
    errors = {group: mape(members) for group, members in scores.items()}
    every = [one for members in scores.values() for one in members]
    print(
        f"leave one {name} out: mean over {name}s {mean(errors.values()):.1%}, median {median(errors.values()):.1%}; "
        f"over rows {mape(every):.1%}, in the 90 % interval {coverage(every):.1%}"
    )
    text = ", ".join(f"{group} {error:.0%} ({len(scores[group])})" for group, error in errors.items())
    print(textwrap.fill(text, 110, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))


def _fit_again(cases: Sequence[Case]) -> Constants:
    return fit(cases, CONSTANTS, rounds=8, least_gain=1e-4)


def note_table(cases: Sequence[Case]) -> None:
    """The 2023 note's rows with its engine, and today's engine beside it."""
    print(f"the note of 2023, tokens per second: measured, predicted for its vLLM 0.1.3, predicted for {TODAY}")
    for case in cases:
        then, today = score(case), score(make_case({**case.row, "version": TODAY}))
        name = f"{case.row['model']} on {case.row['n_gpus']}×{case.row['gpu']}"
        print(f"  {name:32} {case.measured:7.1f} {then.predicted:7.1f} ({then.error:+6.1%}) {today.predicted:8.1f}")


def read_measured(path: Path) -> list[dict[str, Any]]:
    """Starts of a file of own measurements. Raises WrongFileError where it is none."""
    try:
        starts = json.loads(path.read_text())["rows"]
        for start in starts:
            for bench in start["bench"]:
                measured_row(start, bench)
            if not (path.parent / "measured_models" / start["model"] / "config.json").is_file():
                raise WrongFileError(f"{path}: no measured_models/{start['model']}/config.json beside it.")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongFileError(f"{path}: cannot be read ({error}).") from error
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, WrongFileError):
            raise
        raise WrongFileError(
            f'{path}: not a file of own starts, {{"rows": [{{"model", "gpu", "bench", ...}}]}}.'
        ) from error
    return list(starts)


def measured_table(path: Path, starts: Sequence[dict[str, Any]]) -> None:
    """Our own starts of the real engine: one line per workload, then the mean over dense models."""
    print("own measurements, never fitted on (dummy weights route tokens alike, so experts are only shown):")
    dense = []
    for start in starts:
        folder = path.parent / "measured_models" / start["model"]
        config = json.loads((folder / "config.json").read_text())
        facts = make_facts(Checkpoint(start["model"], "path", config))
        for bench in start["bench"]:
            one = score(make_case(measured_row(start, bench), facts))
            if not facts.num_experts:
                dense.append(one)
            load = f"{bench['requests']} x {bench['input_tokens']} in, {bench['output_tokens']} out"
            print(
                f"  {start['name']:28} {load:24} {one.case.measured:8.1f} {one.predicted:8.1f} {one.error:+6.1%}"
                f"{'  experts' if facts.num_experts else ''}"
            )
    print(f"  dense models: MAPE {mape(dense):.1%} over {len(dense)} workloads, covered {coverage(dense):.0%}")


def measured_row(start: dict[str, Any], bench: dict[str, Any]) -> dict[str, str]:
    """One workload of one start in the columns of the CSV files."""
    tp = start["tensor_parallel_size"]
    values = {
        "model": start["model"],
        "dtype": "auto",
        "kv_dtype": "auto",
        "gpu": start["gpu"],
        "n_gpus": tp,
        "tp": tp,
        "pp": 1,
        "dp": 1,
        "input_len": bench["input_tokens"],
        "output_len": bench["output_tokens"],
        "out_len_max": bench["output_tokens"],
        "concurrency_or_batch": bench["requests"],
        "n_requests": bench["requests"],
        "mode": "oneshot",
        "version": start["engine"].removeprefix("vllm "),
        "output_tok_s": bench["output_tok_s"],
        "exactness": "exact",
        "max_num_seqs": start["max_num_seqs"],
        "source": "own",
        "engine": "vllm",
    }
    return {key: str(value) for key, value in values.items()}


def main() -> None:
    """Read, predict, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="CSV")
    parser.add_argument("--measured", type=Path, metavar="JSON", help="own starts of the engine")
    parser.add_argument("--quick", action="store_true", help="without leaving GPUs and sources out")
    parser.add_argument("--rows", action="store_true", help="every row, worst first")
    asked = parser.parse_args()
    try:
        rows = read_rows(asked.files)
        own = read_measured(asked.measured) if asked.measured else []
    except WrongFileError as why:
        parser.error(str(why))
    cases = understood(rows)
    scores = [score(case) for case in cases]
    held = held_out([case.row for case in cases])
    figures("held out", [one for one in scores if series(one.case.row) in held])
    figures("fitted", [one for one in scores if series(one.case.row) not in held])
    figures("all", scores)
    table("GPU", scores, by_gpu)
    table("source", scores, lambda one: project(one.case.row))
    table("format", scores, lambda one: one.case.row["dtype"])
    table("engine", scores, lambda one: one.case.row["version"])
    if note := [case for case in cases if project(case.row).startswith(NOTE)]:
        note_table(note)
    if own:
        measured_table(asked.measured, own)
    if asked.rows:
        for one in sorted(scores, key=lambda one: -abs(one.error)):
            print(f"{one.error:+7.1%} {one.case.measured:9.1f} {' '.join(series(one.case.row))}", end=" ")
            print(*(one.case.row[key] for key in ("input_len", "output_len", "concurrency_or_batch", "mode")))
    if not asked.quick and cases:
        extra = understood(read_rows([OWN_ROWS]))
        leave_one_out("GPU", cases, extra, lambda case: case.row["gpu"])
        leave_one_out("source", cases, extra, lambda case: project(case.row))


if __name__ == "__main__":
    main()
