"""The trap of the stale model: the same app name, the model changed, caches of the first in place.

Each trap is sprung twice: with the proof it is caught, and with the proof switched off the wrong model is served and
nobody notices. The second half shows that it is the proof that catches it.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from planner.verify import Proof, model_cards
from tests.command import Done, gpuplan
from tests.hand_plans import SPEC_7B, SPEC_70B, plan_by_hand
from tests.releases import LLAMA_7B, LLAMA_70B, put_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.modal_server import World

pytestmark = pytest.mark.network


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World) -> Path:
    """The 7b runs; the spec says 70b now."""
    monkeypatch.setattr("planner.cli.planning._plan", plan_by_hand)
    for release in (LLAMA_7B, LLAMA_70B):
        put_snapshot(world.volume_path("gpuplan-weights"), release)
    path = tmp_path / "llama.yaml"
    path.write_text(SPEC_7B)
    assert gpuplan("deploy", path, "--yes").code == 0
    path.write_text(SPEC_70B)
    return path


def served(world: World) -> dict[str, Any]:
    """The card of the model that answers, and the weights it answers from."""
    key, secret = world.proxy_token
    headers = {"Modal-Key": key, "Modal-Secret": secret, "Authorization": "Bearer sk-very-secret"}
    card = model_cards(f"{world.web_url}/servers/llama/Engine", headers)[0]
    weights = json.loads((world.root / card["root"] / "config.json").read_text())["_name_or_path"]
    return {"name": card["id"], "weights": weights}


def stale_weights(world: World) -> None:
    """The folder that is recorded as the 70b holds what was cached for the 7b."""
    volume = world.volume_path("gpuplan-weights")
    small, large = (volume / f"{release.repo}@{release.revision}" for release in (LLAMA_7B, LLAMA_70B))
    shutil.copy(small / "config.json", large / "config.json")


def caught(done: Done, world: World) -> None:
    assert done.code == 7
    assert "Rolled back: version 3 is version 1 again." in done.err
    assert served(world) == {"name": LLAMA_7B.repo, "weights": LLAMA_7B.repo}


def test_stale_weights_are_caught_before_the_engine_starts(spec: Path, world: World) -> None:
    stale_weights(world)
    done = gpuplan("deploy", spec, "--yes")
    assert "not the planned model: config.json has" in done.err
    caught(done, world)


def test_without_that_proof_the_wrong_weights_serve_under_the_right_name(
    spec: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from planner import render

    def unchecked(release: Any) -> dict[str, str]:
        text = render.render_release(release)["app.py"]
        assert "folder = check_snapshot()" in text
        return {"app.py": text.replace("folder = check_snapshot()", "folder = snapshot_dir(REVISION)")}

    monkeypatch.setattr("planner.deployment.launch.render_release", unchecked)
    stale_weights(world)
    assert gpuplan("deploy", spec, "--yes").code == 0
    assert served(world) == {"name": LLAMA_70B.repo, "weights": LLAMA_7B.repo}


@pytest.mark.usefixtures("two_seconds_to_wait")
def test_stale_code_is_caught_from_outside(spec: Path, world: World) -> None:
    world.stale_code = True
    done = gpuplan("deploy", spec, "--yes")
    assert "the version before still answers" in done.err
    caught(done, world)


def test_a_stale_engine_without_a_plan_name_is_caught_by_its_model_card(
    spec: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.deployment.ready.serves_another_plan", lambda *_: False)
    world.stale_code = True
    done = gpuplan("deploy", spec, "--yes")
    assert "what answers is not what was planned" in done.err
    assert f"model: planned was {LLAMA_70B.repo}, seen is {LLAMA_7B.repo}" in done.err
    caught(done, world)


def test_without_the_proof_from_outside_the_old_model_goes_on_unnoticed(
    spec: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.deployment.ready.serves_another_plan", lambda *_: False)
    monkeypatch.setattr("planner.deployment.prove.prove_model", lambda *_: [])
    completed = Proof("completion", "some text", "some text", holds=True)
    monkeypatch.setattr("planner.deployment.prove.prove_completion", lambda *_: completed)
    world.stale_code = True
    assert gpuplan("deploy", spec, "--yes").code == 0
    assert served(world) == {"name": LLAMA_7B.repo, "weights": LLAMA_7B.repo}


def test_a_rollback_proves_the_weights_of_the_version_that_it_brings_back(spec: Path, world: World) -> None:
    assert gpuplan("deploy", spec, "--yes").code == 0
    volume = world.volume_path("gpuplan-weights")
    small, large = (volume / f"{release.repo}@{release.revision}" for release in (LLAMA_7B, LLAMA_70B))
    shutil.copy(large / "config.json", small / "config.json")
    done = gpuplan("rollback", spec, "--yes")
    assert done.code == 7
    assert "not the planned model: config.json has" in done.err
    assert "Version 3, which is version 1 again, is left as it is and is not verified" in done.err
    assert "go back to version 2 with `gpuplan rollback`, for the app llama" in " ".join(done.err.split())
    status = json.loads(gpuplan("status", spec, "--json").out)["running"]
    assert (status["version"], status["verified"], status["planned"]["model"]["repo"]) == (3, False, LLAMA_7B.repo)


def test_a_rollback_that_serves_another_model_is_caught_from_outside(
    spec: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 70b was version 2 and answered as planned; brought back, a stale image serves the 7b."""
    assert gpuplan("deploy", spec, "--yes").code == 0
    spec.write_text(SPEC_7B)
    assert gpuplan("deploy", spec, "--yes", "--no-wait").code == 0
    monkeypatch.setattr("planner.deployment.ready.serves_another_plan", lambda *_: False)
    world.stale_code = True
    world.containers.stop_all()
    done = gpuplan("rollback", spec, "--yes")
    assert done.code == 7
    assert f"model: planned was {LLAMA_70B.repo}, seen is {LLAMA_7B.repo}" in done.err
    assert "Version 4, which is version 2 again, is left as it is and is not verified" in done.err
    assert gpuplan("rollback", spec, "2", "--yes", "--no-wait").code == 0
