"""Plans of many specs: shared out over the machine's processors, where the system can copy a process."""

from __future__ import annotations

import os
import pickle
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, Any

from planner.cli.planning import plan_from, say_on_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.plan import Plan

FEWEST_EACH = 16  # specs of one process; to start it and to hand their plans over takes as long as a few plans
WORTH_SAYING = 50  # specs that take about a second


def plan_many(sources: Sequence[str], **asked: Any) -> list[Plan]:
    """Each source's plan, in order. Raises what a spec that cannot be planned raises."""
    if len(sources) >= WORTH_SAYING:
        say_on_terminal(f"Planning {len(sources)} specs ...")
    processes = max(1, min(_processors(), len(sources) // FEWEST_EACH))
    own, *others = [sources[first::processes] for first in range(processes)]
    with ExitStack() as pipes:  # closed early, they end the copies that still write
        copies: list[tuple[int, IO[bytes]]] = []
        for share in others:
            process, answer = _start(share, asked, copies)
            copies.append((process, pipes.enter_context(answer)))
        planned = [_plan_all(own, asked)]
        for share, (process, answer) in zip(others, copies, strict=True):
            pickled = answer.read()
            os.waitpid(process, 0)
            planned.append(pickle.loads(pickled) if pickled else _plan_all(share, asked))  # noqa: S301 - a copy of us
    return [planned[index % processes][index // processes] for index in range(len(sources))]


def _processors() -> int:
    """Those this process may use; 1 where a process cannot be copied."""
    if not hasattr(os, "fork"):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plan_all(sources: Sequence[str], asked: dict[str, Any]) -> list[Plan]:
    return [plan_from(source, **asked).plan for source in sources]


def _start(
    sources: Sequence[str], asked: dict[str, Any], started: Sequence[tuple[int, IO[bytes]]]
) -> tuple[int, IO[bytes]]:
    """A copy of this process that plans ``sources``: its number, and where their plans can be read.

    Nothing can be read where one fails: the caller plans these itself, and so fails in its own words.
    """
    reading, writing = os.pipe()
    if process := os.fork():
        os.close(writing)
        return process, os.fdopen(reading, "rb")
    try:
        for _, answer in started:  # only the caller reads: once it is gone, nobody writes on
            answer.close()
        os.close(reading)
        with suppress(BaseException), os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(_plan_all(sources, asked), protocol=pickle.HIGHEST_PROTOCOL))
    finally:
        os._exit(0)
