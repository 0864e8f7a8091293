"""Which function answers which RPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.modal_server import app_answers, function_answers, log_answers, storage_answers

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWERS: dict[str, Callable[..., Any]] = {
    "AppClientDisconnect": app_answers.client_disconnect,
    "AppCreate": app_answers.create,
    "AppDeploymentHistory": app_answers.history,
    "AppGetByDeploymentName": app_answers.get_by_name,
    "AppGetInfo": app_answers.get_info,
    "AppGetLayout": app_answers.get_layout,
    "AppGetLifecycle": app_answers.get_lifecycle,
    "AppGetOrCreate": app_answers.get_or_create,
    "AppGetTags": app_answers.get_tags,
    "AppHeartbeat": app_answers.heartbeat,
    "AppList": app_answers.list_apps,
    "AppPublish": app_answers.publish,
    "AppRollback": app_answers.rollback,
    "AppStop": app_answers.stop,
    "TaskList": app_answers.task_list,
    "TokenInfoGet": app_answers.token_info,
    "WorkspaceNameLookup": app_answers.workspace_name,
    "EnvironmentGetOrCreate": app_answers.environment,
    "AppCountLogs": log_answers.count,
    "AppFetchLogs": log_answers.fetch,
    "AppGetLogs": log_answers.stream,
    "FunctionCreate": function_answers.create,
    "FunctionGet": function_answers.get,
    "FunctionGetOutputs": function_answers.get_outputs,
    "FunctionGetSchedulingParams": function_answers.scheduling,
    "FunctionUpdateSchedulingParams": function_answers.update_scheduling,
    "FunctionMap": function_answers.map_inputs,
    "FunctionPrecreate": function_answers.precreate,
    "DictGet": storage_answers.dict_get,
    "DictGetOrCreate": storage_answers.dict_get_or_create,
    "DictPop": storage_answers.dict_pop,
    "DictUpdate": storage_answers.dict_update,
    "ImageGetOrCreate": storage_answers.image,
    "MountBatchedCheckExistence": storage_answers.mount_missing,
    "MountGetOrCreate": storage_answers.mount,
    "MountPutFile": storage_answers.mount_put,
    "SecretGetOrCreate": storage_answers.secret,
    "SecretList": storage_answers.secret_list,
    "VolumeGetFile2": storage_answers.volume_get_file,
    "VolumeGetOrCreate": storage_answers.volume,
    "VolumeListFiles": storage_answers.volume_list_files,
    "VolumePutFiles": storage_answers.volume_put_files,
}
