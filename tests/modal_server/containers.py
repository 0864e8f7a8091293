"""Containers: what is deployed runs as processes of this machine, from the code that was uploaded."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.modal_server.world import App, Call, Function, World

INSIDE = Path(__file__).parent / "container"  # what a container has: a small `modal`, and `vllm`
STOP_S = 10


@dataclass
class Container:
    """One process: a server's engine, or one call of a function."""

    task_id: str
    function: Function
    version: int
    process: subprocess.Popen[str]
    started_at: float
    port: int
    ready: bool = False


class Containers:
    """All containers of a World."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._all: list[Container] = []
        self._lock = threading.RLock()

    def running(self) -> list[Container]:
        with self._lock:
            return [container for container in self._all if container.process.poll() is None]

    def of_app(self, app_id: str) -> list[Container]:
        return [container for container in self.running() if container.function.app_id == app_id]

    def roll_out(self, app: App) -> None:
        """Keep the least number of containers of each server; old ones go when a new one is ready."""
        for function in app.current.functions.values() if app.current else ():
            for _ in range(function.data.autoscaler_settings.min_containers):
                self._start(function, app)

    def serving(self, app: App, name: str) -> Container | None:
        """A container to send a request to; where the current version has none, one is started."""
        current = app.current
        if current is None or name not in current.functions:
            return None
        mine = [one for one in self.of_app(app.app_id) if one.function.name == name]
        new = [one for one in mine if one.version == current.number]
        ready = [one for one in new if one.ready]
        if ready:
            for old in mine:
                if old.version != current.number:
                    self._end(old)
            return ready[0]
        if not new:
            self._start(current.functions[name], app)
        old_ready = [one for one in mine if one.ready]
        return old_ready[0] if old_ready else None

    def call(self, call: Call) -> None:
        """Run a function once and keep its result or error."""
        function = self.world.functions[call.function_id]
        container = self._start(function, self.world.apps[function.app_id])

        def wait() -> None:
            container.process.wait()
            result = self._folder(container) / "result.json"
            if result.is_file():
                call.result = json.loads(result.read_text())
            else:
                call.error = f"the container ended with code {container.process.returncode}"
                error = self._folder(container) / "error.txt"
                if error.is_file():
                    call.error = error.read_text()
            call.done.set()

        threading.Thread(target=wait, daemon=True).start()

    def stop_app(self, app_id: str) -> None:
        for container in self.of_app(app_id):
            self._end(container)

    def stop_all(self) -> None:
        for container in self.running():
            self._end(container)

    def _start(self, function: Function, app: App) -> Container:
        task_id, port = self.world.new_id("ta"), free_port()
        folder = self.world.root / "tasks" / task_id
        folder.mkdir(parents=True)
        (folder / "app.py").write_bytes(self._code(function, app))
        process = subprocess.Popen(
            [sys.executable, str(INSIDE / "run.py"), function.name, str(port)],
            cwd=folder,
            env=self._env(function),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        number = app.current.number if app.current else 0
        container = Container(task_id, function, number, process, time.time(), port)
        with self._lock:
            self._all.append(container)
        threading.Thread(target=self._read, args=(container,), daemon=True).start()
        return container

    def _read(self, container: Container) -> None:
        for line in container.process.stdout or ():
            if line == "@ready\n":
                container.ready = True
            else:
                self.world.log(container.function.app_id, container.function.function_id, container.task_id, line)

    def _code(self, function: Function, app: App) -> bytes:
        files = [file for mount in function.mount_ids for file in self.world.mounts.get(mount, ())]
        code = next(self.world.files[digest] for path, digest in files if path.endswith("/app.py"))
        first = self.world.first_code.setdefault(app.name, code)
        return first if self.world.stale_code else code

    def _env(self, function: Function) -> dict[str, str]:
        secrets: dict[str, str] = {}
        for secret_id in function.secret_ids:
            secrets |= self.world.secret(secret_id.removeprefix("st-")) or {}
        return {
            "PATH": f"{INSIDE / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(INSIDE),
            "PYTHONUNBUFFERED": "1",
            "HOME": str(self.world.root),
            "WEIGHTS": str(self.world.volume_path("gpuplan-weights")),
            **self.world.container_env,
            **secrets,
        }

    def _folder(self, container: Container) -> Path:
        return self.world.root / "tasks" / container.task_id

    def _end(self, container: Container) -> None:
        container.process.terminate()
        try:
            container.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            kill_group(container.process.pid)
            container.process.wait()


def kill_group(pid: int) -> None:
    """End whatever is left of a container."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
