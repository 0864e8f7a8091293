"""An endpoint on loopback that speaks vLLM's streaming completions, well or badly."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "a-test-key"


@contextmanager
def serve_endpoint(mood: str = "well", key: str | None = None) -> Iterator[str]:
    """``mood``: well, error (HTTP 500), cut (stops mid-stream), hang (falls silent mid-stream)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def answer(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def allowed(self) -> bool:
            if key is None or self.headers.get("Authorization") == f"Bearer {key}":
                return True
            self.answer(401, {"error": "Unauthorized"})
            return False

        def do_GET(self) -> None:
            if self.allowed():
                self.answer(200, {"data": [{"id": "toy", "object": "model"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.allowed():
                return
            if mood == "error":
                self.answer(500, {"error": "boom"})
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.stream(int(asked.get("max_tokens") or 16))

        def stream(self, tokens: int) -> None:
            for index in range(tokens):
                time.sleep(0.002)
                if index == 3 and mood == "cut":
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                if index == 3 and mood == "hang":
                    time.sleep(30)
                self.event(json.dumps({"choices": [{"index": 0, "text": " a", "finish_reason": None}]}))
            usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": tokens + 5}
            self.event(json.dumps({"choices": [{"index": 0, "text": "", "finish_reason": "length"}], "usage": usage}))
            self.event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")

        def event(self, text: str) -> None:
            data = f"data: {text}\n\n".encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
