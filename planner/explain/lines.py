"""Line: one line of an explanation and how it is meant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """``style``: "", "title", "good", "warn" or "dim"; only the command line turns it into colour."""

    text: str
    style: str = ""
