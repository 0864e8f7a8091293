"""Refusal: one rule that fails for one configuration, as values; the plan attaches the configuration."""

from __future__ import annotations

from msgspec import Struct


class Refusal(Struct, frozen=True):
    """``code`` is the rule's name in the plan's JSON; numbers are in the rule's own unit.

    ``reason`` is one sentence with the numbers, ending in what the engine itself would say where it says anything.
    """

    code: str
    reason: str
    needed: float | None = None
    available: float | None = None
