"""How numbers are written for people: GiB, dollars, tokens, milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

GIB_BYTES = 2**30
HOURS_PER_DAY = 24


def gib(nbytes: float) -> str:
    """64.24 GiB; small amounts keep two digits that say something."""
    return f"{nbytes / GIB_BYTES:,.2f} GiB" if abs(nbytes) < 1000 * GIB_BYTES else f"{nbytes / GIB_BYTES:,.0f} GiB"


def usd(amount: Decimal | float) -> str:
    """$5.45, $3,978; below a cent as many digits as it takes to show two."""
    value = float(amount)
    if value == 0 or abs(value) >= 0.01:
        return f"${value:,.2f}" if abs(value) < 1000 else f"${value:,.0f}"
    return f"${value:.2g}"


def count(number: float) -> str:
    """Whole numbers with thousands separated."""
    return f"{number:,.0f}"


def short_count(number: int) -> str:
    """At most six characters: 45,872, 131k, 1.04M; rounded down, so that nothing is promised."""
    if number < 100_000:
        return f"{number:,}"
    return f"{number // 1000}k" if number < 1_000_000 else f"{number // 10_000 / 100:.2f}M"


def speed(tokens_per_second: float) -> str:
    """Tokens per second, with one decimal below ten."""
    return f"{tokens_per_second:,.0f}" if tokens_per_second >= 10 else f"{tokens_per_second:,.1f}"


def milliseconds(ms: float) -> str:
    """850 ms, 2.4 s, 3.1 min."""
    if ms < 1000:
        return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"
    seconds = ms / 1000
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def gpu_numbers(devices: Sequence[int]) -> str:
    """GPU 2, or GPUs 2 and 3: by nvidia-smi's numbers."""
    numbers = [str(index) for index in devices]
    return f"GPU {numbers[0]}" if len(numbers) == 1 else f"GPUs {', '.join(numbers[:-1])} and {numbers[-1]}"


def gpus(name: str, number: int) -> str:
    """2×A100-80GB."""
    return f"{number}×{name}"
