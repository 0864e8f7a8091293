"""benchmarks/RESULTS.md is what its command writes, and what it must show is in it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from planner.catalog import load_catalog
from planner.measurements import shipped_measurements

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"


def written(update: bool) -> str:
    text = str(
        runpy.run_path(str(ROOT / "benchmarks" / "results.py"))["results"](shipped_measurements(), load_catalog())
    )
    if update:
        RESULTS.write_text(text)
    return text


def test_the_page_is_what_the_command_writes(update_golden: bool) -> None:
    assert written(update_golden) == RESULTS.read_text(), "python benchmarks/results.py --write"


def test_every_start_is_within_the_bounds() -> None:
    text = RESULTS.read_text().split("## The note's")[0]
    errors = [float(error) for error in re.findall(r"\| ([+-]\d+\.\d+)% \|$", text, re.MULTILINE)]
    assert len(errors) >= 30
    assert max(map(abs, errors)) < 0.7
    assert sum(map(abs, errors)) / len(errors) < 0.35
    activations = re.findall(r"\| (\d+\.\d+) / (\d+\.\d+) \| [\d,]+ / [\d,]+ \|", text)
    assert len(activations) == len(errors)
    for planned, measured in activations:
        assert abs(float(planned) - float(measured)) <= max(0.15, 0.15 * float(measured))
