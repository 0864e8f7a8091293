"""Line: one line of an explanation and how it is meant."""

from __future__ import annotations

from msgspec import Struct


class Line(Struct, frozen=True):
    """``style``: "", "title", "good", "warn" or "dim"; only the command line turns it into colour."""

    text: str
    style: str = ""
