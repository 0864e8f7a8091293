"""What the deployment commands share: from SPEC or a saved plan to a Release, questions, and lines of progress."""

from __future__ import annotations

import atexit
import gc
import re
import signal
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from msgspec import Struct
from msgspec.structs import replace

from planner.cli.options import with_target
from planner.cli.paint import paint, tell
from planner.errors import EXIT_NO_VALID_CONFIGURATION, EXIT_OVER_BUDGET, EXIT_USAGE, LaunchError, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from planner.cli.planning import Planned
    from planner.deployment.running import Progress
    from planner.plan import Option
    from planner.plan_file import SavedPlan
    from planner.release import Release
    from planner.spec import Spec
    from planner.targets import Target

TTL = re.compile(r"([0-9]{1,6})([mhd])")
TTL_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
SHORTEST_TTL = timedelta(minutes=10)
LONGEST_TTL = timedelta(days=300)  # the stop is a yearly cron line


class Ttl(click.ParamType[timedelta]):
    """A time to live: 30m, 2h, 3d."""

    name = "ttl"

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        found = TTL.fullmatch(str(value))
        length = timedelta(**{TTL_UNITS[found.group(2)]: int(found.group(1))}) if found else None
        if length is None or not SHORTEST_TTL <= length <= LONGEST_TTL:
            self.fail(f"{value!r} is not a time to live: write 30m, 2h or 3d, from 10m to 300d", param, ctx)
        return length


class Decided(Struct, frozen=True):
    """A plan, the option to launch and its release; ``stale`` says what a saved plan does not know yet."""

    planned: Planned
    option: Option
    release: Release
    stale: tuple[str, ...] = ()


def read_spec(source: str, overrides: Sequence[str] = (), target: str | None = None) -> Spec:
    """The spec in a file, on standard input, in a saved plan or of a bare org/name, without planning it.

    Which GPUs it may take is not looked at: a GPU of one's own --catalog rows is no reason not to stop.
    """
    from planner.cli.planning import bare_spec
    from planner.plan_file import read_plan
    from planner.spec import load_spec, parse_spec

    overrides = (*with_target(overrides, target), "gpu.types=null")
    saved = read_plan(Path(source)) if source.endswith(".json") else None
    if saved:
        return parse_spec(saved.spec_text, saved.spec_path, overrides)
    text = bare_spec(source)
    return parse_spec(text, source, overrides) if text else load_spec(source, overrides)


def decide(
    source: str, *, target: str | None = None, ttl: timedelta | None = None, overrides: Sequence[str] = (), **asked: Any
) -> Decided:
    """Plan SPEC, or check a saved plan against today. Exits with 4 or 5 where nothing is valid."""
    from planner.cli.planning import plan_from, plan_text
    from planner.plan_file import read_plan, saved_option, saved_rejection, stale_reasons

    overrides = with_target(overrides, target)
    saved = read_plan(Path(source)) if source.endswith(".json") else None
    if saved is None:
        planned = plan_from(source, overrides=overrides, **asked)
        option, stale, path = planned.plan.chosen, [], source
    else:
        planned = plan_text(saved.spec_text, saved.spec_path, overrides=overrides, **asked)
        option, path = saved_option(saved, planned.plan), saved.spec_path
        stale = stale_reasons(saved, planned.plan, _sha256_of(saved, asked.get("catalog_file")))
    if option is None:
        lost = saved_rejection(saved, planned.plan) if saved else None
        _nothing_valid(planned, stale, over_budget=lost is not None and lost.code == "budget")
    release = _release(planned, option, path, ttl)
    if saved is not None and saved.revision:
        release = replace(release, revision=saved.revision)
    return Decided(planned, option, release, tuple(stale))


def _release(planned: Planned, option: Option, path: str, ttl: timedelta | None) -> Release:
    from planner.cli.planning import base_dir
    from planner.release import make_release

    folder = planned.spec.model.path
    local_path = str((base_dir(path) / folder).resolve()) if folder and planned.spec.target == "local" else None
    return make_release(
        planned.plan, option, spec_path=path, local_path=local_path, expires_at=expiry(ttl) if ttl else None
    )


def expiry(ttl: timedelta) -> str:
    """The first whole minute (UTC) at which the time to live is over."""
    end = datetime.now(UTC) + ttl + timedelta(seconds=59)
    return end.replace(second=0, microsecond=0).isoformat()


def _sha256_of(saved: SavedPlan, catalog_file: Path | None) -> str | None:
    """Of the spec's file as it is now, with what the saved plan overrode; None where there is no file."""
    from planner.errors import GpuplanError
    from planner.release import spec_sha256
    from planner.spec import load_spec

    if saved.spec_path == "-" or not Path(saved.spec_path).is_file():
        return None
    try:
        return spec_sha256(load_spec(saved.spec_path, saved.overrides, catalog_file))
    except GpuplanError:
        return "unreadable"


def _nothing_valid(planned: Planned, stale: Sequence[str], *, over_budget: bool) -> NoReturn:
    from planner.explain.text import explain_plan

    paint(explain_plan(planned.plan, ()), err=True)
    for reason in stale:
        tell(reason)
    if planned.plan.options:
        click.echo("Plan again: gpuplan plan SPEC --out PLAN.json", err=True)
    elif any(rejection.code == "budget" for rejection in planned.plan.rejections):
        over_budget = True  # every otherwise valid option
    sys.exit(EXIT_OVER_BUDGET if over_budget else EXIT_NO_VALID_CONFIGURATION)


def open_target(name: str) -> Target:
    """The target's module. A provider's client is large: freed of the search for cycles, Python ends 0.15 s sooner."""
    from planner.targets import find_target

    atexit.register(gc.freeze)
    return find_target(name)


NOBODY_TO_ASK = "There is no terminal to ask on: pass --yes."


def is_on_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def before_asking(*, yes: bool) -> Iterator[None]:
    """What a command finds out before it asks. With nobody to ask it is bad usage (exit 2), whatever else is wrong."""
    try:
        yield
    except LaunchError as error:
        if yes or is_on_terminal():
            raise
        raise SpecError([str(error), NOBODY_TO_ASK]) from error


def confirm(question: str, *, yes: bool) -> bool:
    """Ask on a terminal; with --yes it is answered; with neither, exit 2."""
    if yes:
        return True
    if not is_on_terminal():
        tell(f"{question} {NOBODY_TO_ASK}")
        sys.exit(EXIT_USAGE)
    try:
        return click.confirm(question, err=True)
    except click.Abort:  # Ctrl-C or Ctrl-D is a no
        click.echo(err=True)
        return False


class ProgressLine:
    """Progress on standard error: on a terminal passing lines overwrite each other, elsewhere each has its own."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._width = 0

    def __call__(self, progress: Progress) -> None:
        with suppress(OSError):  # nobody reads it any more: no reason to break off a launch
            self._show(progress)

    def _show(self, progress: Progress) -> None:
        text = f"{progress.phase:<8} {progress.text}"
        if not self._live:
            click.echo(text, err=True)
            return
        columns = _columns()
        shown = text[: columns - 1]
        click.echo("\r" + shown + " " * max(0, self._width - len(shown)), err=True, nl=not progress.transient)
        self._width = len(shown) if progress.transient else 0


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def end_on_terminate() -> None:
    """SIGTERM ends a launch as Ctrl-C does: in order."""

    def interrupt(*_: Any) -> None:
        if not callable(signal.getsignal(signal.SIGINT)):  # ignored, as in the background of a script
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # asyncio has a handler of its own for it

    signal.signal(signal.SIGTERM, interrupt)
