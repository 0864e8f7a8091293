"""The rendered app fetches a snapshot: real processes, huggingface_hub's real client, a hub on the loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from planner.render import render_release
from tests.hub_server import HubServer, Repo, serve_hub
from tests.releases import LLAMA_70B

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.network
WEIGHTS = b"weights " * 1000
TOY = replace(LLAMA_70B, target="local", repo="org/toy", asked_revision="main", revision=None, secret_huggingface=None)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with serve_hub({"org/toy": Repo({"config.json": b"{}", "model.safetensors": WEIGHTS})}) as hub:
        yield hub


@pytest.fixture
def app(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "app.py"
    path.write_text(render_release(TOY)["app.py"])
    return path


def start(app: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(app), "download"]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ))


def finished(download: subprocess.Popen[str]) -> str:
    said, _ = download.communicate()
    assert download.returncode == 0, said
    return said


def sent_weights(hub: HubServer) -> int:
    return len([line for line in hub.asked if line.startswith("GET /cdn") and "model.safetensors" in line])


def test_downloads_of_one_commit_at_once_all_end_well(app: Path, hub: HubServer, tmp_path: Path) -> None:
    """A call that is sent twice, or two deploys of one model: the later ones wait and find it done."""
    hub.manners.delay = {"/cdn": 0.3}
    for said in map(finished, [start(app) for _ in range(3)]):
        assert said.endswith(f"snapshot org/toy@{hub.repos['org/toy'].sha}\n")
    assert sent_weights(hub) == 1
    folder = tmp_path / "gpuplan" / "weights" / f"org/toy@{hub.repos['org/toy'].sha}"
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert set(json.loads((folder / "gpuplan-snapshot.json").read_text())["files"]) == {
        "config.json",
        "model.safetensors",
    }


def test_what_is_damaged_is_fetched_again_and_the_rest_stays(app: Path, hub: HubServer, tmp_path: Path) -> None:
    finished(start(app))
    finished(start(app))
    assert sent_weights(hub) == 1
    folder = tmp_path / "gpuplan" / "weights" / f"org/toy@{hub.repos['org/toy'].sha}"
    (folder / "model.safetensors").write_bytes(WEIGHTS[:-1])
    finished(start(app))
    assert sent_weights(hub) == 2
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len([line for line in hub.asked if line.startswith("GET") and "resolve" in line and "config" in line]) == 1
