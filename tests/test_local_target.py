"""The local target with real processes; the engine is a stand-in that speaks vLLM's HTTP."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from planner.deployment.access import auth_headers
from planner.verify import UnansweredError, model_cards
from tests.command import gpuplan
from tests.hand_plans import plan_by_hand

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("stand_in_vllm")]
SPEC = """\
name: toy
model: {repo: org/toy, path: toy}
engine: {max_model_len: 256, max_num_seqs: 4, extra_args: {load-format: dummy}}
gpu: {types: [L40S], counts: [1]}
secrets: {api_key: vllm-api-key}
target: local
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("planner.cli.planning._plan", plan_by_hand)
    monkeypatch.setattr("planner.deployment.undo.PAUSE_S", 0.05)
    monkeypatch.setenv("VLLM_API_KEY", "sk-very-secret")
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "toy").mkdir()
    path = tmp_path / "toy.yaml"
    path.write_text(SPEC)
    yield path
    gpuplan("stop", path, "--yes")


def behave(spec: Path, **behaviour: object) -> None:
    """What the stand-in engine does from its next start on."""
    (spec.parent / "toy" / "vllm-stand-in.json").write_text(json.dumps(behaviour))


def running(spec: Path) -> dict[str, object]:
    shown = json.loads(gpuplan("status", spec, "--json").out)["running"]
    assert isinstance(shown, dict)
    return shown


def test_the_whole_life(spec: Path) -> None:
    deployed = gpuplan("deploy", spec, "--yes", "--json")
    assert deployed.code == 0, deployed.err
    said = json.loads(deployed.out)
    assert said["verified"]
    seen = {proof["what"]: proof["seen"] for proof in said["proofs"]}
    assert seen["model"] == "org/toy"
    assert seen["weights"] == str((spec.parent / "toy").resolve())
    assert seen["max_model_len"] == "256"

    url = said["running"]["url"]
    with pytest.raises(UnansweredError) as refused:
        model_cards(url, {})
    assert refused.value.status == 401
    assert model_cards(url, auth_headers(os.environ))[0]["id"] == "org/toy"

    assert "running, version 1" in gpuplan("status", spec).out
    assert gpuplan("diff", spec, "--exit-code").code == 0
    assert "No changes" in gpuplan("deploy", spec, "--yes").out

    spec.write_text(SPEC.replace("max_model_len: 256", "max_model_len: 128"))
    assert gpuplan("diff", spec, "--exit-code").code == 3
    changed = gpuplan("deploy", spec, "--yes")
    assert changed.code == 0, changed.err
    assert "max_model_len: 128" in changed.out

    assert "gpuplan: engine: starting: vllm serve" in gpuplan("logs", spec).out
    assert "version 3 is version 1 again" in gpuplan("rollback", spec, "--yes").out
    assert running(spec)["version"] == 3

    stopped = gpuplan("stop", spec, "--yes")
    assert stopped.code == 0
    assert "nothing runs" in gpuplan("status", spec).out


def test_it_serves_on_free_gpus_and_says_which(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from planner.targets import local_process
    from planner.targets.local_devices import Device

    free = {0: 1_000, 1: 45_000, 2: 45_000, 3: 45_000}
    found = [Device(index, f"GPU-{index}", "NVIDIA L40S", 46_068, mib) for index, mib in free.items()]
    monkeypatch.setattr(local_process, "nvidia_gpus", lambda: found)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,0,1")
    given: list[tuple[str, str]] = []
    whole = local_process.start

    def start(folder: Path, arguments: list[str], log: Path, environ: dict[str, str], held: tuple[int, ...]) -> int:
        given.append((environ["CUDA_DEVICE_ORDER"], environ["CUDA_VISIBLE_DEVICES"]))
        return whole(folder, arguments, log, environ, held)

    monkeypatch.setattr(local_process, "start", start)
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 0, done.err
    assert "version 1 started on this machine, on GPU 3" in done.err
    assert "taken       GPU 3" in gpuplan("status", spec).out
    assert running(spec)["devices"] == [3]
    assert gpuplan("deploy", spec, "--yes", "--set", "name=other", "--set", "gpu.counts=[1]").code == 0
    assert given == [("PCI_BUS_ID", "3"), ("PCI_BUS_ID", "1")]
    none_left = gpuplan("deploy", spec, "--yes", "--set", "name=third")
    assert none_left.code == 7
    assert "planned are 1×L40S, free are 0 of 3" in none_left.err
    assert gpuplan("stop", spec, "--set", "name=other", "--yes").code == 0


def test_a_version_that_dies_gives_way_to_the_one_before(spec: Path) -> None:
    assert gpuplan("deploy", spec, "--yes").code == 0
    spec.write_text(SPEC.replace("max_model_len: 256", "max_model_len: 128"))
    behave(spec, die="torch.OutOfMemoryError: CUDA out of memory.")
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "out of memory while starting" in done.err
    assert "Rolled back: version 3 is version 1 again." in done.err


def test_a_first_version_that_dies_leaves_nothing(spec: Path) -> None:
    behave(spec, die="Segmentation fault")
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "Segmentation fault" in done.err
    assert "Nothing is left running." in done.err
    assert "nothing runs" in gpuplan("status", spec).out


def test_what_is_missing_on_this_machine_is_told_at_once(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec.write_text(SPEC.replace("counts: [1]", "counts: [2]").replace("path: toy", "path: nowhere"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("VLLM_API_KEY")
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    for said in ("no `vllm` on the PATH", "this machine has no GPU", "set VLLM_API_KEY", "is not a folder"):
        assert said in done.err


def test_a_second_deploy_is_refused_while_one_runs(spec: Path) -> None:
    from planner.targets import local

    with local.lock("toy", None, 60, lambda _: None):
        done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "another deploy of it runs on this machine" in done.err
    assert f"(process {os.getpid()}), since" in done.err


def test_a_folder_that_cannot_be_kept_is_told_before_anything_starts(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "toy: nothing can be kept in /dev/null/gpuplan/local/toy (Not a directory" in done.err
    assert done.err.endswith("Nothing was changed.\n")


def test_a_version_that_is_stopped_while_it_starts_does_not_bring_the_old_one_back(spec: Path) -> None:
    """Its process is gone before the deploy looks: that must not be taken for a version that died."""
    from planner.targets import local, local_process, local_store

    assert gpuplan("deploy", spec, "--yes").code == 0
    behave(spec, seconds=600)

    def stop() -> None:
        while (now := local_store.read_current("toy")) is None or now.version == 1:
            time.sleep(0.02)
        local.tell_stop("toy", None)
        local_process.end(now.pid)

    stopper = threading.Thread(target=stop)
    stopper.start()
    done = gpuplan("deploy", spec, "--yes", "--set", "engine.max_num_seqs=2")
    stopper.join()
    assert done.code == 7
    assert f"(process {os.getpid()}) stopped it at" in done.err
    assert "Nothing is left running." in done.err
    assert "nothing runs" in gpuplan("status", spec).out
    assert local_store.newest_version("toy") == 2


def test_a_process_that_died_later_is_seen(spec: Path) -> None:
    assert gpuplan("deploy", spec, "--yes").code == 0
    from planner.targets import local, local_process

    now = local.observe("toy", None)
    assert now is not None
    assert local_process.end(int(now.provider_id.partition("@")[0]))
    shown = running(spec)
    assert (shown["state"], shown["containers"]) == ("dead", 0)
    again = gpuplan("deploy", spec, "--yes")
    assert again.code == 0, again.err
    assert "~ state: dead -> running" in again.out
    assert running(spec)["state"] == "running"


def test_a_version_that_had_died_is_not_brought_back(spec: Path) -> None:
    from planner.targets import local, local_process

    assert gpuplan("deploy", spec, "--yes").code == 0
    now = local.observe("toy", None)
    assert now is not None
    assert local_process.end(int(now.provider_id.partition("@")[0]))
    behave(spec, die="Segmentation fault")
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "Nothing is left running." in done.err
    assert "nothing runs" in gpuplan("status", spec).out


def test_logs_can_be_followed_to_the_end(spec: Path) -> None:
    assert gpuplan("deploy", spec, "--yes").code == 0
    lines: list[str] = []
    from planner.targets import local

    reader = threading.Thread(target=lambda: lines.extend(local.log_lines("toy", None, follow=True)))
    reader.start()
    while not lines:
        time.sleep(0.01)
    assert gpuplan("stop", spec, "--yes").code == 0
    reader.join()
    assert any(line.startswith("gpuplan: engine: starting: vllm serve") for line in lines)


def test_a_rollback_to_nowhere_is_refused(spec: Path) -> None:
    assert gpuplan("deploy", spec, "--yes").code == 0
    done = gpuplan("rollback", spec, "7", "--yes")
    assert done.code == 7
    assert "there is no version 7 to go back to" in done.err
    assert gpuplan("rollback", spec, "--yes").code == 7


def test_an_interrupt_while_versions_change_brings_the_old_one_back(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old process has ended, the new one has started and is not recorded yet."""
    from planner.targets import local, local_process

    started: list[int] = []
    whole = local._started_at

    def interrupted(name: str, pid: int) -> float:
        started.append(pid)
        if len(started) == 1:
            raise KeyboardInterrupt
        return whole(name, pid)

    assert gpuplan("deploy", spec, "--yes").code == 0
    monkeypatch.setattr(local, "_started_at", interrupted)
    done = gpuplan("deploy", spec, "--yes", "--set", "engine.max_num_seqs=2")
    assert done.code == 7
    assert "interrupted. Rolled back: version 3 is version 1 again." in done.err
    assert running(spec)["state"] == "running"
    assert not local_process.alive_in_group(started[0])


def test_ctrl_c_between_the_start_and_its_record_waits_for_that(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from planner.targets import local, local_process

    signal.signal(signal.SIGINT, signal.default_int_handler)
    started: list[int] = []
    whole = local._started_at

    def pressed(name: str, pid: int) -> float:
        started.append(pid)
        os.kill(os.getpid(), signal.SIGINT)
        return whole(name, pid)

    monkeypatch.setattr(local, "_started_at", pressed)
    done = gpuplan("deploy", spec, "--yes")
    assert (done.code, "interrupted. Nothing is left running." in done.err) == (7, True)
    assert not local_process.alive_in_group(started[0])


def test_workers_that_outlive_their_server_are_ended_too(spec: Path) -> None:
    """They hold the GPUs; the process that started them was killed and nobody reaps them for us."""
    from planner.targets import local, local_process

    assert gpuplan("deploy", spec, "--yes").code == 0
    now = local.observe("toy", None)
    assert now is not None
    pid = int(now.provider_id.partition("@")[0])
    os.kill(pid, signal.SIGKILL)
    while local_process.start_time(pid) is not None:
        time.sleep(0.01)
    assert local_process.alive_in_group(pid)
    assert gpuplan("stop", spec, "--yes").code == 0
    assert not local_process.alive_in_group(pid)


def test_a_download_that_hangs_is_ended_when_the_time_is_over(tmp_path: Path) -> None:
    from planner.targets import local_process

    (tmp_path / "app.py").write_text("import time\nprint('began', flush=True)\ntime.sleep(60)\n")
    said: list[str] = []
    with pytest.raises(TimeoutError):
        said.extend(local_process.run(tmp_path, [], timeout_s=1))
    assert said in ([], ["began"])  # a busy machine may not have come that far


def test_a_port_is_one_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nobody listens on it yet; until the process that it was handed to ends."""
    from planner.targets import local_process

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    wanted = local_process.free_port(0)
    (tmp_path / "app.py").write_text("import time\ntime.sleep(60)\n")
    with local_process.claimed_port(wanted) as (port, held):
        assert port == wanted
        pid = local_process.start(tmp_path, [], tmp_path / "log.txt", dict(os.environ), held)
    with local_process.claimed_port(wanted) as (other, _):
        assert other != wanted
    local_process.end(pid)
    with local_process.claimed_port(wanted) as (again, _):
        assert again == wanted
