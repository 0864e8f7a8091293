"""Apps: created, published as versions, rolled back, listed, stopped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from google.protobuf import empty_pb2
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.modal_server.world import App, Version

if TYPE_CHECKING:
    from tests.modal_server.world import World

LIVE = {api_pb2.APP_STATE_DEPLOYED, api_pb2.APP_STATE_EPHEMERAL, api_pb2.APP_STATE_INITIALIZING}


def _app(world: World, app_id: str) -> App:
    if app_id not in world.apps:
        raise GRPCError(Status.NOT_FOUND, f"no app {app_id}")
    return world.apps[app_id]


def _lifecycle(app: App) -> api_pb2.AppLifecycle:
    current = app.current
    return api_pb2.AppLifecycle(
        app_state=app.state,  # type: ignore[arg-type]
        created_at=app.created_at,
        created_by="tester",
        deployed_at=current.deployed_at if current else 0,
        deployed_by="tester" if current else "",
        version=current.number if current else 0,
        stopped_at=app.stopped_at,
    )


def _metadata(app: App) -> api_pb2.AppHandleMetadata:
    functions = app.current.functions if app.current else {}
    return api_pb2.AppHandleMetadata(
        description=app.name,
        app_id=app.app_id,
        lifecycle=_lifecycle(app),
        functions={name: one.function_id for name, one in functions.items() if not one.data.is_server},
        servers={name: one.function_id for name, one in functions.items() if one.data.is_server},
    )


def create(world: World, request: Any) -> Any:
    with world.lock:
        app = App(world.new_id("ap"), request.description, request.app_state, time.time(), dict(request.tags))
        world.apps[app.app_id] = app
    return api_pb2.AppCreateResponse(app_id=app.app_id, app_page_url=f"{world.web_url}/apps/{app.app_id}")


def get_by_name(world: World, request: Any) -> Any:
    app = world.deployed(request.name)
    stopped = [one for one in world.apps.values() if one.name == request.name and one.versions and one is not app]
    shown = app or (stopped[-1] if stopped else None)
    return api_pb2.AppGetByDeploymentNameResponse(
        app_id=app.app_id if app else "",
        previous_app_id="" if app or not stopped else stopped[-1].app_id,
        environment_name=request.environment_name or "main",
        lifecycle=_lifecycle(shown) if shown else None,
    )


def get_or_create(world: World, request: Any) -> Any:
    app = world.apps.get(request.app_name) or world.deployed(request.app_name)
    if app is None:
        raise GRPCError(Status.NOT_FOUND, f"App '{request.app_name}' not found in environment 'main'")
    return api_pb2.AppGetOrCreateResponse(app_id=app.app_id, handle_metadata=_metadata(app))


def get_info(world: World, request: Any) -> Any:
    return api_pb2.AppGetInfoResponse(info=_metadata(_app(world, request.app_id)))


def get_lifecycle(world: World, request: Any) -> Any:
    return api_pb2.AppGetLifecycleResponse(lifecycle=_lifecycle(_app(world, request.app_id)))


def get_layout(world: World, request: Any) -> Any:
    current = _app(world, request.app_id).current
    functions = current.functions if current else {}
    layout = api_pb2.AppLayout(function_ids={name: one.function_id for name, one in functions.items()})
    return api_pb2.AppGetLayoutResponse(app_layout=layout)


def get_tags(world: World, request: Any) -> Any:
    return api_pb2.AppGetTagsResponse(tags=_app(world, request.app_id).tags)


def heartbeat(_world: World, _request: Any) -> Any:
    return empty_pb2.Empty()


def client_disconnect(world: World, request: Any) -> Any:
    app = _app(world, request.app_id)
    if app.state in {api_pb2.APP_STATE_INITIALIZING, api_pb2.APP_STATE_EPHEMERAL}:
        world.stop_app(app)
    return empty_pb2.Empty()


def publish(world: World, request: Any) -> Any:
    app = _app(world, request.app_id)
    now = time.time()
    with world.lock:
        app.state = request.app_state
        app.tags = dict(request.tags)
        functions = {one.name: one for one in app.pending.values() if one.function_id in request.function_ids.values()}
        app.pending = {}
        if request.app_state == api_pb2.APP_STATE_DEPLOYED:
            app.name = request.name
        number = app.current.number + 1 if app.current else 1
        app.versions.append(Version(number, functions, dict(request.tags), now, request.deployment_tag))
    world.containers.roll_out(app)
    return api_pb2.AppPublishResponse(url=f"{world.web_url}/apps/{app.app_id}", deployed_at=now)


def rollback(world: World, request: Any) -> Any:
    app = _app(world, request.app_id)
    current = app.current
    wanted = request.version if request.version > 0 else (current.number - 1 if current else 0)
    found = [version for version in app.versions if version.number == wanted]
    if current is None or not found:
        raise GRPCError(Status.NOT_FOUND, f"no version v{wanted}")
    now = time.time()
    with world.lock:
        app.versions.append(Version(current.number + 1, found[0].functions, found[0].tags, now, found[0].tag, wanted))
        app.tags = dict(found[0].tags)
    world.containers.roll_out(app)
    return api_pb2.AppRollbackResponse(url=f"{world.web_url}/apps/{app.app_id}", deployed_at=now)


def stop(world: World, request: Any) -> Any:
    world.stop_app(_app(world, request.app_id))
    return empty_pb2.Empty()


def history(world: World, request: Any) -> Any:
    app = _app(world, request.app_id)
    rows = [
        api_pb2.AppDeploymentHistory(
            app_id=app.app_id,
            version=version.number,
            client_version="1.6.4",
            deployed_at=version.deployed_at,
            deployed_by="tester",
            tag=version.tag,
            rollback_version=version.rollback_of,
            rollback_allowed=True,
        )
        for version in reversed(app.versions)
    ]
    return api_pb2.AppDeploymentHistoryResponse(app_deployment_histories=rows)


def list_apps(world: World, _request: Any) -> Any:
    items = [
        api_pb2.AppListResponse.AppListItem(
            app_id=app.app_id,
            description=app.name,
            name=app.name if app.state == api_pb2.APP_STATE_DEPLOYED else "",
            state=app.state,  # type: ignore[arg-type]
            created_at=app.created_at,
            stopped_at=app.stopped_at,
            n_running_tasks=len(world.containers.of_app(app.app_id)),
            metadata=_metadata(app),
        )
        for app in world.apps.values()
    ]
    return api_pb2.AppListResponse(apps=items)


def task_list(world: World, request: Any) -> Any:
    tasks = [
        api_pb2.TaskStats(
            task_id=container.task_id,
            app_id=container.function.app_id,
            app_description=world.apps[container.function.app_id].name,
            started_at=container.started_at,
            enqueued_at=container.started_at,
        )
        for container in world.containers.running()
        if not request.app_id or container.function.app_id == request.app_id
    ]
    return api_pb2.TaskListResponse(tasks=tasks)


def token_info(_world: World, _request: Any) -> Any:
    return api_pb2.TokenInfoGetResponse(token_id="ak-loopback", workspace_id="ac-1", workspace_name="loopback")


def workspace_name(_world: World, _request: Any) -> Any:
    return api_pb2.WorkspaceNameLookupResponse(workspace_name="loopback", username="tester")


def environment(_world: World, request: Any) -> Any:
    name = request.deployment_name or "main"
    settings = api_pb2.EnvironmentSettings(image_builder_version="2025.06", webhook_suffix="")
    metadata = api_pb2.EnvironmentMetadata(name=name, settings=settings)
    return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-main", metadata=metadata)
