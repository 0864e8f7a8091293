"""Ctrl-C at the moments when it would leave something behind that nobody knows of: it waits for their end."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def held_back() -> Iterator[list[int]]:
    """A first Ctrl-C in here (or SIGTERM, where that is taken for one) only adds to what is given; a second ends it.

    Whoever uses it says what the one that waited comes to. Signals that end or pass by the process still do.
    """
    pressed: list[int] = []

    def note(number: int, _: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    taken = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in taken:
            signal.signal(number, note)
        yield pressed
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
