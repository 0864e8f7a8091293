"""The gRPC side: every RPC of the modal package is recorded, put through the faults and handed to its answer."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import grpclib
from grpclib.server import Server
from modal_proto.api_grpc import ModalClientBase

from tests.modal_server.answers import ANSWERS
from tests.modal_server.containers import Containers
from tests.modal_server.web import serve_web
from tests.modal_server.world import World

if TYPE_CHECKING:
    from grpclib.server import Stream


class ModalServer:
    """Serves one World on the loopback interface from a thread of its own. A context manager."""

    def __init__(self, world: World | None = None, port: int = 0) -> None:
        self.world = world or World()
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client_env(self) -> dict[str, str]:
        """The environment that points the real client here."""
        key, secret = self.world.proxy_token
        return {
            "MODAL_SERVER_URL": self.url,
            "MODAL_TOKEN_ID": "ak-loopback",
            "MODAL_TOKEN_SECRET": "as-loopback",
            "MODAL_CONFIG_PATH": str(self.world.root / "no-such-config.toml"),
            "MODAL_PROXY_TOKEN_ID": key,
            "MODAL_PROXY_TOKEN_SECRET": secret,
        }

    def __enter__(self) -> ModalServer:
        self.world.containers = Containers(self.world)
        self._web = serve_web(self.world)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.world.containers.stop_all()
        self._web.shutdown()
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _start(self) -> None:
        self._server = Server([make_service(self.world)])
        await self._server.start("127.0.0.1", self.port)
        sockets = self._server._server.sockets  # type: ignore[union-attr]
        self.port = sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        await asyncio.wait({asyncio.create_task(self._server.wait_closed())}, timeout=1)


def make_service(world: World) -> ModalClientBase:
    """A service object with one method for every RPC of the stubs."""
    methods = {name: _method(name, world) for name in ModalClientBase.__abstractmethods__}
    service: ModalClientBase = type("Service", (ModalClientBase,), methods)()
    return service


def _method(rpc: str, world: World) -> Any:
    async def answer(_self: object, stream: Stream[Any, Any]) -> None:
        request = await stream.recv_message()
        with world.lock:
            world.requests.append((rpc, request))
            struck = [fault for fault in world.faults if fault.rpc == rpc and fault.strikes()]
        for fault in struck:
            await _suffer(fault, stream)
        if rpc not in ANSWERS:
            world.unknown.append(rpc)
            raise grpclib.GRPCError(grpclib.Status.UNIMPLEMENTED, f"the stand-in does not know {rpc}")
        result = ANSWERS[rpc](world, request)
        if inspect.isawaitable(result):
            result = await result
        if any(fault.lost for fault in struck):
            _cut(stream)
        if inspect.isasyncgen(result):
            async for message in result:
                await stream.send_message(message)
        else:
            await stream.send_message(result)

    return answer


async def _suffer(fault: Any, stream: Stream[Any, Any]) -> None:
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault.hang:
        await asyncio.sleep(3600)
    if fault.drop:
        _cut(stream)
    if fault.error:
        raise grpclib.GRPCError(grpclib.Status[fault.error], fault.message)


def _cut(stream: Stream[Any, Any]) -> NoReturn:
    """The peer sees the connection end."""
    stream._stream.connection._transport.close()
    raise grpclib.GRPCError(grpclib.Status.UNAVAILABLE, "connection dropped")
