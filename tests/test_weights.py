"""Weights: fetched by a CPU function from a stand-in of the hub, checked, recorded, never fetched twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.command import gpuplan
from tests.hand_plans import plan_by_hand
from tests.hub_server import SHA, HubServer, Repo, serve_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.modal_server import World

pytestmark = pytest.mark.network
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"weights" * 1000,
    "pytorch_model.bin": b"the same again",
    "original/consolidated.00.pth": b"and again",
}
SPEC = """\
name: toy
model: {repo: org/toy}
gpu: {types: [L40S], counts: [1]}
secrets: {huggingface: huggingface-secret, api_key: vllm-api-key}
"""


@pytest.fixture
def hub(world: World) -> Iterator[HubServer]:
    with serve_hub({"org/toy": Repo(dict(FILES))}) as server:
        world.container_env = {"HF_ENDPOINT": server.url, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        yield server


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("planner.cli.planning._plan", plan_by_hand)
    monkeypatch.setattr("planner.deployment.undo.PAUSE_S", 0.05)
    path = tmp_path / "toy.yaml"
    path.write_text(SPEC)
    return path


def snapshot(world: World) -> Path:
    return world.volume_path("gpuplan-weights") / f"org/toy@{SHA}"


def test_an_unknown_commit_is_resolved_recorded_and_served_from_its_own_path(
    spec: Path, world: World, hub: HubServer
) -> None:
    done = gpuplan("deploy", spec, "--yes", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["release"]["model"] == {"repo": "org/toy", "revision": SHA}
    assert [proof["seen"] for proof in said["proofs"] if proof["what"] == "weights"] == [str(snapshot(world))]
    record = json.loads((snapshot(world) / "gpuplan-snapshot.json").read_text())
    assert set(record["files"]) == {"config.json", "model.safetensors"}
    assert (snapshot(world) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not (snapshot(world) / "pytorch_model.bin").exists()
    assert " of 0.0 MB" in done.err
    assert f"org/toy@{SHA} is in place" in done.err
    created = world.of_rpc("FunctionCreate")
    assert [request.function.function_name for request in created] == ["download", "Engine"]
    assert created[0].function.resources.gpu_config.count == 0
    assert created[0].function.secret_ids == ["st-huggingface-secret"]
    assert [app.name for app in world.apps.values() if app.state == 3] == ["toy"]

    asked = len(hub.asked)
    again = gpuplan("deploy", spec, "--yes", "--no-wait", "--set", "engine.enforce_eager=true")
    assert again.code == 0, again.err
    assert len(hub.asked) > asked
    weights_asked = [line for line in hub.asked[asked:] if "safetensors" in line]
    assert weights_asked == []


def test_a_damaged_file_is_fetched_again(spec: Path, world: World, hub: HubServer) -> None:
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    (snapshot(world) / "config.json").write_text('{"model_type": "other"}')
    assert gpuplan("deploy", spec, "--yes", "--no-wait", "--set", "engine.enforce_eager=true").code == 0
    assert (snapshot(world) / "config.json").read_bytes() == FILES["config.json"]


def test_what_the_hub_does_not_vouch_for_is_refused(spec: Path, world: World, hub: HubServer) -> None:
    hub.manners.body["/cdn/org/toy"] = b"weights" * 1000 + b"?"
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert "model.safetensors" in done.err
    assert "Nothing is left running." in done.err
    assert world.of_rpc("AppPublish")[-1].name == ""
    assert not (snapshot(world) / "gpuplan-snapshot.json").exists()


@pytest.mark.parametrize(
    ("repo", "said"),
    [
        (Repo(dict(FILES), gated=True), "org/toy is gated: accept its licence at https://huggingface.co/org/toy"),
        (None, "org/toy at main does not exist, or HF_TOKEN may not see it"),
    ],
)
def test_what_the_hub_refuses_is_told(repo: Repo | None, said: str, spec: Path, world: World, hub: HubServer) -> None:
    hub.repos = {"org/toy": repo} if repo else {}
    done = gpuplan("deploy", spec, "--yes")
    assert done.code == 7
    assert said in done.err
    assert world.deployed("toy") is None
    assert world.containers.running() == []
