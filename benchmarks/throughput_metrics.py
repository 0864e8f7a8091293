"""What is said about predictions: errors, coverage, and whether the cheapest configuration is found."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from math import log2
from statistics import mean, median
from typing import TYPE_CHECKING

from planner.catalog import load_catalog
from planner.throughput.constants import CONSTANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from throughput_rows import Case


OFFERS = load_catalog().offers


@dataclass(frozen=True, slots=True)
class Score:
    """One prediction beside its measurement. ``error`` is predicted / measured - 1."""

    case: Case
    predicted: float
    low: float
    high: float

    @property
    def error(self) -> float:
        return self.predicted / self.case.measured - 1

    @property
    def covered(self) -> bool:
        return self.low <= self.case.measured <= self.high


@dataclass(frozen=True, slots=True)
class Picks:
    """Choices between configurations at one workload, at the catalogue's prices."""

    pairs: int
    right_order: float
    groups: int
    cheapest_found: float
    mean_regret: float
    worst_regret: float


def mape(scores: Iterable[Score]) -> float:
    return mean(abs(score.error) for score in scores)


def median_error(scores: Iterable[Score]) -> float:
    return median(abs(score.error) for score in scores)


def coverage(scores: Iterable[Score]) -> float:
    return mean(score.covered for score in scores)


def grouped(scores: Iterable[Score], key: Callable[[Score], str]) -> dict[str, list[Score]]:
    groups: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        groups[key(score)].append(score)
    return dict(sorted(groups.items()))


def by_gpu(score: Score) -> str:
    return score.case.row["gpu"]


def macro(scores: Iterable[Score]) -> float:
    """Mean over GPUs of each GPU's mean error."""
    return mean(mape(group) for group in grouped(scores, by_gpu).values())


def half_octave(length: str) -> int:
    return round(2 * log2(max(1, int(length))))


def workload_of(score: Score) -> str:
    """Rows between which a plan would choose: one model, format, engine generation and load; GPU and split differ."""
    row, era = score.case.row, CONSTANTS.era(score.case.engine.version).name
    load = (row["mode"], row["concurrency_or_batch"], half_octave(row["input_len"]), half_octave(row["output_len"]))
    return "|".join(map(str, (row["model"], row["dtype"], era, *load)))


def picks(scores: Sequence[Score]) -> Picks | None:
    """Order of dollars per token over all pairs of a workload, and what following the cheapest would cost extra.

    None where no workload has two configurations with a price.
    """
    priced = [score for score in scores if _usd_per_second(score) is not None]
    groups = [group for group in grouped(priced, workload_of).values() if len(group) > 1]
    if not groups:
        return None
    pairs = [pair for group in groups for pair in combinations(group, 2)]
    right = [
        (_usd_per_token(a, a.predicted) < _usd_per_token(b, b.predicted))
        == (_usd_per_token(a, a.case.measured) < _usd_per_token(b, b.case.measured))
        for a, b in pairs
    ]
    regrets = []
    for group in groups:
        chosen = min(group, key=lambda score: _usd_per_token(score, score.predicted))
        best = min(_usd_per_token(score, score.case.measured) for score in group)
        regrets.append(_usd_per_token(chosen, chosen.case.measured) / best - 1)
    found = mean(regret < 1e-9 for regret in regrets)
    return Picks(len(pairs), mean(right), len(groups), found, mean(regrets), max(regrets))


def _usd_per_token(score: Score, tokens_per_second: float) -> float:
    return (_usd_per_second(score) or 0.0) / tokens_per_second


def _usd_per_second(score: Score) -> float | None:
    row = score.case.row
    offer = OFFERS.get(score.case.candidate.gpu.name)
    return float(offer.usd_per_second) * int(row["n_gpus"]) if offer else None
