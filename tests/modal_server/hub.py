"""A hub that has every model: two small files at whatever commit is asked for. For trying things by hand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/?]+)(?:/(?P<kind>revision|tree)/(?P<revision>[^/?]+))?")
FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
COMMIT = re.compile(r"[0-9a-f]{40}")


def serve_any_hub() -> str:
    """Start it on a free port of the loopback interface; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def files_of(repo: str) -> dict[str, bytes]:
    """What every model has."""
    return {
        "config.json": json.dumps({"_name_or_path": repo}).encode(),
        "model.safetensors": b"stand-in weights of " + repo.encode(),
    }


def commit_of(repo: str, revision: str | None) -> str:
    """The asked commit itself, or one that belongs to the name."""
    if revision and COMMIT.fullmatch(revision):
        return revision
    return hashlib.sha1(repo.encode(), usedforsecurity=False).hexdigest()


def describe(content: bytes) -> dict[str, Any]:
    git_id = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return {"size": len(content), "blobId": git_id, "oid": git_id}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if found := API.match(self.path):
            self._api(**found.groupdict())
        elif found := FILE.match(self.path):
            content = files_of(found["repo"]).get(found["name"])
            headers = {"X-Repo-Commit": commit_of(found["repo"], found["revision"])}
            self._say(404 if content is None else 200, content or b"", headers)
        else:
            self._say(404, b"")

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _api(self, repo: str, kind: str | None, revision: str | None) -> None:
        described = {name: describe(content) for name, content in files_of(repo).items()}
        if kind == "tree":
            answer: Any = [{"type": "file", "path": name, **one} for name, one in described.items()]
        else:
            siblings = [{"rfilename": name, **one} for name, one in described.items()]
            answer = {"id": repo, "sha": commit_of(repo, revision), "gated": False, "siblings": siblings}
        self._say(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"ETag": '"stand-in"', **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
