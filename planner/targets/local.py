"""The local target: the same plan served by `vllm serve` on this machine, on its GPUs or (a toy model) on CPU."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.deployment.access import API_KEY
from planner.deployment.interrupts import held_back
from planner.deployment.running import Progress, Recorded, Running, Survey, clock, weights_progress
from planner.errors import LaunchError, plain_words
from planner.explain.figures import gpu_numbers
from planner.release import PORT
from planner.targets import ANSWER_S, local_process, local_store
from planner.targets.local_devices import Choice, choose_devices, planned_name, visible
from planner.targets.local_log import LocalLog, log_lines
from planner.targets.lock_holder import ToldStop, my_name, myself, read_holder, stop_told, text_of
from planner.verify import Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from planner.deployment.running import Stop, Underway
    from planner.release import Release
    from planner.targets import Say
    from planner.targets.local_devices import Device

__all__ = ["log_lines"]
PROGRESS = re.compile(r"gpuplan: weights: (\d+) of (\d+) bytes")
SNAPSHOT = re.compile(r"gpuplan: weights: snapshot \S+@([0-9a-f]{40})")
CPU_KV_CACHE_GIB = "1"  # VLLM_CPU_KVCACHE_SPACE where the environment does not say: enough for a toy


def survey(release: Release, timeout_s: float = ANSWER_S) -> Survey:
    """vLLM, GPUs, key and what runs."""
    found = _visible_gpus()
    problems = []
    if shutil.which("vllm") is None:
        problems.append("local: there is no `vllm` on the PATH. Install it: pip install 'gpuplan[local]'")
    if (found or release.gpu_count > 1) and (problem := _choose(release, found).problem):
        problems.append(problem)
    if release.secret_api_key and not os.environ.get(API_KEY):
        problems.append(f"secrets.api_key: set {API_KEY} in the environment; the engine asks for it.")
    if release.local_path and not Path(release.local_path).is_dir():
        problems.append(f"model.path: {release.local_path} is not a folder.")
    warnings = () if found else ("This machine shows no GPU: the model runs on CPU, slowly.",)
    running = observe(release.name, release.environment, timeout_s)
    return Survey(running, _weights_present(release), tuple(problems), warnings)


def observe(name: str, environment: str | None, timeout_s: float = ANSWER_S) -> Running | None:  # noqa: ARG001 - the protocol's
    """The version that was started last; "dead" where its process has ended by itself."""
    current = local_store.read_current(name)
    if current is None:
        return None
    alive = local_process.start_time(current.pid) == current.started_at
    recorded = local_store.read_records(name).get(current.version)
    return Running(
        name=name,
        environment=environment,
        version=current.version,
        state="running" if alive else "dead",
        url=f"http://127.0.0.1:{current.port}",
        gpus=current.gpus,
        deployed_at=current.deployed_at,
        release=recorded.release if recorded else None,
        proven=recorded.proven if recorded else None,
        provider_id=f"{current.pid}@{current.started_at}",
        devices=current.devices,
    )


glance = observe


@contextmanager
def lock(
    name: str,
    environment: str | None,  # noqa: ARG001 - the protocol's
    lease_s: float,
    say: Say,  # noqa: ARG001
    *,
    break_lock: bool = False,  # noqa: ARG001
) -> Iterator[Callable[[], Stop | None]]:
    """A lock of the file system: it ends with its holder, whose name stands in it."""
    mine = myself(lease_s)
    path = local_store.lock_path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise LaunchError(f"{name}: nothing can be kept in {path.parent} ({plain_words(error)}).") from None
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LaunchError(_refusal(name)) from None
        file.truncate(0)
        file.write(text_of(mine))
        file.flush()
        try:
            yield lambda: stop_told(local_store.read_text(local_store.stop_path(name)), mine)
        finally:
            file.truncate(0)


def underway(name: str, environment: str | None, timeout_s: float = ANSWER_S) -> Underway | None:  # noqa: ARG001 - the protocol's
    """Who stands in the lock; the time that this was to take does not end it."""
    text = local_store.read_text(local_store.lock_path(name))
    if not text:
        return None
    holder = read_holder(text)
    alive = local_process.start_time(holder.pid) == holder.started_at
    return replace(holder.underway, alive=alive)


def tell_stop(name: str, environment: str | None) -> None:  # noqa: ARG001 - the protocol's
    """Leave it beside the lock."""
    if text := local_store.read_text(local_store.lock_path(name)):
        local_store.stop_path(name).write_text(text_of(ToldStop(my_name(), time.time(), text)), encoding="utf-8")


def _refusal(name: str) -> str:
    other = underway(name, None)
    who = f" ({other.who}, since {clock(other.since)})" if other else ""
    return f"{name}: another deploy of it runs on this machine{who}."


def fetch_weights(release: Release, folder: Path, say: Say, timeout_s: float) -> str | None:
    """Download into this machine's cache; nothing where the spec names a folder."""
    if release.local_path:
        return None
    commit = None
    try:
        for line in local_process.run(folder, ["download"], timeout_s):
            if progress := PROGRESS.search(line):
                say(weights_progress(int(progress[1]), int(progress[2])))
            elif found := SNAPSHOT.search(line):
                commit = found.group(1)
    except TimeoutError:
        raise LaunchError(f"{release.name}: weights: not done after {timeout_s:g} s.") from None
    except RuntimeError as error:
        raise LaunchError(f"{release.name}: weights: {error}") from None
    if commit is None:
        raise LaunchError(f"{release.name}: weights: the download ended without naming the commit it fetched.")
    return commit


def launch(release: Release, folder: Path, say: Say, timeout_s: float) -> None:  # noqa: ARG001 - the protocol's
    """The version before ends (it holds the GPUs), the new one starts."""
    version = local_store.add_version(release.name, folder)
    _end_current(release.name)
    devices = _start(release.name, version, release)
    say(Progress("deploy", f"version {version} started on this machine{_on(devices)}"))


def rescale(running: Running, release: Release) -> Proof:  # noqa: ARG001 - the protocol's
    """On one machine there is one process whatever the numbers say."""
    return Proof("scaling", "one process", "one process", holds=True)


def root(release: Release) -> str:
    """The folder that the spec names, or the one that carries the commit."""
    return release.local_path or f"{release.repo}@{release.revision}"


def remember(running: Running, release: Release, *, proven: bool) -> None:
    """Record it beside the version's files."""
    local_store.write_record(running.name, running.version or 0, release, proven=proven)


def recorded(name: str, environment: str | None) -> dict[int, Recorded]:  # noqa: ARG001 - the protocol's
    """What was recorded of the app's versions."""
    return local_store.read_records(name)


def count_containers(running: Running) -> Running:
    """One process, or none."""
    return replace(running, containers=int(running.state == "running"))


def open_log(running: Running) -> LocalLog:
    """The log from this version's start on."""
    pid, started_at = _process_of(running)
    return LocalLog(running, lambda: local_process.start_time(pid) == started_at)


def rollback(running: Running, version: int, say: Say) -> None:
    """Start an earlier version's files as a new version."""
    past = local_store.read_records(running.name).get(version)
    if past is None or not local_store.version_folder(running.name, version).is_dir():
        raise LaunchError(f"{running.name}: there is no version {version} to go back to.")
    again = local_store.add_version(running.name, local_store.version_folder(running.name, version))
    _end_current(running.name)
    devices = _start(running.name, again, past.release)
    say(Progress("undo", f"version {again} started, from version {version}{_on(devices)}"))


def stop(running: Running) -> None:
    """End the process and its group."""
    _end_current(running.name)
    local_store.forget_current(running.name)


def left(running: Running, timeout_s: float = ANSWER_S) -> list[str]:  # noqa: ARG001 - the protocol's
    """Processes of the version that are still there."""
    pid, started_at = _process_of(running)
    return [f"process group {pid}"] if _is_ours(pid, started_at) and local_process.alive_in_group(pid) else []


def _process_of(running: Running) -> tuple[int, float]:
    """Its process id, and when that began."""
    pid, _, started_at = running.provider_id.partition("@")
    return int(pid), float(started_at)


def _is_ours(pid: int, started_at: float) -> bool:
    """Not where the number is another process's by now; where its process has ended, what that started goes on."""
    return local_process.start_time(pid) in {None, started_at}


def _end_current(name: str) -> None:
    """Its process and all that it started."""
    current = local_store.read_current(name)
    if current is None or not _is_ours(current.pid, current.started_at):
        return
    if not local_process.end(current.pid):
        raise LaunchError(f"{name}: version {current.version} (process group {current.pid}) does not end.")


def _visible_gpus() -> list[Device]:
    return visible(local_process.nvidia_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def _choose(release: Release, found: list[Device]) -> Choice:
    """Free GPUs; an engine that starts just now has taken none yet, so those of other apps count as taken."""
    running = local_store.read_all_current()
    held = {name: one.devices for name, one in running.items() if local_process.start_time(one.pid) == one.started_at}
    ours = held.pop(release.name, ())
    return choose_devices(found, release, ours, {index for devices in held.values() for index in devices})


def _on(devices: tuple[int, ...]) -> str:
    return f", on {gpu_numbers(devices)}" if devices else ""


def _start(name: str, version: int, release: Release) -> tuple[int, ...]:
    """Serve on free GPUs, or on CPU where there is none; the numbers of the GPUs."""
    found = _visible_gpus()
    choice = _choose(release, found) if found else Choice(())
    if choice.problem:
        raise LaunchError(f"{name}: {choice.problem}")
    devices = tuple(device.index for device in choice.taken)
    environ = dict(os.environ)
    if found:  # by the numbers that nvidia-smi has: CUDA's own order puts the fastest first
        environ |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))}
    else:
        environ.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_KV_CACHE_GIB)
    log = local_store.log_path(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    folder = local_store.version_folder(name, version)
    gpus = tuple(planned_name(device.name, release.gpu) for device in choice.taken)
    counted = tuple((gpu, gpus.count(gpu)) for gpu in dict.fromkeys(gpus))
    with held_back() as pressed:  # nobody would know of a process that is not recorded
        with local_process.claimed_port(PORT) as (port, held):
            pid = local_process.start(folder, ["serve", "--port", str(port)], log, environ, held)
        try:
            started_at = _started_at(name, pid)
            current = local_store.Current(version, pid, started_at, port, local_store.now_text(), counted, devices)
            local_store.write_current(name, current)
        except BaseException:
            local_process.end_group(pid)
            raise
    if pressed:
        raise KeyboardInterrupt
    return devices


def _started_at(name: str, pid: int) -> float:
    """When the process began, as soon as the kernel has it."""
    while True:
        if (started_at := local_process.start_time(pid)) is not None:
            return started_at
        if not local_process.alive_in_group(pid):
            raise LaunchError(f"{name}: its process ended at once.")
        time.sleep(0.01)


def _weights_present(release: Release) -> bool:
    if release.local_path:
        return True
    with suppress(OSError):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "gpuplan" / "weights" / f"{release.repo}@{release.revision}"
        return release.revision is not None and (folder / "gpuplan-snapshot.json").is_file()
    return False
