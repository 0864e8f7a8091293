"""Mounts, images, volumes, secrets and dicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import empty_pb2
from grpclib import GRPCError, Status
from modal_proto import api_pb2

if TYPE_CHECKING:
    from tests.modal_server.world import World

CREATES = {api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING}


def mount_missing(world: World, request: Any) -> Any:
    missing = [digest for digest in request.sha256_hex_hashes if digest not in world.files]
    return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)


def mount_put(world: World, request: Any) -> Any:
    if request.WhichOneof("data_oneof") == "data":
        world.files[request.sha256_hex] = request.data
    return api_pb2.MountPutFileResponse(exists=request.sha256_hex in world.files)


def mount(world: World, request: Any) -> Any:
    mount_id = world.new_id("mo")
    world.mounts[mount_id] = tuple((file.filename, file.sha256_hex) for file in request.files)
    metadata = api_pb2.MountHandleMetadata(content_checksum_sha256_hex="0" * 64)
    return api_pb2.MountGetOrCreateResponse(mount_id=mount_id, handle_metadata=metadata)


def image(world: World, request: Any) -> Any:
    """Built at once, and cached by what the client says of it."""
    key = request.image.SerializeToString(deterministic=True)
    image_id = world.images.setdefault(key, world.new_id("im"))
    result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
    metadata = api_pb2.ImageMetadata(image_builder_version="2025.06")
    return api_pb2.ImageGetOrCreateResponse(image_id=image_id, result=result, metadata=metadata)


def volume(world: World, request: Any) -> Any:
    name = request.deployment_name
    if name not in world.volumes and request.object_creation_type not in CREATES:
        raise GRPCError(Status.NOT_FOUND, f"Volume '{name}' not found in environment 'main'")
    world.volume_path(name)
    metadata = api_pb2.VolumeMetadata(name=name, version=api_pb2.VOLUME_FS_VERSION_V1)
    return api_pb2.VolumeGetOrCreateResponse(volume_id=world.volumes[name], metadata=metadata)


def volume_get_file(world: World, request: Any) -> Any:
    path = world.root / "volumes" / request.volume_id / request.path.lstrip("/")
    if not path.is_file():
        raise GRPCError(Status.NOT_FOUND, f"{request.path}: no such file")
    size = path.stat().st_size
    url = f"{world.web_url}/volumes/{request.volume_id}/{request.path.lstrip('/')}"
    return api_pb2.VolumeGetFile2Response(get_urls=[url] if size else [], size=size, start=0, len=size)


def volume_put_files(world: World, request: Any) -> Any:
    for file in request.files:
        path = world.root / "volumes" / request.volume_id / file.filename.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(world.files[file.sha256_hex])
    return empty_pb2.Empty()


def secret(world: World, request: Any) -> Any:
    name = request.deployment_name
    if name:
        held = world.secret(name)
        if held is None:
            raise GRPCError(Status.NOT_FOUND, f"Secret '{name}' not found in environment 'main'")
        missing = [key for key in request.required_keys if key not in held]
        if missing:
            raise GRPCError(Status.FAILED_PRECONDITION, f"Secret '{name}' is missing key(s): {', '.join(missing)}")
    return api_pb2.SecretGetOrCreateResponse(secret_id=f"st-{name or 'unnamed'}")


def secret_list(world: World, _request: Any) -> Any:
    items = [
        api_pb2.SecretListItem(label=name, secret_id=f"st-{name}", metadata=api_pb2.SecretMetadata(name=name))
        for name in world.secrets
    ]
    return api_pb2.SecretListResponse(items=items, environment_name="main")


async def volume_list_files(world: World, request: Any) -> Any:
    """One file, or what lies in a folder."""
    root = world.root / "volumes" / request.volume_id
    path = root / request.path.lstrip("/")
    if not path.exists():
        raise GRPCError(Status.NOT_FOUND, f"{request.path}: no such file or folder")
    paths = [path] if path.is_file() else sorted(path.rglob("*") if request.recursive else path.iterdir())
    entries = [
        api_pb2.FileEntry(
            path=str(one.relative_to(root)),
            type=api_pb2.FileEntry.FILE if one.is_file() else api_pb2.FileEntry.DIRECTORY,
            size=one.stat().st_size,
        )
        for one in paths
    ]
    yield api_pb2.VolumeListFilesResponse(entries=entries)


def dict_get_or_create(world: World, request: Any) -> Any:
    if request.deployment_name not in world.dicts and request.object_creation_type not in CREATES:
        raise GRPCError(Status.NOT_FOUND, f"Dict '{request.deployment_name}' not found in environment 'main'")
    dict_id = world.dicts.setdefault(request.deployment_name, world.new_id("di"))
    metadata = api_pb2.DictMetadata(name=request.deployment_name)
    return api_pb2.DictGetOrCreateResponse(dict_id=dict_id, metadata=metadata)


def dict_get(world: World, request: Any) -> Any:
    value = world.dict_entries.get((request.dict_id, request.key))
    return api_pb2.DictGetResponse(found=value is not None, value=value)


def dict_update(world: World, request: Any) -> Any:
    created = True
    with world.lock:
        for entry in request.updates:
            key = (request.dict_id, entry.key)
            if request.if_not_exists and key in world.dict_entries:
                created = False
            else:
                world.dict_entries[key] = entry.value
    return api_pb2.DictUpdateResponse(created=created)


def dict_pop(world: World, request: Any) -> Any:
    with world.lock:
        value = world.dict_entries.pop((request.dict_id, request.key), None)
    return api_pb2.DictPopResponse(found=value is not None, value=value)
