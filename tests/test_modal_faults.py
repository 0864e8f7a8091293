"""What goes wrong between here and a ready endpoint: nothing is lost, nothing is left running, and it is said."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from planner.targets import modal_store
from tests.command import gpuplan
from tests.hand_plans import SPEC_7B, SPEC_70B, plan_by_hand
from tests.modal_server import Fault
from tests.releases import LLAMA_7B, LLAMA_70B, put_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.modal_server import ModalServer, World

pytestmark = pytest.mark.network


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World) -> Path:
    monkeypatch.setattr("planner.cli.planning._plan", plan_by_hand)
    monkeypatch.setattr("planner.deployment.undo.PAUSE_S", 0.05)
    for release in (LLAMA_70B, LLAMA_7B):
        put_snapshot(world.volume_path("gpuplan-weights"), release)
    path = tmp_path / "llama.yaml"
    path.write_text(SPEC_70B)
    return path


def nothing_runs(world: World) -> bool:
    return world.deployed("llama") is None and world.containers.running() == []


def locks(world: World) -> list[bytes]:
    return [key for _, key in world.dict_entries if b"lock/" in key]


@pytest.mark.parametrize("rpc", ["FunctionCreate", "AppPublish"])
def test_a_refused_change_leaves_the_old_version_serving(rpc: str, spec: Path, world: World) -> None:
    assert gpuplan("deploy", spec, "--yes").code == 0
    before = world.containers.running()
    spec.write_text(SPEC_7B)
    world.faults = [Fault(rpc, error="PERMISSION_DENIED", message="your plan has no such GPU")]
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "your plan has no such GPU" in done.err
    assert "Version 1 serves as before." in done.err
    assert world.containers.running() == before


ENGINE_DEATHS = {
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.": "out of memory while starting",
    "ValueError: No available memory for the cache blocks.": "nothing is left for the KV cache",
    "vllm serve: error: unrecognized arguments: --no-such-flag": "does not know a flag",
}


@pytest.mark.parametrize(("line", "said"), ENGINE_DEATHS.items())
def test_an_engine_that_dies_is_told_in_our_words_and_stopped(line: str, said: str, spec: Path, world: World) -> None:
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_70B, die=line)
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert said in done.err
    assert line in done.err
    assert "Nothing is left running." in done.err
    assert nothing_runs(world)


def test_an_engine_that_dies_gives_way_to_the_version_before(spec: Path, world: World) -> None:
    assert gpuplan("deploy", spec, "--yes").code == 0
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_7B, die="torch.OutOfMemoryError: CUDA out of memory.")
    spec.write_text(SPEC_7B)
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "Rolled back: version 3 is version 1 again." in done.err
    status = json.loads(gpuplan("status", spec, "--json").out)["running"]
    assert (status["version"], status["planned"]["model"]["repo"]) == (3, LLAMA_70B.repo)
    spec.write_text(SPEC_70B)
    assert "No changes" in gpuplan("diff", spec).out


def test_an_endpoint_that_refuses_us_is_told_at_once(spec: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODAL_PROXY_TOKEN_SECRET", "ws-wrong")
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "the endpoint refuses us" in done.err
    assert "MODAL_PROXY_TOKEN_ID" in done.err
    assert nothing_runs(world)


def test_the_endpoint_refuses_a_call_without_its_key(spec: Path, modal_server: ModalServer) -> None:
    from planner.verify import UnansweredError, model_cards

    assert gpuplan("deploy", spec, "--yes").code == 0
    url = f"{modal_server.world.web_url}/servers/llama/Engine"
    key, secret = modal_server.world.proxy_token
    for headers in ({}, {"Modal-Key": key, "Modal-Secret": secret}):
        with pytest.raises(UnansweredError) as refused:
            model_cards(url, headers)
        assert refused.value.status == 401


@pytest.mark.usefixtures("two_seconds_to_wait")
def test_the_readiness_limit_is_kept_and_nothing_is_left(spec: Path, world: World) -> None:
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_70B, seconds=600)
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "not ready after" in done.err
    assert nothing_runs(world)


def test_ctrl_c_while_waiting_leaves_nothing_and_says_so(spec: Path, world: World) -> None:
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_70B, seconds=600)
    interrupt_when(lambda: bool(world.containers.running()), lambda: bool(world.of_rpc("AppStop")))
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "interrupted" in done.err
    assert "Nothing is left running." in done.err
    assert nothing_runs(world)
    assert locks(world) == []


def test_ctrl_c_while_modal_deploy_runs_leaves_the_old_version(spec: Path, world: World) -> None:
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    spec.write_text(SPEC_7B)
    world.faults = [Fault("FunctionCreate", hang=True)]
    calls = len(world.of_rpc("FunctionCreate"))
    interrupt_when(lambda: len(world.of_rpc("FunctionCreate")) > calls, lambda: bool(world.of_rpc("AppList")))
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "Version 1 serves as before." in done.err


def test_ctrl_c_while_the_lock_is_taken_leaves_none(spec: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider has it already, the answer comes too late."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    whole = modal_store.take_lock

    async def taken(*arguments: Any) -> None:
        await whole(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(600)

    monkeypatch.setattr(modal_store, "take_lock", taken)
    done = gpuplan("deploy", spec, "--yes")
    assert (done.code, "Interrupted. Nothing was changed." in done.err) == (7, True)
    assert locks(world) == []


def test_ctrl_c_when_all_is_done_comes_too_late(spec: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    whole = modal_store.drop_lock

    async def interrupted(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await whole(*arguments)

    monkeypatch.setattr(modal_store, "drop_lock", interrupted)
    done = gpuplan("deploy", spec, "--yes", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["verified"]
    assert locks(world) == []


def test_ctrl_c_while_a_failure_is_undone_says_that_something_may_be_left(
    spec: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("planner.deployment.launch.take_back", interrupted)
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_70B, die="Segmentation fault")
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "Segmentation fault" in done.err
    assert "Interrupted while that was undone: something may be left running." in done.err
    assert "end it with `gpuplan stop`, for the app llama" in done.err
    assert locks(world) == []


@pytest.fixture
def someone(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Does something to the app as soon as the deploy waits for its own version."""
    monkeypatch.setattr("planner.deployment.ready.ASK_EVERY_S", 0.0)

    def does(what: Any) -> None:
        def wait() -> None:
            while not (app := world.deployed("llama")) or not world.containers.of_app(app.app_id):
                time.sleep(0.02)
            what(app)

        threading.Thread(target=wait, daemon=True).start()

    return does


def test_a_version_that_someone_stops_is_not_waited_for(spec: Path, world: World, someone: Any) -> None:
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_70B, seconds=600)
    someone(world.stop_app)
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "llama: version 1 was stopped by someone else" in done.err
    assert "Nothing is left running." in done.err
    assert nothing_runs(world)


def test_what_someone_else_launched_meanwhile_is_left_as_it_is(spec: Path, world: World, someone: Any) -> None:
    """By hand, or with --break-lock: undoing our version must not end theirs."""
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_70B, seconds=600)
    someone(lambda app: app.versions.append(replace(app.current, number=2)))
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "version 2 was launched by someone else over version 1" in done.err
    assert "Version 2, which someone else launched, is left as it is." in done.err
    app = world.deployed("llama")
    assert app is not None
    assert [version.number for version in app.versions] == [1, 2]


def interrupt_when(ready: Any, acted: Any) -> None:
    """Ctrl-C for this process as soon as ``ready()``; again where nothing came of it.

    A test run in the background of a script ignores it; Python drops it where it comes inside a weakref's callback.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def wait() -> None:
        while not ready():
            time.sleep(0.02)
        while not acted():
            os.kill(os.getpid(), signal.SIGINT)
            until = time.monotonic() + 30
            while time.monotonic() < until and not acted():
                time.sleep(0.1)

    threading.Thread(target=wait, daemon=True).start()


def test_an_unreachable_server_is_told_before_the_client_tries_for_a_minute(
    spec: Path, modal_server: ModalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("planner.targets.modal_sdk.within", None)  # the client is not asked
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "127.0.0.1:9 cannot be reached" in done.err


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://[", "http://127.0.0.1:99999"])
def test_an_address_that_is_none(
    url: str, spec: Path, modal_server: ModalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", url)
    done = gpuplan("status", spec)
    assert done.code == 7
    assert f"MODAL_SERVER_URL (or server_url in its configuration) is {url!r}, which is no URL" in done.err


def test_a_configuration_that_cannot_be_read_is_told(
    spec: Path, modal_server: ModalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client reads it while it is imported: only a fresh process sees that."""
    broken = spec.with_name("modal.toml")
    broken.write_text("[[x")
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(broken))
    done = subprocess.run(
        [sys.executable, "-m", "planner", "status", str(spec)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 7
    assert done.stderr.startswith(f"modal: Error when reading the modal configuration from `{broken}`.")
    assert done.stderr.endswith("Mend that file or remove it, then log in with `modal setup`.\n")


def test_without_a_token(spec: Path, modal_server: ModalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODAL_TOKEN_ID")
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "modal: no token. Log in with `modal setup`" in done.err


@pytest.mark.parametrize("command", ["deploy", "stop", "rollback"])
def test_with_nobody_to_ask_it_is_bad_usage_whatever_else_is_wrong(
    spec: Path, modal_server: ModalServer, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.delenv("MODAL_TOKEN_ID")
    done = gpuplan(command, spec)
    assert done.code == 2
    assert "modal: no token. Log in with `modal setup`" in done.err
    assert done.err.endswith("There is no terminal to ask on: pass --yes.\n")


def test_a_server_that_never_answers_a_look(spec: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.targets.ANSWER_S", 0.5)
    world.faults = [Fault("AppGetOrCreate", hang=True)]
    done = gpuplan("status", spec)
    assert (done.code, "Traceback" in done.err) == (7, False)
    assert "no answer in" in done.err


def test_a_hub_that_containers_cannot_reach_is_told(spec: Path, world: World) -> None:
    world.volumes.clear()
    world.container_env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert f"llama: weights of {LLAMA_70B.repo}: modal run: " in done.err
    assert "Nothing is left running." in done.err
    assert not [line for line in done.err.splitlines() if "Traceback" in line or "above exception" in line]
