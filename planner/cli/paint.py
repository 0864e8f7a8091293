"""Print explained lines: colour on a terminal, plain text in a pipe or with NO_COLOR."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from planner.explain.lines import Line

STYLES: dict[str, dict[str, Any]] = {
    "title": {"bold": True},
    "good": {"fg": "green", "bold": True},
    "warn": {"fg": "yellow"},
    "dim": {"dim": True},
}


def paint(lines: Iterable[Line], *, err: bool = False) -> None:
    """Write the lines; trailing blank lines are dropped."""
    stream = sys.stderr if err else sys.stdout
    colour = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    texts = [click.style(line.text, **STYLES[line.style]) if colour and line.style else line.text for line in lines]
    while texts and not texts[-1]:
        texts.pop()
    if texts:
        click.echo("\n".join(texts), err=err, color=colour)
