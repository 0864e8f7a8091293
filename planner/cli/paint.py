"""Print explained lines and sentences: colour and wrapping on a terminal, plain text in a pipe or with NO_COLOR."""

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

WIDEST = 100  # longer lines are hard to read
# What is typed as it stands: between backticks, or a program and its arguments up to the end of the clause.
TO_TYPE = r"`[^`]+`|\b(?:gpuplan|modal|pip|hf) [a-z-]+(?: (?!or |and )[^\s,;]*[^\s,;.:)])*"


def tell(sentences: str) -> None:
    """On standard error: within the width of a terminal, but in a pipe a line each, for programs that read them."""
    click.echo(within_terminal(sentences) if sys.stderr.isatty() else sentences, err=True)


def within_terminal(text: str) -> str:
    """Wrapped between words; a command to type stays whole, and a line that is indented (a log's) as it is."""
    import re
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size().columns, WIDEST)
    lines = []
    for line in text.split("\n"):
        if len(line) <= width or line[:1].isspace():
            lines.append(line)
            continue
        whole = re.sub(TO_TYPE, lambda found: found.group().replace(" ", "\0"), line)
        wrapped = textwrap.wrap(whole, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        lines += [piece.replace("\0", " ") for piece in wrapped]
    return "\n".join(lines)


def paint(lines: Iterable[Line], *, err: bool = False) -> None:
    """Write the lines; trailing blank lines are dropped."""
    stream = sys.stderr if err else sys.stdout
    colour = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    texts = [click.style(line.text, **STYLES[line.style]) if colour and line.style else line.text for line in lines]
    while texts and not texts[-1]:
        texts.pop()
    if texts:
        click.echo("\n".join(texts), err=err, color=colour)
