"""The life of a deployment on the stand-in of Modal's server, by the real client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from tests.command import Done, gpuplan
from tests.hand_plans import SPEC_7B, SPEC_70B, plan_by_hand
from tests.releases import LLAMA_7B, LLAMA_70B, put_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.modal_server import World

pytestmark = pytest.mark.network


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World) -> Path:
    """The 70b's spec; the weights of both models are in the Volume already."""
    monkeypatch.setattr("planner.cli.planning._plan", plan_by_hand)
    for release in (LLAMA_70B, LLAMA_7B):
        put_snapshot(world.volume_path("gpuplan-weights"), release)
    path = tmp_path / "llama.yaml"
    path.write_text(SPEC_70B)
    return path


def test_the_whole_life(spec: Path, world: World) -> None:
    deployed = gpuplan("deploy", spec, "--yes", "--json")
    assert deployed.code == 0, deployed.err
    said = json.loads(deployed.out)
    assert said["launched"]
    assert said["verified"]
    assert all(proof["holds"] for proof in said["proofs"])
    assert [proof["what"] for proof in said["proofs"]] == [
        "GPUs",
        "model",
        "weights",
        "max_model_len",
        "engine",
        "completion",
    ]
    on_the_wire = world.of_rpc("FunctionCreate")[-1].function
    assert (on_the_wire.resources.gpu_config.gpu_type, on_the_wire.resources.gpu_config.count) == ("A100-80GB", 2)
    assert (on_the_wire.resources.milli_cpu, on_the_wire.resources.memory_mb) == (4000, 32768)
    assert on_the_wire.autoscaler_settings.max_containers == 1
    assert on_the_wire.secret_ids == ["st-vllm-api-key"]
    assert [(mount.mount_path, mount.read_only) for mount in on_the_wire.volume_mounts] == [
        ("/weights", True),
        ("/cache", False),
    ]
    assert not on_the_wire.http_config.unauthenticated

    status = gpuplan("status", spec)
    assert status.code == 0
    for shown in ("deployed, version 1", "healthy", "2×A100-80GB", "$5.44/h"):
        assert shown in status.out

    assert "No changes" in gpuplan("diff", spec, "--exit-code").out
    again = gpuplan("deploy", spec, "--yes")
    assert (again.code, len(world.of_rpc("AppPublish"))) == (0, 1)
    assert "No changes" in again.out
    same = json.loads(gpuplan("deploy", spec, "--yes", "--json").out)
    assert (same["launched"], same["running"]["version"]) == (False, 1)

    spec.write_text(SPEC_7B)
    difference = gpuplan("diff", spec, "--exit-code")
    assert difference.code == 3
    assert "~ gpu: A100-80GB:2 -> L40S:1" in difference.out
    assert "~ model.repo: meta-llama/Llama-2-70b-chat-hf -> meta-llama/Llama-2-7b-chat-hf" in difference.out
    assert "-$3.24/h" in difference.out

    changed = gpuplan("deploy", spec, "--yes")
    assert changed.code == 0, changed.err
    assert "version 2" in changed.out
    assert LLAMA_7B.repo in changed.out

    rolled_back = gpuplan("rollback", spec, "--yes", "--json")
    assert rolled_back.code == 0, rolled_back.err
    restored = json.loads(rolled_back.out)
    assert restored["verified"]
    assert [(proof["what"], proof["holds"]) for proof in restored["proofs"]] == [
        (proof["what"], True) for proof in said["proofs"]
    ]
    running = restored["running"]
    assert (running["version"], running["verified"]) == (3, True)
    assert running["planned"]["model"]["repo"] == LLAMA_70B.repo
    assert running["gpus"] == [{"gpu": "A100-80GB", "count": 2}]

    logs = gpuplan("logs", spec)
    assert "gpuplan: engine: ready" in logs.out

    stopped = gpuplan("stop", spec, "--yes")
    assert stopped.code == 0, stopped.err
    assert "lists neither the app nor a container" in stopped.out
    assert world.containers.running() == []
    assert world.deployed("llama") is None
    assert "nothing runs" in gpuplan("status", spec).out
    assert "nothing runs" in gpuplan("stop", spec, "--yes").out
    assert world.unknown == []


def test_no_wait_verifies_nothing_and_says_so(spec: Path, world: World) -> None:
    done = gpuplan("deploy", spec, "--yes", "--no-wait")
    assert done.code == 0, done.err
    assert "Nothing was verified" in done.out
    assert world.deployed("llama") is not None
    assert world.containers.running() == []


def test_what_was_never_verified_is_proven_by_the_next_deploy(spec: Path, world: World) -> None:
    """After --no-wait, or a deploy that was killed while it waited."""
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    assert "never: `gpuplan deploy` again does it" in gpuplan("status", spec).out
    assert gpuplan("deploy", spec).code == 2
    assert "No changes" in gpuplan("deploy", spec, "--no-wait").out
    said = json.loads(gpuplan("deploy", spec, "--yes", "--json").out)
    assert (said["launched"], said["verified"], said["running"]["version"]) == (False, True, 1)
    assert len(world.of_rpc("AppPublish")) == 1
    assert json.loads(gpuplan("status", spec, "--json").out)["running"]["verified"]
    assert "completion" not in gpuplan("deploy", spec, "--yes").out


def test_what_was_never_verified_and_does_not_hold_is_told(spec: Path, world: World) -> None:
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_70B, die="torch.OutOfMemoryError: CUDA out of memory.")
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "out of memory" in done.err
    assert "Version 1 is left as it was: end it with `gpuplan stop`" in done.err


def test_the_number_of_containers_changes_in_place(spec: Path, world: World) -> None:
    assert gpuplan("deploy", spec, "--yes").code == 0
    before = world.containers.running()
    more = ("--set", "scaling.max_containers=3", "--set", "scaling.scaledown_window_s=60")
    done = gpuplan("deploy", spec, *more, "--yes")
    assert done.code == 0, done.err
    assert "In place: only the number of containers changes." in done.out
    assert "scaling: 0 to 3 containers, idle for 60 s" in done.out
    assert len(world.of_rpc("AppPublish")) == 1
    assert world.containers.running() == before
    assert gpuplan("diff", spec, *more, "--exit-code").code == 0


def test_dry_run_asks_nobody(spec: Path, world: World) -> None:
    done = gpuplan("deploy", spec, "--dry-run")
    assert done.code == 0
    assert world.requests == []


def test_without_a_terminal_and_yes_it_ends_with_2(spec: Path, world: World) -> None:
    done = gpuplan("deploy", spec)
    assert done.code == 2
    assert "--yes" in done.err
    assert world.of_rpc("AppCreate") == []
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    assert gpuplan("stop", spec).code == 2
    assert gpuplan("deploy", spec, "--yes", "--no-wait", "--set", "engine.max_num_seqs=64").code == 0
    assert gpuplan("rollback", spec, "1").code == 2


def test_every_problem_of_the_account_is_told_at_once(spec: Path, world: World) -> None:
    world.secrets = {"vllm-api-key": {"OTHER": "x"}}
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "Modal has no secret huggingface-secret" in done.err
    assert "vllm-api-key lacks VLLM_API_KEY" in done.err
    assert "Nothing was launched." in done.err
    assert world.of_rpc("AppCreate") == []


def test_doctor_finds_the_same_before_anything_is_launched(spec: Path, world: World) -> None:
    def of_deploy(done: Done) -> list[tuple[str, str]]:
        rows = json.loads(done.out)
        return [(row["state"], row["found"]) for row in rows if row["thing"] == "deploy llama"]

    fine = gpuplan("doctor", spec, "--json")
    assert fine.code == 0
    assert of_deploy(fine) == [("ok", "nothing stands in the way on modal; the weights are in place")]
    world.secrets.clear()
    bad = gpuplan("doctor", spec, "--json")
    assert bad.code == 7
    assert [state for state, _ in of_deploy(bad)] == ["broken", "broken"]
    assert world.of_rpc("AppCreate") == []


def test_no_secret_is_in_a_file_an_argument_a_log_or_an_error(spec: Path, world: World, tmp_path: Path) -> None:
    rendered = gpuplan("render", spec, "--out", tmp_path / "out")
    done = gpuplan("deploy", spec, "--yes")
    texts = [done.out, done.err, rendered.out, (tmp_path / "out" / "app.py").read_text()]
    texts += [log.text for log in world.logs] + [str(request) for _, request in world.requests]
    for secret in ("hf_very_secret", "sk-very-secret", "ws-test"):
        assert [text for text in texts if secret in text] == []


def test_a_second_deploy_is_refused_while_one_runs(spec: Path, world: World) -> None:
    from planner.targets import modal

    with modal.lock("llama", None, 60, lambda _: None):
        done = gpuplan("deploy", spec, "--yes")
        assert done.code == 7
        assert "is deploying it since" in done.err
        assert world.of_rpc("AppPublish") == []
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0


def test_a_stop_tells_who_is_deploying_and_tells_that_deploy(spec: Path, world: World) -> None:
    from planner.targets import modal

    assert gpuplan("deploy", spec, "--yes").code == 0
    with modal.lock("llama", None, 60, lambda _: None) as stopped:
        assert f"(process {os.getpid()}) began to deploy it at" in gpuplan("status", spec).out
        assert stopped() is None
        done = gpuplan("stop", spec, "--yes")
        told = stopped()
        assert gpuplan("stop", spec).code == 2  # nothing runs, but the deploy may go on: it would ask
    assert done.code == 0, done.err
    assert f"(process {os.getpid()}) is deploying it since" in done.err
    assert "it publishes nothing more, or ends at once what it has published" in done.err
    assert "llama: stopped." in done.out
    assert world.deployed("llama") is None
    assert told is not None
    assert told.who.endswith(f"(process {os.getpid()})")
    with modal.lock("llama", None, 60, lambda _: None) as stopped:
        assert stopped() is None  # that was said to the deploy before
    assert json.loads(gpuplan("status", spec, "--json").out)["deploying"] is None


@pytest.mark.parametrize(("step", "published"), [("fetch_weights", 1), ("launch", 2)])
def test_a_deploy_that_is_told_to_stop_ends_what_it_began(
    step: str, published: int, spec: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While weights are fetched it publishes nothing, afterwards it ends what it has published; nor is the old back."""
    from planner.targets import modal

    assert gpuplan("deploy", spec, "--yes").code == 0
    shutil.rmtree(world.volume_path("gpuplan-weights") / f"{LLAMA_7B.repo}@{LLAMA_7B.revision}")
    spec.write_text(SPEC_7B)
    monkeypatch.setattr(modal, "fetch_weights", lambda release, *_: release.revision)
    whole = getattr(modal, step)

    def stopped(*arguments: Any) -> Any:
        modal.tell_stop("llama", None)
        return whole(*arguments)

    monkeypatch.setattr(modal, step, stopped)
    done = gpuplan("deploy", spec, "--yes", "--no-wait")
    assert done.code == 7
    assert f"(process {os.getpid()}) stopped it at" in done.err
    assert "Nothing is left running." in done.err
    assert len(world.of_rpc("AppPublish")) == published
    assert world.deployed("llama") is None
    assert world.containers.running() == []


def test_a_killed_deploy_is_told_by_the_next_status(spec: Path, world: World) -> None:
    from planner.targets import lock_holder, modal_sdk, modal_store

    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    dead = replace(lock_holder.myself(600), started_at=1.0)
    assert modal_sdk.within(5, "test", modal_store.take_lock("llama", lock_holder.text_of(dead), None)) is None
    shown = gpuplan("status", spec)
    assert "and was killed. What it left may not be what was planned" in shown.out
    assert json.loads(gpuplan("status", spec, "--json").out)["deploying"]["alive"] is False
    assert gpuplan("deploy", spec, "--yes").code == 0
    assert "was killed" not in gpuplan("status", spec).out


def test_a_dead_deploys_lock_runs_out(spec: Path, world: World) -> None:
    from planner.targets import modal, modal_sdk, modal_store

    dead = json.dumps({"who": "x", "since": 0, "until": 1})
    assert modal_sdk.within(5, "test", modal_store.take_lock("llama", dead, None)) is None
    with modal.lock("llama", None, 60, lambda _: None):
        assert len(world.dict_entries) == 1
    assert world.dict_entries == {}


def test_records_outlive_the_week_that_a_dict_keeps_them(spec: Path, world: World) -> None:
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    world.dict_entries.clear()
    assert gpuplan("diff", spec, "--exit-code").code == 0


@pytest.fixture
def second(spec: Path) -> Path:
    """Version 1 was launched and never verified, version 2 runs."""
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    spec.write_text(SPEC_7B)
    assert gpuplan("deploy", spec, "--yes").code == 0
    return spec


def test_a_rollback_to_what_was_never_verified_says_so_and_verifies_it(second: Path) -> None:
    done = gpuplan("rollback", second, "--yes")
    assert done.code == 0, done.err
    assert "Version 1 was never seen to answer as planned." in done.err
    assert "llama: version 3 is version 1 again.\n  GPUs: 2×A100-80GB\n" in done.out
    assert json.loads(gpuplan("status", second, "--json").out)["running"]["verified"] is True


def test_a_rollback_that_does_not_wait_verifies_nothing_and_says_so(second: Path, world: World) -> None:
    done = gpuplan("rollback", second, "--yes", "--no-wait")
    assert done.code == 0, done.err
    assert "Nothing was verified (--no-wait)." in done.out
    assert json.loads(gpuplan("status", second, "--json").out)["running"]["verified"] is False
    assert "never: `gpuplan deploy` again does it" in gpuplan("status", second).out


def test_a_rollback_tells_what_its_version_lacks_by_now_and_tries(second: Path, world: World) -> None:
    """It may be urgent: nothing is refused that the provider may yet do."""
    world.secrets["vllm-api-key"] = {"OTHER": "x"}
    shutil.rmtree(world.volume_path("gpuplan-weights") / f"{LLAMA_70B.repo}@{LLAMA_70B.revision}")
    done = gpuplan("rollback", second, "--yes")
    said = " ".join(done.err.split())
    assert "vllm-api-key lacks VLLM_API_KEY" in said
    assert "The weights of version 1 are not in place any more." in said
    assert done.code == 7
    assert "Version 3, which is version 1 again, is left as it is and is not verified" in said


def test_a_rollback_to_a_version_without_a_record_says_that_nothing_is_proven(second: Path, world: World) -> None:
    world.dict_entries.clear()
    (world.volume_path("gpuplan-weights") / "deployments" / "llama.json").unlink()
    done = gpuplan("rollback", second, "--yes")
    assert done.code == 0, done.err
    assert "Nothing was verified (gpuplan has no record of version 1)." in done.out


def test_a_failed_change_leaves_what_was_never_verified_unverified(spec: Path, world: World) -> None:
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    put_snapshot(world.volume_path("gpuplan-weights"), LLAMA_7B, die="Segmentation fault")
    spec.write_text(SPEC_7B)
    done = gpuplan("deploy", spec, "--yes")
    assert "Rolled back: version 3 is version 1 again." in done.err
    assert json.loads(gpuplan("status", spec, "--json").out)["running"]["verified"] is False


def test_a_rollback_of_what_changed_meanwhile_is_refused(
    spec: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the lock someone else deployed."""
    from planner.cli import rollback

    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    spec.write_text(SPEC_7B)
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0

    def answer(question: str, *, yes: bool) -> bool:
        again = ("--yes", "--no-wait", "--set", "engine.max_num_seqs=64")
        assert gpuplan("deploy", spec, *again).code == 0
        return True

    monkeypatch.setattr(rollback, "confirm", answer)
    done = gpuplan("rollback", spec, "1")
    assert done.code == 7
    assert "it was changed since it was compared (version 2, now 3)" in done.err
    assert world.of_rpc("AppRollback") == []


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_of_no_width_hides_no_container(
    columns: str, spec: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert gpuplan("deploy", spec, "--yes").code == 0
    assert json.loads(gpuplan("status", spec, "--json").out)["running"]["containers"] == 1


def test_logs_of_nothing(spec: Path) -> None:
    done = gpuplan("logs", spec)
    assert done.code == 7
    assert "llama" in done.err


def test_client_snippets_name_the_url_and_no_secret(spec: Path) -> None:
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    done = gpuplan("client", spec)
    assert "/servers/llama/Engine/v1" in done.out
    assert "$MODAL_PROXY_TOKEN_ID" in done.out
    assert "sk-very-secret" not in done.out


def test_an_app_with_a_time_to_live_stops_itself(spec: Path, world: World, tmp_path: Path) -> None:
    """Its scheduled function, run with the real client, ends the app once the time is over."""
    done = gpuplan("deploy", spec, "--yes", "--no-wait", "--ttl", "2h")
    assert done.code == 0, done.err
    assert "It stops itself at" in done.out
    app = world.deployed("llama")
    assert app is not None
    schedule = app.current.functions["expire"].data.schedule if app.current else None
    assert schedule is not None
    assert len(schedule.cron.cron_string.split()) == 5
    source = next(content.decode() for content in world.files.values() if b"def expire()" in content)
    expires_at = next(line for line in source.splitlines() if line.startswith("EXPIRES_AT"))
    for text, left in ((source, True), (source.replace(expires_at, 'EXPIRES_AT = "2020-01-01T00:00:00+00:00"'), False)):
        (tmp_path / "app.py").write_text(text)
        subprocess.run([sys.executable, "-B", "-c", "import app; app.expire.local()"], cwd=tmp_path, check=True)
        assert (world.deployed("llama") is not None) == left


@pytest.mark.parametrize("ttl", ["2", "2x", "-1h", "5m", "999d", "99999999999999d", "1h30m"])
def test_a_time_to_live_that_is_none(spec: Path, ttl: str) -> None:
    done = gpuplan("deploy", spec, f"--ttl={ttl}")
    assert done.code == 2
    assert "write 30m, 2h or 3d" in done.err


def test_the_rendered_smoke_test_asks_a_running_endpoint(spec: Path, world: World, tmp_path: Path) -> None:
    assert gpuplan("deploy", spec, "--yes").code == 0
    assert gpuplan("render", spec, "--out", tmp_path / "out").code == 0
    url = f"{world.web_url}/servers/llama/Engine"
    done = subprocess.run(
        [sys.executable, "-m", "modal", "run", "app.py::smoke", "--url", url],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{LLAMA_70B.repo} from" in done.stdout
    assert "tokens/s for one request" in done.stdout


def test_a_saved_plan_is_launched_as_it_was_saved(spec: Path, world: World, tmp_path: Path) -> None:
    from planner.plan_file import save_plan
    from planner.spec import load_spec
    from tests.hand_plans import plan_of

    saved = tmp_path / "plan.json"
    save_plan(plan_of(load_spec(str(spec))), saved, spec_path=str(spec))
    spec.write_text(SPEC_7B)
    stale = gpuplan("deploy", saved)
    assert stale.code == 2
    assert "was edited since" in stale.err
    assert "although the saved plan is stale" in stale.err
    done = gpuplan("deploy", saved, "--yes", "--no-wait", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["release"]["model"]["repo"] == LLAMA_70B.repo
