"""Processes of the local target: started apart from us, recognised again, ended for certain."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from planner.targets.local_devices import QUERY, parse_devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from planner.targets.local_devices import Device

STOP_S = 30.0
GONE_S = 30.0  # for the kernel, after a kill
POLL_S = 0.05
ZOMBIE = "Z"  # ended, not yet reaped by its parent


def start(folder: Path, arguments: list[str], log: Path, environ: Mapping[str, str], held: tuple[int, ...] = ()) -> int:
    """Start app.py with its own process group and its output in the log; the process id.

    ``held``: file descriptors that it keeps open as long as it lives.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py", *arguments],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=held,
        )
    return process.pid


def run(folder: Path, arguments: list[str], timeout_s: float) -> Iterator[str]:
    """Run app.py to its end and give its lines. Raises TimeoutError, or RuntimeError with the last line."""
    process = subprocess.Popen(
        [sys.executable, "-u", "app.py", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline, last = time.monotonic() + timeout_s, ""
    watch = threading.Timer(timeout_s, _kill_group, [process.pid])  # a process that hangs says no line either
    watch.start()
    try:
        for line in process.stdout or ():
            last = line.strip() or last
            yield line.rstrip("\n")
        code = process.wait()
        if time.monotonic() > deadline:
            raise TimeoutError
        if code != 0:
            raise RuntimeError(last)
    finally:
        watch.cancel()
        end_group(process.pid)
        process.wait()


def start_time(pid: int) -> float | None:
    """When a process began, by the kernel's clock ticks; None where it is not there (or is a zombie)."""
    fields = _stat_fields(pid)
    if fields is None:
        return _start_time_by_ps(pid)
    return None if fields[0] == ZOMBIE else float(fields[19])


def _stat_fields(pid: int) -> list[str] | None:
    """Of /proc/PID/stat from the state on; None where there is no such process, or no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def _start_time_by_ps(pid: int) -> float | None:
    """Where there is no /proc (macOS)."""
    ps = shutil.which("ps")
    if ps is None or Path("/proc/self/stat").exists():
        return None
    shown = subprocess.run([ps, "-o", "lstart=,stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    text = shown.stdout.strip()
    if not text or text.split()[-1].startswith(ZOMBIE):
        return None
    return time.mktime(time.strptime(" ".join(text.split()[:5])))


def end_group(pid: int, timeout_s: float = GONE_S) -> bool:
    """Whatever is left of the group ends now; whether nothing of it is there any more.

    A killed process is still there while the kernel takes down what it held: its memory, and that on a GPU.
    """
    deadline = time.monotonic() + timeout_s
    while alive_in_group(pid):
        if time.monotonic() > deadline:
            return False
        _kill_group(pid)  # again each time: it may have been starting another
        time.sleep(POLL_S)
    return True


def end(pid: int, timeout_s: float = STOP_S) -> bool:
    """Ask the process to stop, wait, then make sure of its whole group; whether nothing of it is left."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while start_time(pid) is not None and time.monotonic() < deadline:
        _reap(pid)
        time.sleep(POLL_S)
    return end_group(pid)


def alive_in_group(pid: int) -> bool:
    """Whether a process of the group still runs; a zombie does not, whoever is to reap it."""
    _reap(pid)
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process is in it, or (macOS) zombies are all that is
    return any(group == pid and not state.startswith(ZOMBIE) for group, state in _groups_and_states())


def _groups_and_states() -> Iterator[tuple[int, str]]:
    """Of every process of this machine: its group where that leads a session, as ours do, and its state."""
    if not Path("/proc/self/stat").exists():  # macOS, whose ps shows no session's number
        listing = [shutil.which("ps") or "ps", "-A", "-o", "pgid=,stat="]
        shown = subprocess.run(listing, capture_output=True, text=True, check=False)
        yield from ((int(group), state) for group, state in map(str.split, shown.stdout.splitlines()))
        return
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _stat_fields(int(folder.name)):
            state, _, group, session = fields[:4]
            if group == session:
                yield int(group), state


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _reap(pid: int) -> None:
    """A child of ours that has ended would stay as a zombie."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


@contextlib.contextmanager
def claimed_port(wanted: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """A port, and the descriptors to hand to the process that will listen on it.

    An engine listens long after it was started: a lock on the wanted port, held by its process, keeps others off.
    """
    path = Path(tempfile.gettempdir()) / f"gpuplan-port-{wanted}.lock"
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(path.open("a"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another engine's, or another user's
            yield free_port(0), ()
            return
        yield free_port(wanted), (file.fileno(),)


def free_port(wanted: int) -> int:
    """The wanted port where it is free, else one that the system picks."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise OSError("no free port on 127.0.0.1")


def nvidia_gpus() -> list[Device]:
    """This machine's GPUs, by nvidia-smi; empty where there is none."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return []
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        shown = subprocess.run(
            [smi, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        if shown.returncode == 0:
            return parse_devices(shown.stdout)
    return []
