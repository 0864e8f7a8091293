"""Fixtures: one stand-in of Modal's server for a whole test process, emptied before each test."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.modal_server import ModalServer, World

SECRETS = {"huggingface-secret": {"HF_TOKEN": "hf_very_secret"}, "vllm-api-key": {"VLLM_API_KEY": "sk-very-secret"}}


@pytest.fixture(scope="session")
def _modal_process() -> Iterator[ModalServer]:
    from tests.modal_server import ModalServer

    with ModalServer() as server:
        yield server


@pytest.fixture
def modal_server(_modal_process: ModalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModalServer]:
    """The stand-in, with nothing on it but two secrets, and this process's environment pointing at it."""
    world = _modal_process.world
    world.reset()
    world.secrets = {name: dict(values) for name, values in SECRETS.items()}
    for name, value in _modal_process.client_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VLLM_API_KEY", SECRETS["vllm-api-key"]["VLLM_API_KEY"])
    monkeypatch.setenv("NO_COLOR", "1")
    yield _modal_process
    world.faults.clear()
    world.containers.stop_all()


@pytest.fixture
def world(modal_server: ModalServer) -> World:
    """What the stand-in remembers."""
    return modal_server.world


@pytest.fixture
def two_seconds_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a launch is over two seconds after it was published, however long that took on a busy machine."""
    from planner.deployment import prove

    whole = prove.wait_until_ready

    def shortly(url: str, headers: Any, release: Any, log: Any, say: Any, _: float) -> Any:
        return whole(url, headers, release, log, say, time.monotonic() + 2)

    monkeypatch.setattr(prove, "wait_until_ready", shortly)


@pytest.fixture
def stand_in_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `vllm` on the PATH that speaks the engine's HTTP and has no model."""
    from tests.modal_server.containers import INSIDE

    monkeypatch.setenv("PATH", f"{INSIDE / 'bin'}{os.pathsep}{os.environ['PATH']}")
