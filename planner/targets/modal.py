"""The modal target: launched by `modal deploy`, looked at through the SDK."""

from __future__ import annotations

import asyncio
import os
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.deployment.access import API_KEY, PROXY_KEY, PROXY_SECRET
from planner.deployment.running import Progress, Recorded, Running, Survey, weights_progress
from planner.errors import LaunchError
from planner.render import weights_app_name
from planner.targets import modal_log, modal_sdk, modal_store
from planner.targets.modal_command import is_worth_showing, modal_json, modal_lines
from planner.targets.modal_lock import lock, tell_stop, underway
from planner.targets.modal_unfinished import stopped_on_failure
from planner.verify import Proof

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from planner.release import Release
    from planner.targets import Say

__all__ = ["lock", "tell_stop", "underway"]
ANSWER_S = 20.0  # for one look at the provider
COMMAND_S = 60.0  # for one small command
PROGRESS = re.compile(r"gpuplan: weights: (\d+) of (\d+) bytes")
SNAPSHOT = re.compile(r"gpuplan: weights: snapshot \S+@([0-9a-f]{40})")


def survey(release: Release, timeout_s: float = ANSWER_S) -> Survey:
    """Account, secrets, weights and what runs, all at once."""
    if problem := modal_sdk.connect_problem():
        return Survey(None, weights_present=False, problems=(problem,), warnings=())
    environment = release.environment

    async def look() -> list[Any]:
        return await asyncio.gather(
            modal_sdk.look_up(release.name, environment),
            modal_store.snapshot_present(release),
            *(modal_sdk.secret_problem(name, key, environment) for name, key in _secrets(release)),
            return_exceptions=True,
        )

    running, weights_present, *secrets = modal_sdk.within(timeout_s, "looking at the account", look())
    for outcome in (running, weights_present, *secrets):
        if isinstance(outcome, BaseException):
            modal_sdk.within(timeout_s, "looking at the account", _raised(outcome))
    return Survey(running, weights_present, tuple(problem for problem in secrets if problem), tuple(_warnings(release)))


def observe(name: str, environment: str | None, timeout_s: float = ANSWER_S) -> Running | None:
    """What is deployed under this name."""
    if problem := modal_sdk.connect_problem():
        raise LaunchError(problem)
    return modal_sdk.within(timeout_s, f"looking up {name}", modal_sdk.look_up(name, environment))


def glance(name: str, environment: str | None, timeout_s: float = ANSWER_S) -> Running | None:
    """Only version and state: what undoing needs, though the provider may have trouble with the rest."""
    return modal_sdk.within(timeout_s, f"looking up {name}", modal_sdk.glance(name, environment))


def fetch_weights(release: Release, folder: Path, say: Say, timeout_s: float) -> str | None:
    """`modal run` of the CPU function; the commit that is now in the Volume."""
    try:
        commit = _run_download(release, folder, say, timeout_s)
    except LaunchError as error:
        raise LaunchError(f"{release.name}: weights of {release.repo}: {error}") from None
    if commit is None:
        raise LaunchError(f"{release.name}: weights: the download ended without naming the commit it fetched.")
    say(Progress("weights", f"{release.repo}@{commit} is in place"))
    return commit


def _run_download(release: Release, folder: Path, say: Say, timeout_s: float) -> str | None:
    commit = None
    arguments = [*_environment("run", release.environment), "app.py::weights.download"]
    with stopped_on_failure(weights_app_name(release.name), release.environment):
        for line in modal_lines(arguments, folder, timeout_s):
            if progress := PROGRESS.search(line):
                say(weights_progress(int(progress[1]), int(progress[2])))
            elif found := SNAPSHOT.search(line):
                commit = found.group(1)
            elif is_worth_showing(line):
                say(Progress("weights", line, transient=True))
    return commit


def launch(release: Release, folder: Path, say: Say, timeout_s: float) -> None:
    """`modal deploy`, with the plan as the version's tag."""
    arguments = [*_environment("deploy", release.environment), "--tag", release.plan_id, "app.py"]
    with stopped_on_failure(release.name, release.environment):
        for line in modal_lines(arguments, folder, timeout_s):
            if is_worth_showing(line):
                say(Progress("deploy", line.rstrip(), transient="View Deployment" not in line))


def rescale(running: Running, release: Release) -> Proof:
    """Change the autoscaler of the server that runs; Modal says what it has now."""
    planned = (release.min_containers, release.max_containers, release.scaledown_window_s)
    seen = modal_sdk.within(ANSWER_S, f"rescaling {running.name}", modal_sdk.rescale(running, *planned))
    words = "{} to {} containers, idle for {} s"
    return Proof("scaling", words.format(*planned), words.format(*seen), planned == seen)


def root(release: Release) -> str:
    """The folder of the Volume that carries the commit."""
    return f"{release.repo}@{release.revision}"


def remember(running: Running, release: Release, *, proven: bool) -> None:
    """Write the record beside the weights."""
    modal_sdk.within(ANSWER_S, "recording the deployment", modal_store.write_record(running, release, proven=proven))


def recorded(name: str, environment: str | None) -> dict[int, Recorded]:
    """What was recorded of the app's versions."""
    records = modal_sdk.within(ANSWER_S, "reading the records", modal_store.read_records(name, environment))
    return modal_store.recorded_versions(records)


def log_lines(name: str, environment: str | None, *, follow: bool) -> Iterator[str]:
    """Lines of all containers of the app. Raises LaunchError where there is no such app."""
    if problem := modal_sdk.connect_problem():
        raise LaunchError(problem)
    try:
        yield from modal_log.log_lines(name, environment, follow=follow)
    except Exception as error:
        if not modal_sdk.is_the_providers(error):
            raise
        raise LaunchError(f"{name}: logs: {modal_sdk.first_line(error)}") from None


def open_log(running: Running) -> modal_log.ModalLog:
    """The log of this version: what containers said since it was deployed."""
    since = datetime.fromisoformat(running.deployed_at) if running.deployed_at else None
    return modal_log.ModalLog(running, since)


def rollback(running: Running, version: int, say: Say) -> None:
    """`modal app rollback`: a new version that is an old one again."""
    arguments = [*_environment("app", running.environment, "rollback"), running.name, f"v{version}"]
    for line in modal_lines(arguments, None, COMMAND_S):
        if line.strip():
            say(Progress("undo", line.strip(), transient=True))


def stop(running: Running) -> None:
    """Ask Modal to end the app."""
    modal_sdk.within(ANSWER_S, f"stopping {running.name}", modal_sdk.stop_app(running.provider_id))


def left(running: Running, timeout_s: float = COMMAND_S) -> list[str]:
    """Containers of the app that Modal still lists."""
    arguments = [*_environment("container", running.environment, "list"), "--app-id", running.provider_id]
    return [str(row.get("container_id", "a container")) for row in modal_json(arguments, timeout_s)]


def count_containers(running: Running, timeout_s: float = COMMAND_S) -> Running:
    """The same with the number of containers that run now."""
    return replace(running, containers=len(left(running, timeout_s)))


def _environment(command: str, environment: str | None, *rest: str) -> list[str]:
    return [command, *rest, *(["--env", environment] if environment else [])]


def _secrets(release: Release) -> list[tuple[str, str]]:
    wanted = (
        (release.secret_huggingface, "HF_TOKEN"),
        (release.secret_api_key, "VLLM_API_KEY"),
        (release.secret_wandb, "WANDB_API_KEY"),
    )
    return [(name, key) for name, key in wanted if name]


def _warnings(release: Release) -> Iterator[str]:
    if not (os.environ.get(PROXY_KEY) and os.environ.get(PROXY_SECRET)):
        yield (
            f"{PROXY_KEY} and {PROXY_SECRET} are not set: the endpoint is closed by Modal's proxy auth, so it cannot "
            "be verified from here. Make a token: modal workspace proxy-tokens create"
        )
    if release.secret_api_key and not os.environ.get(API_KEY):
        yield f"{API_KEY} is not set here: the endpoint will ask for it, so it cannot be verified from here."


async def _raised(outcome: BaseException) -> None:
    raise outcome
