"""The log of a Modal app while a launch waits: read in a thread, closed in order."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from planner.targets import modal_sdk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from planner.deployment.running import Running

CLOSE_S = 2.0
AGAIN_S = 1.0
TAIL_ENTRIES = 100


class ModalLog:
    """Lines of one app since ``since`` (the provider's clock); a log that cannot be read just has none."""

    def __init__(self, running: Running, since: datetime | None) -> None:
        self._running = running
        self._since = since
        self._last: datetime | None = None  # when the newest line that came was said
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
        """Read until the app ends; after a cut connection, go on behind the last line that came."""
        while True:
            try:
                return await self._read_stream()
            except Exception as error:
                if not modal_sdk.is_the_providers(error):
                    raise
            self._since = self._last + timedelta(microseconds=1) if self._last else self._since
            await asyncio.sleep(AGAIN_S)

    async def _read_stream(self) -> None:
        import modal

        app = await modal.App.lookup.aio(self._running.provider_id)
        stream = app.logs.stream.aio()
        try:
            async for entry in stream:
                if self._since is None or entry.timestamp >= self._since:
                    self._last = entry.timestamp
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
