"""Rejections grouped by reason, each with the closest miss: the one that lacked the least."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from planner.checks import CODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.rejection import Rejection


class Miss(Struct, frozen=True):
    """All rejections of one code; ``closest`` lacked the least, or has the fewest GPUs where nothing is lacking."""

    code: str
    number: int
    closest: Rejection

    @property
    def sentence(self) -> str:
        """The closest miss and its reason; a count that is not sold names itself."""
        return self.closest.reason if self.code == "count_not_sold" else f"{self.where}: {self.closest.reason}"

    @property
    def where(self) -> str:
        """2×A100-40GB, TP 2: the configuration of the closest miss."""
        rejection = self.closest
        split = "" if rejection.tensor_parallel_size is None else f" TP {rejection.tensor_parallel_size}"
        stages = rejection.pipeline_parallel_size
        return f"{rejection.count}×{rejection.gpu}{split}" + (f" PP {stages}" if stages and stages > 1 else "")


def group_misses(rejections: Sequence[Rejection]) -> list[Miss]:
    """One Miss per code, in the order in which the rules are applied."""
    by_code: dict[str, list[Rejection]] = {}
    for rejection in rejections:
        by_code.setdefault(rejection.code, []).append(rejection)
    ordered = sorted(by_code.items(), key=lambda item: CODES.index(item[0]))
    return [Miss(code, len(group), min(group, key=_shortfall)) for code, group in ordered]


QUANTITIES = frozenset({"count_not_sold", "max_model_len", "memory", "kv_cache", "slo", "budget"})


def _shortfall(rejection: Rejection) -> tuple[float, int]:
    """Needed over available; where a rule is not about a quantity all are equally far. Then fewer GPUs first."""
    needed, available = rejection.needed, rejection.available
    if rejection.code not in QUANTITIES or needed is None or available is None:
        return (1.0, rejection.count)
    if available <= 0:
        return (float("inf"), rejection.count)
    return (needed / available, rejection.count)
