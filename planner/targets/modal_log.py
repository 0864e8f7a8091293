"""The log of a Modal app while a launch waits: read in a thread, closed in order."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from planner.deployment.running import Running

CLOSE_S = 2.0
TAIL_ENTRIES = 100


class ModalLog:
    """Lines of one app since ``since`` (the provider's clock); a log that cannot be read just has none."""

    def __init__(self, running: Running, since: datetime | None) -> None:
        self._running = running
        self._since = since
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def read(self) -> list[str]:
        """What came since the last read."""
        lines = []
        with contextlib.suppress(queue.Empty):
            while True:
                lines.append(self._lines.get_nowait())
        return lines

    def close(self) -> None:
        """Stop reading."""
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        self._task = self._loop.create_task(self._follow())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    async def _follow(self) -> None:
        import modal

        with contextlib.suppress(modal.exception.Error, OSError):
            app = await modal.App.lookup.aio(self._running.provider_id)
            stream = app.logs.stream.aio()
            try:
                async for entry in stream:
                    if self._since is None or entry.timestamp >= self._since:
                        for line in entry.message.splitlines():
                            self._lines.put(line)
            finally:
                await stream.aclose()


def log_lines(name: str, environment: str | None, *, follow: bool) -> Iterator[str]:
    """The last lines of an app, or (following) every line from now on."""
    import modal

    app = modal.App.lookup(name, environment_name=environment)
    entries = app.logs.stream() if follow else app.logs.tail(TAIL_ENTRIES)
    for entry in entries:
        yield from entry.message.splitlines()
