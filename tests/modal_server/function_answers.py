"""Functions and servers: created, looked up, called."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.modal_server.world import Call, Function

if TYPE_CHECKING:
    from tests.modal_server.world import World

RANKED = ("autoscaler_settings", "http_config", "schedule", "webhook_config")
COPIED = (
    "module_name",
    "function_name",
    "implementation_name",
    "function_type",
    "timeout_secs",
    "startup_timeout_secs",
    "is_class",
    "is_server",
    "routing_region",
)


def precreate(world: World, request: Any) -> Any:
    function_id = request.existing_function_id or world.new_id("fu")
    return api_pb2.FunctionPrecreateResponse(
        function_id=function_id, handle_metadata=_handle(request.function_name, request.function_type)
    )


def create(world: World, request: Any) -> Any:
    app = world.apps[request.app_id]
    data = _data(request)
    first = data.ranked_functions[0].function
    with world.lock:
        function_id = request.existing_function_id or world.new_id("fu")
        function = Function(
            function_id, app.app_id, data.function_name, data, tuple(first.mount_ids), tuple(first.secret_ids)
        )
        if data.is_server:
            data.flash_service_urls.append(f"{world.web_url}/servers/{app.name}/{function.name}")
        world.functions[function_id] = app.pending[function_id] = function
    return api_pb2.FunctionCreateResponse(
        function_id=function_id, handle_metadata=_metadata(function), function_data=data, function=first
    )


def get(world: World, request: Any) -> Any:
    app = world.deployed(request.app_name)
    function = app.current.functions.get(request.object_tag) if app and app.current else None
    if function is None:
        raise GRPCError(Status.NOT_FOUND, f"no function {request.object_tag} in app {request.app_name}")
    return api_pb2.FunctionGetResponse(
        function_id=function.function_id, handle_metadata=_metadata(function), function=function.data
    )


def scheduling(world: World, request: Any) -> Any:
    settings = world.functions[request.function_id].data.autoscaler_settings
    return api_pb2.FunctionGetSchedulingParamsResponse(
        autoscaler_configuration=api_pb2.AutoscalerConfiguration(settings=settings)
    )


def update_scheduling(world: World, request: Any) -> Any:
    settings = world.functions[request.function_id].data.autoscaler_settings
    settings.MergeFrom(request.settings)
    return api_pb2.FunctionUpdateSchedulingParamsResponse(current_settings=settings)


def map_inputs(world: World, request: Any) -> Any:
    call = Call(world.new_id("fc"), request.function_id)
    world.calls[call.call_id] = call
    world.containers.call(call)
    item = api_pb2.FunctionPutInputsResponseItem(idx=0, input_id=world.new_id("in"), input_jwt="jwt")
    return api_pb2.FunctionMapResponse(function_call_id=call.call_id, pipelined_inputs=[item])


async def get_outputs(world: World, request: Any) -> Any:
    call = world.calls[request.function_call_id]
    deadline = asyncio.get_running_loop().time() + request.timeout
    while not call.done.is_set() and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.02)
    if not call.done.is_set():
        return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=1)
    if call.error:
        result = api_pb2.GenericResult(
            status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception=call.error, traceback=call.error
        )
    else:
        result = api_pb2.GenericResult(
            status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, data=pickle.dumps(call.result)
        )
    item = api_pb2.FunctionGetOutputsItem(result=result, idx=0, data_format=api_pb2.DATA_FORMAT_PICKLE)
    return api_pb2.FunctionGetOutputsResponse(outputs=[item], idxs=[0])


def _data(request: Any) -> api_pb2.FunctionData:
    """What the client sent as one FunctionData, whether it has one GPU type or a ranked list."""
    if request.HasField("function_data"):
        data = api_pb2.FunctionData()
        data.CopyFrom(request.function_data)
        return data
    function = request.function
    data = api_pb2.FunctionData(
        ranked_functions=[api_pb2.FunctionData.RankedFunction(rank=0, function=function)],
        **{name: getattr(function, name) for name in COPIED},
    )
    for name in RANKED:
        if function.HasField(name):
            getattr(data, name).CopyFrom(getattr(function, name))
    return data


def _handle(name: str, kind: int) -> api_pb2.FunctionHandleMetadata:
    return api_pb2.FunctionHandleMetadata(function_name=name, function_type=kind)  # type: ignore[arg-type]


def _metadata(function: Function) -> api_pb2.FunctionHandleMetadata:
    metadata = _handle(function.name, function.data.function_type)
    metadata.app_id = function.app_id
    metadata.definition_id = f"de-{function.function_id}"
    metadata._experimental_flash_urls.extend(function.data.flash_service_urls)
    return metadata
