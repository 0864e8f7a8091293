"""Waiting until an endpoint answers as the planned version, with the phase that its log shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from planner.deployment.engine_log import explain_failure, is_death, phase_of
from planner.deployment.running import Progress
from planner.errors import LaunchError
from planner.verify import UnansweredError, model_cards, serves_another_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from planner.release import Release
    from planner.targets import Log, Say

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
REQUEST_S = 10.0
TAIL_LINES = 20
ASK_EVERY_S = 30.0
REFUSED = {401, 403}


class LogWatch:
    """What a log has shown so far: its lines, and the phase that they say.

    ``overtaken`` tells what someone else did to the version meanwhile, which no log says; asked from time to time.
    """

    def __init__(self, log: Log, overtaken: Callable[[], str | None]) -> None:
        self.lines: list[str] = []
        self.phase = "image"
        self._log = log
        self._overtaken = overtaken
        self._asked_at = time.monotonic()

    def look(self) -> None:
        """Take in what came since."""
        for line in self._log.read():
            self.lines.append(line)
            self.phase = phase_of(line) or self.phase

    def death(self) -> str | None:
        """Why the version will not serve: a line that its container said, or what someone did to it."""
        if line := next((line for line in self.lines if is_death(line)), None):
            return line
        if time.monotonic() - self._asked_at < ASK_EVERY_S:
            return None
        self._asked_at = time.monotonic()
        return self._overtaken()

    def tail(self) -> str:
        """The last lines, indented, for a failure."""
        return "".join(f"\n  | {line}" for line in self.lines[-TAIL_LINES:])


def wait_until_ready(
    url: str, headers: Mapping[str, str], release: Release, log: LogWatch, say: Say, deadline: float
) -> list[dict[str, Any]]:
    """The model cards of the new version, as soon as it answers.

    ``deadline`` is on the monotonic clock. Raises LaunchError when the engine has died, the endpoint refuses us, or
    the time is over; the message has the cause in the plan's words and the end of the log.
    """
    started, pause, shown = time.monotonic(), FIRST_PAUSE_S, ""
    while True:
        try:
            cards = model_cards(url, headers, REQUEST_S)
            if not serves_another_plan(cards, release):
                return cards
            waiting = "the version before still answers"
        except UnansweredError as error:
            if error.status in REFUSED:
                raise LaunchError(_refusal(release, error)) from None
            waiting = str(error)
        log.look()
        if death := log.death():
            raise LaunchError(_story(release, death, log))
        if time.monotonic() >= deadline:
            waited = f"not ready after {time.monotonic() - started:.0f} s, last: {waiting}"
            raise LaunchError(_story(release, waited, log))
        if log.phase != shown:
            shown = log.phase
            say(Progress(shown, PHASE_WORDS[shown]))
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(LONGEST_PAUSE_S, pause * 1.5)


PHASE_WORDS = {
    "image": "waiting for a container",
    "weights": "checking the weights",
    "engine": "the engine is starting",
    "graphs": "compiling and capturing CUDA graphs",
    "ready": "the engine is up, waiting for the endpoint",
}


def _refusal(release: Release, error: UnansweredError) -> str:
    return (
        f"{release.name}: the endpoint refuses us ({error}). "
        "Set MODAL_PROXY_TOKEN_ID and MODAL_PROXY_TOKEN_SECRET, and VLLM_API_KEY where the spec names api_key."
    )


def _story(release: Release, fact: str, log: LogWatch) -> str:
    cause = explain_failure(log.lines, release)
    return f"{release.name}: {cause or fact}" + log.tail()
