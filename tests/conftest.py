"""Unit tests touch nothing outside the process: no network, no child processes, no user's own folders."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("tests.loopback",)
# The same examples in every run, so that a failure is a change's own; --hypothesis-profile=explore draws new ones.
settings.register_profile("same", derandomize=True, deadline=None)  # a busy machine fails no test
settings.register_profile("explore", derandomize=False, deadline=None)
settings.load_profile("same")
REAL_CONNECT = socket.socket.connect
REAL_POPEN = subprocess.Popen.__init__


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files from what is printed now")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Config, cache and data folders are empty and the test's own; no account's token is seen."""
    home: Path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    for name in ("HF_TOKEN", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_SERVER_URL", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _closed_world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only loopback, and that (like child processes) only for tests marked ``network`` or ``live``."""
    open_to_loopback = any(request.node.get_closest_marker(name) for name in ("network", "live"))

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            host = address[0]
            loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
            if not (loopback and open_to_loopback):
                raise AssertionError(f"a test without the `network` mark connects to {address}")
        REAL_CONNECT(self, address)

    def popen(self: Any, *args: Any, **kwargs: Any) -> None:
        if not open_to_loopback:
            raise AssertionError(f"a test without the `network` mark starts {args[:1]}")
        REAL_POPEN(self, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(subprocess.Popen, "__init__", popen)
