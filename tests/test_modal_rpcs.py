"""A fault at each RPC of a deploy in turn: exit 7, a clear sentence, nothing left running, a clean second deploy.

Which RPCs those are is read from the record of real deploys: one that is not faulted here fails a test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from modal_proto import api_pb2

from planner.targets import local_process
from tests.command import Done, gpuplan
from tests.hand_plans import SPEC_7B, SPEC_70B, plan_by_hand
from tests.modal_server import Fault
from tests.modal_server.hub import serve_any_hub
from tests.releases import LLAMA_7B, LLAMA_70B, put_snapshot

if TYPE_CHECKING:
    from tests.modal_server import ModalServer, World

pytestmark = pytest.mark.network

ROOT = Path(__file__).resolve().parent.parent
OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory."
# Every RPC of a first deploy whose weights are there, and where its first call stands.
LOOKING = ["AppGetOrCreate", "FunctionGet", "DictGetOrCreate", "VolumeGetOrCreate", "SecretGetOrCreate"]
LOOKING += ["VolumeListFiles", "VolumeGetFile2", "DictUpdate"]  # the latter takes the lock
PUBLISHING = ["AppGetByDeploymentName", "AppCreate", "EnvironmentGetOrCreate", "FunctionPrecreate"]
PUBLISHING += ["MountGetOrCreate", "MountBatchedCheckExistence", "MountPutFile", "ImageGetOrCreate"]
PUBLISHING += ["FunctionCreate", "AppPublish"]
RECORDING = ["DictGet", "VolumePutFiles"]
FETCHING = ["AppGetLogs", "FunctionMap", "FunctionGetOutputs", "AppClientDisconnect"]  # where weights are missing
CHANGING = ["AppGetLayout", "AppRollback"]  # where a version runs already; the latter, when the new one fails
RESCALING = ["FunctionUpdateSchedulingParams"]
STOPPING = ["AppList", "AppStop", "TaskList"]  # to leave nothing
HARMLESS = ["AppHeartbeat", "DictPop"]  # the deploy is done without them
ALL = {*LOOKING, *PUBLISHING, *RECORDING, *FETCHING, *CHANGING, *RESCALING, *STOPPING, *HARMLESS}
# Later calls of RPCs that came before: what they are for, and how many calls that passes.
LATER = {"expecting": ("AppGetOrCreate", 1), "observing": ("FunctionGet", 1), "recording": ("DictUpdate", 1)}
RETRIED = ["AppStop", "TaskList", "AppList", "AppRollback"]


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World) -> Path:
    """The 70b's spec on a fresh account: no code was uploaded yet; the weights of both models are there."""
    monkeypatch.setattr("planner.cli.planning._plan", plan_by_hand)
    for pause in ("planner.deployment.undo.PAUSE_S", "planner.targets.modal_lock.PAUSE_S"):
        monkeypatch.setattr(pause, 0.02)
    for release in (LLAMA_70B, LLAMA_7B):
        put_snapshot(world.volume_path("gpuplan-weights"), release)
    world.files.clear()
    path = tmp_path / "llama.yaml"
    path.write_text(SPEC_70B)
    return path


@pytest.fixture
def no_weights(world: World) -> None:
    """Nothing was fetched; the hub can be reached from containers."""
    world.volumes.clear()
    world.container_env |= {"HF_ENDPOINT": serve_any_hub(), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def refuse(world: World, rpc: str, **how: int) -> None:
    world.faults = [Fault(rpc, error="INVALID_ARGUMENT", message=f"no {rpc} today", **how)]


def clean(world: World) -> bool:
    """Whether no app is under way, no container runs and nobody holds a lock."""
    under_way = [app for app in world.apps.values() if app.state != api_pb2.APP_STATE_STOPPED]
    return not under_way and not world.containers.running() and not locks(world)


def locks(world: World) -> list[bytes]:
    return [key for _, key in world.dict_entries if b"lock/" in key]


def refused(done: Done, *sentences: str) -> None:
    """Exit code 7, the sentences, and no traceback."""
    assert done.code == 7, (done.out, done.err)
    for sentence in sentences:
        assert sentence in done.err
    assert not [line for line in done.err.splitlines() if line.startswith("Traceback")]  # an engine's log may have one


def test_every_rpc_of_a_deploy_is_faulted_below(spec: Path, world: World, no_weights: None) -> None:
    """A first deploy with its weights, a change, a rescale, a change that dies, a first that dies, a refusal."""
    assert gpuplan("deploy", spec, "--yes").code == 0
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_7B)
    spec.write_text(SPEC_7B)
    assert gpuplan("deploy", spec, "--yes").code == 0
    assert gpuplan("deploy", spec, "--yes", "--set", "scaling.max_containers=3").code == 0
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_70B, die=OUT_OF_MEMORY)
    spec.write_text(SPEC_70B)
    refused(gpuplan("deploy", spec, "--yes"), "Rolled back: version 4 is version 2 again.")
    refused(gpuplan("deploy", spec, "--yes", "--set", "name=other"), "Nothing is left running.")
    refuse(world, "AppPublish")
    refused(gpuplan("deploy", spec, "--yes", "--set", "name=third"), "Nothing is left running.")
    called = {rpc for rpc, _ in world.requests}
    assert called == ALL
    assert world.unknown == []


@pytest.mark.parametrize("rpc", LOOKING)
def test_a_refused_look_launches_nothing(rpc: str, spec: Path, world: World) -> None:
    refuse(world, rpc)
    refused(gpuplan("deploy", spec, "--yes", "--no-wait"), f"no {rpc} today", "Nothing was ")
    assert clean(world)
    assert world.of_rpc("AppCreate") == []
    world.faults = []
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0


@pytest.mark.parametrize("rpc", [*PUBLISHING, *RECORDING])
def test_a_refusal_on_the_way_leaves_nothing(rpc: str, spec: Path, world: World) -> None:
    refuse(world, rpc)
    refused(gpuplan("deploy", spec, "--yes", "--no-wait"), f"no {rpc} today", "Nothing is left running.")
    assert clean(world)
    world.faults = []
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0


@pytest.mark.parametrize("rpc", FETCHING)
def test_a_refusal_while_weights_are_fetched_leaves_nothing(
    rpc: str, spec: Path, world: World, no_weights: None
) -> None:
    refuse(world, rpc)
    refused(gpuplan("deploy", spec, "--yes", "--no-wait"), f"no {rpc} today", "Nothing is left running.")
    assert clean(world)
    assert world.of_rpc("AppPublish")[1:] == []  # the fetching app's own at most
    world.faults = []
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0


@pytest.mark.parametrize("what", LATER)
def test_a_refusal_of_a_later_call(what: str, spec: Path, world: World) -> None:
    rpc, passing = LATER[what]
    refuse(world, rpc, after=passing)
    refused(gpuplan("deploy", spec, "--yes", "--no-wait"), f"no {rpc} today", "Nothing ")
    assert clean(world)
    world.faults = []
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0


def test_a_refusal_while_the_layout_is_read_leaves_the_old_version(spec: Path, world: World) -> None:
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    spec.write_text(SPEC_7B)
    refuse(world, "AppGetLayout")
    refused(gpuplan("deploy", spec, "--yes"), "no AppGetLayout today", "Version 1 serves as before.")
    world.faults = []
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0


def test_a_refused_rescale_leaves_the_version_that_runs(spec: Path, world: World) -> None:
    more = ("--yes", "--set", "scaling.max_containers=3")
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    refuse(world, "FunctionUpdateSchedulingParams")
    refused(gpuplan("deploy", spec, *more), "no FunctionUpdateSchedulingParams today", "Version 1 serves as before")
    assert locks(world) == []
    world.faults = []
    assert gpuplan("deploy", spec, *more).code == 0


@pytest.mark.parametrize("rpc", HARMLESS)
def test_what_a_deploy_does_without(rpc: str, spec: Path, world: World) -> None:
    refuse(world, rpc)
    done = gpuplan("deploy", spec, "--yes", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["verified"]
    assert "Traceback" not in done.err
    world.faults = []
    assert ("deploy llama with --break-lock until" in done.err) == (rpc == "DictPop") == bool(locks(world))
    again = ("--yes", "--no-wait", "--set", "engine.max_num_seqs=128")
    assert gpuplan("deploy", spec, *again, *(["--break-lock"] if locks(world) else [])).code == 0
    assert locks(world) == []


@pytest.mark.parametrize("rpc", RETRIED)
def test_undoing_is_tried_again(rpc: str, spec: Path, world: World) -> None:
    if rpc == "AppRollback":
        assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
        spec.write_text(SPEC_7B)
    for release in (LLAMA_70B, LLAMA_7B):
        put_snapshot(world.volume_path("gpuplan-weights"), release, die=OUT_OF_MEMORY)
    refuse(world, rpc, times=1)
    done = gpuplan("deploy", spec, "--yes")
    refused(done, "out of memory", "version 1 again" if rpc == "AppRollback" else "Nothing is left running.")


@pytest.mark.parametrize("rpc", ["AppStop", "TaskList"])
def test_what_cannot_be_undone_is_said(rpc: str, spec: Path, world: World) -> None:
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_70B, die=OUT_OF_MEMORY)
    refuse(world, rpc)
    done = gpuplan("deploy", spec, "--yes")
    refused(done, "What is left behind could not be seen or undone", f"no {rpc} today", "`gpuplan stop`")
    world.faults = []
    assert gpuplan("stop", spec, "--yes").code == 0
    assert clean(world)


def test_an_unpublished_app_that_cannot_be_listed_is_said(spec: Path, world: World) -> None:
    world.faults = [Fault(rpc, error="INVALID_ARGUMENT", message=f"no {rpc}") for rpc in ("AppPublish", "AppList")]
    done = gpuplan("deploy", spec, "--yes")
    refused(done, "no AppPublish", "Whether its unpublished app ended could not be seen", "no AppList")


@pytest.mark.parametrize("how", [{"error": "UNAVAILABLE"}, {"delay_s": 0.02}, {"drop": True}, {"lost": True}])
def test_a_passing_fault_of_every_rpc_is_not_noticed(
    how: dict[str, object], spec: Path, world: World, no_weights: None
) -> None:
    """Each RPC's first call fails, is late, or loses its connection before or after it had its effect."""
    world.faults = [Fault(rpc, times=1, **how) for rpc in ALL]  # type: ignore[arg-type]
    done = gpuplan("deploy", spec, "--yes", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["verified"]
    assert locks(world) == []


# RPC -> which limit ends the wait for it, in seconds; None: what --timeout leaves.
HANGING: dict[str, str | None] = {
    "AppGetOrCreate": "modal.survey.__defaults__",
    "DictUpdate": "modal_lock.ANSWER_S",
    "VolumePutFiles": "modal.ANSWER_S",
    "AppPublish": None,
    "FunctionGetOutputs": None,
}


@pytest.mark.parametrize("rpc", HANGING)
def test_a_server_that_hangs_is_left_when_the_time_is_over(
    rpc: str, spec: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was shortened here is what the sentence names: nothing else ended the wait."""
    if limit := HANGING[rpc]:
        monkeypatch.setattr(f"planner.targets.{limit}", (3.0,) if limit.endswith("defaults__") else 3.0)
    if rpc == "FunctionGetOutputs":
        world.volumes.clear()
    world.faults = [Fault(rpc, hang=True)]
    done = gpuplan("deploy", spec, "--yes", "--no-wait", *([] if limit else ["--timeout", "3"]))
    refused(done, "no answer in 3 s" if limit else "Give more with --timeout.", "Nothing ")
    world.faults = []
    assert clean(world)


@pytest.mark.parametrize("rpc", ["DictUpdate", "AppPublish", "VolumePutFiles"])
def test_a_connection_that_is_cut_again_and_again(rpc: str, spec: Path, world: World) -> None:
    world.faults = [Fault(rpc, drop=True)]
    refused(gpuplan("deploy", spec, "--yes", "--no-wait"), "Connection lost", "Nothing ")
    world.faults = []
    assert clean(world)
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0


def children(pid: int) -> list[int]:
    """Processes that this one started; none where there is no /proc."""
    found = {int(path.name): local_process._stat_fields(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    return [child for child, fields in found.items() if fields and int(fields[1]) == pid]


def test_a_killed_deploy_publishes_nothing_more_and_its_lock_is_seen_to_be_dead(
    spec: Path, modal_server: ModalServer
) -> None:
    """On the machine where it ran; kill -9 leaves no time to end `modal deploy` or to drop the lock."""
    world = modal_server.world
    world.faults = [Fault("FunctionCreate", hang=True)]
    command = [sys.executable, "-m", "planner", "deploy", "specs/7b.yaml", "--offline", "--yes", "--set", "name=llama"]
    pinned = ["--set", f"model.revision={LLAMA_7B.revision}"]
    first = subprocess.Popen([*command, *pinned], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not world.of_rpc("FunctionCreate"):
        assert first.poll() is None
        time.sleep(0.05)
    left = children(first.pid)
    assert len(left) == Path("/proc/self/stat").exists()  # `modal deploy`, where it can be seen
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert len(locks(world)) == 1
    until = time.monotonic() + 60
    while [pid for pid in left if local_process.start_time(pid) is not None]:
        assert time.monotonic() < until, "modal deploy goes on"
        time.sleep(0.05)
    world.faults = []
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    assert locks(world) == []
