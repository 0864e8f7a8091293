"""A stand-in of the hub on a loopback port: repositories, range requests, redirects, refusals, and bad manners."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SHA = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64}


@dataclass
class Virtual:
    """A large file of which only the first bytes are kept: a header, then zeros up to ``size``."""

    head: bytes
    size: int

    def part(self, begin: int, end: int) -> bytes:
        kept = self.head[begin:end]
        return kept + b"\0" * (min(end, self.size) - begin - len(kept))


@dataclass
class Repo:
    """One repository at one commit, and how the server treats it."""

    files: Mapping[str, bytes | Virtual]
    sha: str = SHA
    gated: bool = False  # files answer 403 GatedRepo
    branch: str = "main"


@dataclass
class Manners:
    """What the server does wrong, by a part of the path."""

    status: dict[str, int] = field(default_factory=dict)
    body: dict[str, bytes] = field(default_factory=dict)  # answered with 200
    delay: dict[str, float] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)  # so many bytes, then the connection is closed
    drip: dict[str, float] = field(default_factory=dict)  # seconds between single bytes
    ignore_ranges: bool = False
    redirect_to: str | None = None  # another origin that holds the weights


@dataclass
class HubServer:
    """The stand-in: what it serves and what it was asked."""

    url: str
    repos: dict[str, Repo]
    manners: Manners
    asked: list[str] = field(default_factory=list)  # "GET /path range"
    tokens: list[tuple[str, str | None]] = field(default_factory=list)  # (Host, Authorization)
    sent_bytes: int = 0


@contextmanager
def serve_hub(repos: Mapping[str, Repo] | None = None) -> Iterator[HubServer]:
    """Serve until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    hub = HubServer(f"http://127.0.0.1:{server.server_port}", dict(repos or {}), Manners())
    server.hub = hub  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def safetensors(tensors: Mapping[str, tuple[str, list[int], int]], data: bool = True) -> bytes:
    """A small safetensors file from name -> (dtype, shape, nbytes)."""
    head, size = header(tensors)
    return head + b"\0" * size if data else head


def header(tensors: Mapping[str, tuple[str, list[int], int]]) -> tuple[bytes, int]:
    """Length, JSON, and the bytes of data that must follow."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, nbytes) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + nbytes]}
        end += nbytes
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text, end


def blob(name: str, content: bytes | Virtual) -> dict[str, Any]:
    """What the hub's API tells of a file: size, git's id, and the sha256 where it is kept as a large file."""
    if isinstance(content, Virtual):
        return {"size": content.size, "blobId": "0" * 40}
    git_id = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    known: dict[str, Any] = {"size": len(content), "blobId": git_id}
    if name.endswith((".safetensors", ".bin")):
        digest = hashlib.sha256(content).hexdigest()
        known["lfs"] = {"sha256": digest, "oid": digest, "size": len(content), "pointerSize": 134}
    return known


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> HubServer:
        hub: HubServer = self.server.hub  # type: ignore[attr-defined]
        return hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub, manners = self.hub, self.hub.manners
        hub.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        hub.tokens.append((self.headers["Host"], self.headers.get("Authorization")))
        time.sleep(_match(manners.delay, self.path) or 0)
        if status := _match(manners.status, self.path):
            self.refuse(status, None)
        elif (body := _match(manners.body, self.path)) is not None:
            self.send(200, body)
        elif self.path.startswith("/api/models/"):
            self.answer_api()
        else:
            self.answer_file()

    def answer_api(self) -> None:
        path = self.path.removeprefix("/api/models/").partition("?")[0]
        repo, kind, revision = path.partition("/tree/") if "/tree/" in path else path.partition("/revision/")
        found = self.hub.repos.get(repo)
        if found is None:
            self.refuse(401, "RepoNotFound")
        elif revision not in {"", found.branch, found.sha}:
            self.refuse(404, "RevisionNotFound")
        else:
            blobs = {name: blob(name, content) for name, content in found.files.items()}
            if kind == "/tree/":
                entries = [{"type": "file", "path": name, "oid": one["blobId"], **one} for name, one in blobs.items()]
                self.send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})
                return
            asks_for_blobs = "blobs=" in self.path
            siblings = [{"rfilename": name, **(one if asks_for_blobs else {})} for name, one in blobs.items()]
            info = {"id": repo, "sha": found.sha, "gated": "manual" if found.gated else False, "siblings": siblings}
            self.send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def answer_file(self) -> None:
        path = self.path.removeprefix("/cdn")
        repo, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        found = self.hub.repos.get(repo)
        commit = {"X-Repo-Commit": found.sha if found else "", "ETag": '"tag"'}
        if found is None:
            self.refuse(401, "RepoNotFound")
        elif found.gated:
            self.refuse(403, "GatedRepo")
        elif revision not in {found.branch, found.sha}:
            self.refuse(404, "RevisionNotFound")
        elif name not in found.files:
            self.refuse(404, "EntryNotFound")
        elif name.endswith(".safetensors") and not self.path.startswith("/cdn"):
            origin = self.hub.manners.redirect_to or self.hub.url
            self.send(302, b"", commit | {"Location": f"{origin}/cdn{self.path}"})
        else:
            self.send_file(found.files[name], commit)

    def send_file(self, content: bytes | Virtual, headers: Mapping[str, str]) -> None:
        file = Virtual(content, len(content)) if isinstance(content, bytes) else content
        asked = self.headers.get("Range")
        if not asked or self.hub.manners.ignore_ranges:
            self.send(200, file, headers)
            return
        begin, end = (int(number) for number in asked.removeprefix("bytes=").split("-"))
        if begin >= file.size:
            self.refuse(416, None)
            return
        part = file.part(begin, min(end + 1, file.size))
        self.send(206, part, {**headers, "Content-Range": f"bytes {begin}-{begin + len(part) - 1}/{file.size}"})

    def refuse(self, status: int, code: str | None) -> None:
        self.send(status, b'{"error": "no"}', {"X-Error-Code": code} if code else {})

    def send(self, status: int, body: bytes | Virtual, headers: Mapping[str, str] | None = None) -> None:
        file = Virtual(body, len(body)) if isinstance(body, bytes) else body
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(file.size))
        self.end_headers()
        if self.command != "HEAD":
            self.write_body(file)

    def write_body(self, file: Virtual) -> None:
        manners = self.hub.manners
        cut = _match(manners.cut, self.path)
        pause = _match(manners.drip, self.path)
        step = 1 if pause else 1 << 16
        size = file.size if cut is None else min(cut, file.size)
        try:
            for begin in range(0, size, step):
                self.wfile.write(file.part(begin, min(begin + step, size)))
                self.hub.sent_bytes += min(step, size - begin)
                if pause:
                    self.wfile.flush()
                    time.sleep(pause)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if cut is not None:
            self.close_connection = True


def _match(table: Mapping[str, Any], path: str) -> Any:
    """The entry whose key is part of the path."""
    return next((value for part, value in table.items() if part in path), None)
