"""The log file of an app on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from planner.errors import LaunchError
from planner.targets import local_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from planner.deployment.running import Running

POLL_S = 0.2


class LocalLog:
    """The log of one version; when its process is gone, one more line says so."""

    def __init__(self, running: Running, alive: Callable[[], bool]) -> None:
        self._path = local_store.log_path(running.name)
        self._alive = alive
        self._offset = 0
        self._said = False

    def read(self) -> list[str]:
        """What came since the last read."""
        alive = self._alive()
        text = self._path.read_bytes()[self._offset :] if self._path.is_file() else b""
        self._offset += len(text)
        lines = text.decode(errors="replace").splitlines()
        if not alive and not self._said:
            self._said = True
            lines.append("gpuplan: engine: died: its process is gone")
        return lines

    def close(self) -> None:
        """Nothing is held open."""


def log_lines(name: str, environment: str | None, *, follow: bool) -> Iterator[str]:  # noqa: ARG001 - the protocol's
    """The whole log; following, until the app is stopped or another version starts."""
    current = local_store.read_current(name)
    path = local_store.log_path(name)
    if not path.is_file():
        raise LaunchError(f"{name}: it has no log: it never ran on this machine.")
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from (line.rstrip("\n") for line in file)
        while follow and current is not None and local_store.read_current(name) == current:
            line = file.readline()
            if line:
                yield line.rstrip("\n")
            else:
                time.sleep(POLL_S)
