"""What this machine and its accounts have: one function per thing that a command may need."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from planner.errors import plain_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PYTHON_FROM, PYTHON_BELOW = (3, 11), (3, 15)  # pyproject.toml requires-python
CONNECT_S = 3.0
NVIDIA_SMI_S = 5.0
HUB = "https://huggingface.co"
MODAL = "https://api.modal.com"


class Finding(Struct, frozen=True):
    """``state``: ok; missing, where some commands go without; broken, where what is there cannot be used."""

    thing: str
    state: Literal["ok", "missing", "broken"]
    found: str
    advice: str = ""  # what needs it, and what to type


def find_python() -> Finding:
    """The interpreter's version."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if PYTHON_FROM <= sys.version_info[:2] < PYTHON_BELOW:
        return Finding("Python", "ok", version)
    return Finding("Python", "broken", version, "Install Python 3.11 to 3.14.")


def find_packages() -> list[Finding]:
    """What is installed for planning online, deploying, reports, and a local engine."""
    wanted = {
        "huggingface_hub": ("planning models of the hub", "pip install huggingface_hub"),
        "modal": ("deploying to Modal", "pip install modal"),
        "plotly": ("--html reports", "pip install 'gpuplan[report]'"),
        "vllm": ("measure and target: local", "pip install 'gpuplan[local]' on a machine with a GPU"),
    }
    return [_package(name, *words) for name, words in wanted.items()]


def _package(name: str, needed_for: str, command: str) -> Finding:
    try:
        return Finding(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", f"For {needed_for}: {command}")


def find_modal_token(environment: Mapping[str, str] = os.environ) -> Finding:
    """Where Modal's client would find a token. Its value is never read out."""
    advice = "For deploying: modal token new"
    parts = [name for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET") if environment.get(name)]
    if len(parts) == 1:
        return Finding("Modal token", "broken", f"{parts[0]} without its other half", "Set both, or neither.")
    if parts:
        return Finding("Modal token", "ok", "in MODAL_TOKEN_ID and MODAL_TOKEN_SECRET")
    path = Path(environment.get("MODAL_CONFIG_PATH") or "~/.modal.toml").expanduser()
    try:
        profiles = _read_toml(path)
    except FileNotFoundError:
        return Finding("Modal token", "missing", f"no {path}", advice)
    except (OSError, ValueError) as error:
        return Finding("Modal token", "broken", f"{path} cannot be read ({error})", advice)
    with_token = [name for name, profile in profiles.items() if isinstance(profile, dict) and profile.get("token_id")]
    wanted = environment.get("MODAL_PROFILE")
    if not with_token or (wanted and wanted not in with_token):
        return Finding("Modal token", "missing", f"none in {path}{f' for {wanted}' if wanted else ''}", advice)
    return Finding("Modal token", "ok", f"in {path}, profile {wanted or ' or '.join(with_token)}")


def _read_toml(path: Path) -> dict[str, object]:
    import tomllib

    return tomllib.loads(path.read_text(encoding="utf-8"))


def find_hub_token(environment: Mapping[str, str] = os.environ) -> Finding:
    """Where huggingface_hub would find a token, by its documented order."""
    if environment.get("HF_TOKEN"):
        return Finding("Hugging Face token", "ok", "in HF_TOKEN")
    home = environment.get("HF_HOME") or Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    path = Path(environment.get("HF_TOKEN_PATH") or Path(home) / "token").expanduser()
    if path.is_file():
        return Finding("Hugging Face token", "ok", f"in {path}")
    return Finding("Hugging Face token", "missing", "none", "For gated models such as Llama: hf auth login")


def find_services(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Whether the hub and Modal can be reached, both at once, CONNECT_S at most."""
    services = {
        "Hugging Face hub": (environment.get("HF_ENDPOINT") or HUB, "the catalogue and --offline do without it"),
        "Modal": (environment.get("MODAL_SERVER_URL") or MODAL, "deploying needs it"),
    }
    answers: dict[str, str | None] = {}

    def probe(name: str, url: str) -> None:
        answers[name] = connection_problem(url)

    threads = [threading.Thread(target=probe, args=(name, url), daemon=True) for name, (url, _) in services.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CONNECT_S + 0.5)  # a name look-up heeds no time limit
    return [
        _service(name, url, without, answers.get(name, "no answer in time"))
        for name, (url, without) in services.items()
    ]


def _service(name: str, url: str, without: str, problem: str | None) -> Finding:
    if problem is None:
        return Finding(name, "ok", f"{url} can be reached")
    return Finding(name, "missing", f"{url} cannot be reached: {problem}", f"Offline: {without}.")


def connection_problem(url: str) -> str | None:
    """Why no connection to the URL's host comes about; None where one does."""
    try:
        parts = urlsplit(url)
        if not parts.hostname:
            return "that is no URL"
        port = parts.port or (80 if parts.scheme == "http" else 443)
        with socket.create_connection((parts.hostname, port), timeout=CONNECT_S):
            return None
    except (OSError, ValueError) as error:
        return plain_words(error)


def find_gpus(run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> Finding:
    """NVIDIA GPUs of this machine, by nvidia-smi."""
    advice = "For measure and target: local; planning and deploying need none."
    command = shutil.which("nvidia-smi")
    if command is None:
        return Finding("NVIDIA GPU", "missing", "no nvidia-smi", advice)
    query = [command, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = run(query, capture_output=True, text=True, timeout=NVIDIA_SMI_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("NVIDIA GPU", "broken", f"nvidia-smi fails ({type(error).__name__})", advice)
    names = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if not names:
        return Finding("NVIDIA GPU", "missing", "none listed by nvidia-smi", advice)
    counted = [f"{names.count(name)}×{name}" for name in dict.fromkeys(names)]
    return Finding("NVIDIA GPU", "ok", ", ".join(counted))
