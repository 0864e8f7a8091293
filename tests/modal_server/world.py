"""What the stand-in remembers: apps and their versions, functions, volumes, secrets, locks, logs, every request."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modal_proto import api_pb2

if TYPE_CHECKING:
    from tests.modal_server.faults import Fault

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass
class Function:
    """A function or server of an app: what FunctionCreate carried."""

    function_id: str
    app_id: str
    name: str
    data: api_pb2.FunctionData
    mount_ids: tuple[str, ...] = ()
    secret_ids: tuple[str, ...] = ()


@dataclass
class Version:
    """One published version."""

    number: int
    functions: dict[str, Function]
    tags: dict[str, str]
    deployed_at: float
    tag: str = ""
    rollback_of: int = 0


@dataclass
class App:
    """An app in one environment."""

    app_id: str
    name: str
    state: int
    created_at: float
    tags: dict[str, str] = field(default_factory=dict)
    pending: dict[str, Function] = field(default_factory=dict)  # created, not published
    versions: list[Version] = field(default_factory=list)
    stopped_at: float = 0.0

    @property
    def current(self) -> Version | None:
        return self.versions[-1] if self.versions else None


@dataclass
class Log:
    """One line of a container."""

    app_id: str
    function_id: str
    task_id: str
    text: str
    timestamp: float


@dataclass
class Call:
    """One call of a function: done when ``result`` is there."""

    call_id: str
    function_id: str
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: str = ""


@dataclass
class World:
    """All state; guarded by one lock, since RPCs, web requests and containers come from different threads."""

    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="modal-server-")))
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)  # name -> keys and values
    any_secret: dict[str, str] = field(default_factory=dict)  # what a secret of any other name holds; empty: none is
    proxy_token: tuple[str, str] = ("wk-test", "ws-test")
    container_env: dict[str, str] = field(default_factory=dict)
    stale_code: bool = False  # containers run the first code that their app ever had
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # RPCs nobody answered
    apps: dict[str, App] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    volumes: dict[str, str] = field(default_factory=dict)  # name -> id; files lie under root/volumes/id
    dicts: dict[str, str] = field(default_factory=dict)
    dict_entries: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # sha256 -> content
    mounts: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)  # id -> (path, sha256)
    images: dict[bytes, str] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    logs: list[Log] = field(default_factory=list)
    first_code: dict[str, bytes] = field(default_factory=dict)  # app name -> code
    lock: threading.RLock = field(default_factory=threading.RLock)
    counter: Any = field(default_factory=lambda: itertools.count(1))
    web_url: str = ""  # set by the server
    containers: Any = None  # set by the server

    def new_id(self, prefix: str) -> str:
        """An id of Modal's shape: prefix, dash, 22 letters and digits."""
        number, digits = next(self.counter), ""
        for _ in range(22):
            number, digit = divmod(number, len(ALPHABET))
            digits = ALPHABET[digit] + digits
        return f"{prefix}-{digits}"

    def reset(self) -> None:
        """Forget everything but where the server is; containers end."""
        self.containers.stop_all()
        with self.lock:
            for kept in (self.secrets, self.container_env, self.faults, self.requests, self.unknown, self.apps):
                kept.clear()
            for kept in (self.functions, self.volumes, self.dicts, self.dict_entries, self.calls, self.logs):
                kept.clear()
            self.first_code.clear()
            self.stale_code = False

    def deployed(self, name: str) -> App | None:
        """The app that is deployed under this name."""
        named = [app for app in self.apps.values() if app.name == name and app.state == api_pb2.APP_STATE_DEPLOYED]
        return named[-1] if named else None

    def secret(self, name: str) -> dict[str, str] | None:
        """Keys and values of a secret, None where there is none of that name."""
        return self.secrets.get(name) or (self.any_secret or None)

    def log(self, app_id: str, function_id: str, task_id: str, text: str) -> None:
        """Keep one line of a container."""
        with self.lock:
            self.logs.append(Log(app_id, function_id, task_id, text, time.time()))

    def volume_path(self, name: str) -> Path:
        """The folder that stands for a volume; made where it is missing."""
        with self.lock:
            volume_id = self.volumes.setdefault(name, self.new_id("vo"))
        path = self.root / "volumes" / volume_id
        path.mkdir(parents=True, exist_ok=True)
        return path

    def of_rpc(self, rpc: str) -> list[Any]:
        """The requests that arrived for one RPC."""
        with self.lock:
            return [request for name, request in self.requests if name == rpc]

    def stop_app(self, app: App) -> None:
        """The app and all its containers end."""
        with self.lock:
            app.state, app.stopped_at = api_pb2.APP_STATE_STOPPED, time.time()
        self.containers.stop_app(app.app_id)
