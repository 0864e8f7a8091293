"""The web side: requests for deployed servers (behind proxy auth) and the files of volumes."""

from __future__ import annotations

import http.client
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.modal_server.world import World

HOP_HEADERS = {"connection", "transfer-encoding", "server", "date", "host"}


def serve_web(world: World) -> ThreadingHTTPServer:
    """Start it on a free port; ``world.web_url`` is set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith("/volumes/"):
                self._file()
            elif self.path.startswith("/servers/"):
                self._forward()
            else:
                self._say(404, b"no such page")

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_: object) -> None:
            """Quiet: the World keeps what matters."""

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # whoever asked was interrupted
                self.end_headers()
                self.wfile.write(body)

        def _file(self) -> None:
            path = world.root / self.path.lstrip("/")
            self._say(200, path.read_bytes()) if path.is_file() else self._say(404, b"no such file")

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            _, _, app_name, server, *rest = self.path.split("/")
            app = world.deployed(app_name) or next(
                (one for one in world.apps.values() if one.name == app_name and one.state != 0 and not one.stopped_at),
                None,
            )
            if app is None:
                self._say(404, b"modal-http: app for invoked web endpoint is stopped")
                return
            if (self.headers.get("Modal-Key"), self.headers.get("Modal-Secret")) != world.proxy_token:
                self._say(401, b"modal-http: missing credentials for proxy authorization")
                return
            container = world.containers.serving(app, server)
            if container is None:
                self._say(503, b"modal-http: no replica")
                return
            self._pass_on(container.port, "/" + "/".join(rest), body)

        def _pass_on(self, port: int, path: str, body: bytes) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request(self.command, path, body, {k: v for k, v in self.headers.items() if k != "Host"})
                answer = connection.getresponse()
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in HOP_HEADERS:
                        self.send_header(key, value)
                self.send_header("Connection", "close")
                self.end_headers()
                while piece := answer.read1(65536):
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:
                self._say(502, b"modal-http: the container went away")
            finally:
                connection.close()
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    world.web_url = f"http://127.0.0.1:{server.server_port}"
    return server
