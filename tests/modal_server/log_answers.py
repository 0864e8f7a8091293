"""Logs: the last lines, counts, and a stream that ends with the app."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from modal_proto import api_pb2

from tests.modal_server.app_answers import LIVE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.modal_server.world import Log, World


def fetch(world: World, request: Any) -> Any:
    since, until = request.since.ToNanoseconds() / 1e9, request.until.ToNanoseconds() / 1e9
    lines = [log for log in _of_app(world, request.app_id) if since <= log.timestamp <= until + 1]
    return api_pb2.AppFetchLogsResponse(batches=[_batch(log, "") for log in lines[-(request.limit or 1000) :]])


def count(_world: World, request: Any) -> Any:
    return api_pb2.AppCountLogsResponse(app_id=request.app_id)


async def stream(world: World, request: Any) -> AsyncIterator[Any]:
    """Lines from ``last_entry_id`` on, until the app is over or the time is."""
    position = int(request.last_entry_id or 0)
    deadline = asyncio.get_running_loop().time() + request.timeout
    while True:
        lines = _of_app(world, request.app_id)
        over = world.apps[request.app_id].state not in LIVE
        for log in lines[position:]:
            position += 1
            yield _batch(log, str(position))
        if over:
            yield api_pb2.TaskLogsBatch(app_done=True)
            return
        if asyncio.get_running_loop().time() >= deadline:
            return
        await asyncio.sleep(0.02)


def _of_app(world: World, app_id: str) -> list[Log]:
    with world.lock:
        return [log for log in world.logs if log.app_id == app_id]


def _batch(log: Log, entry_id: str) -> api_pb2.TaskLogsBatch:
    item = api_pb2.TaskLogs(
        data=log.text, timestamp=log.timestamp, file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT, container_id=log.task_id
    )
    return api_pb2.TaskLogsBatch(task_id=log.task_id, items=[item], entry_id=entry_id, function_id=log.function_id)
