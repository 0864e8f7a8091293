"""From what stands on the command line to a Plan: the I/O that every planning command shares."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from planner.catalog import load_catalog
from planner.cli.options import with_target
from planner.cli.paint import tell
from planner.errors import SpecError
from planner.make_plan import make_plan
from planner.measurements import load_measurements
from planner.model.find import find_checkpoint
from planner.spec import load_spec, parse_spec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from planner.catalog import Catalog
    from planner.measurements import Measurement
    from planner.month import Month
    from planner.plan import Plan
    from planner.spec import Spec

REPO = r"[A-Za-z0-9][\w.-]*/[\w.-]+"


class Planned(Struct, frozen=True):
    """A plan and what it was made from."""

    spec: Spec
    plan: Plan
    catalog: Catalog
    measurements: tuple[Measurement, ...]
    today: date
    text: str | None = None  # the spec that a bare org/name stands for


def plan_from(source: str, *, overrides: Sequence[str] = (), target: str | None = None, **asked: Any) -> Planned:
    """Read the spec (a file, "-" or org/name), find the model, plan; ``target`` instead of the spec's own.

    Raises SpecError (exit 2) and ModelError (exit 6).
    """
    text = bare_spec(source)
    if text is not None:
        return plan_text(text, source, overrides=overrides, target=target, **asked)
    _refuse_saved_plan(source)
    overrides = with_target(overrides, target)
    return _plan(load_spec(source, overrides, asked.get("catalog_file")), source, **asked)


def _refuse_saved_plan(source: str) -> None:
    """A saved plan is no spec, although both may be JSON."""
    if not source.endswith(".json"):
        return
    from planner.plan_file import read_plan

    if saved := read_plan(Path(source)):
        raise SpecError(
            [f"{source}: a saved plan, not a spec. Type `gpuplan deploy {source}`, or plan {saved.spec_path} again."]
        )


def check_all(
    sources: Sequence[str], *, overrides: Sequence[str] = (), target: str | None = None, **asked: Any
) -> None:
    """Raises one SpecError with the problems of every file, before any is planned."""
    problems: list[str] = []
    for source in sources if len(sources) > 1 else ():
        if source == "-" or bare_spec(source):
            continue  # read once, or written by the program itself
        try:
            load_spec(source, with_target(overrides, target), asked.get("catalog_file"))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)


def plan_text(
    text: str, source: str, *, overrides: Sequence[str] = (), target: str | None = None, **asked: Any
) -> Planned:
    """Plan a spec whose text is at hand; ``source`` names it in errors and is what model.path is relative to."""
    overrides = with_target(overrides, target)
    spec = parse_spec(text, source, overrides, asked.get("catalog_file"))
    return replace(_plan(spec, source, **asked), text=text)


def _plan(
    spec: Spec,
    source: str,
    *,
    catalog_file: Path | None = None,
    offline: bool = False,
    measurements_file: Path | None = None,
    assume_kv_bytes: int | None = None,
) -> Planned:
    today = datetime.now(UTC).date()
    catalog = load_catalog(catalog_file, spec.target)
    checkpoint = find_checkpoint(
        spec.model, catalog, offline=offline, base_dir=base_dir(source), progress=say_on_terminal
    )
    measurements = tuple(load_measurements(measurements_file))
    plan = make_plan(spec, checkpoint, catalog, today=today, measurements=measurements, assume_kv_bytes=assume_kv_bytes)
    return Planned(spec, plan, catalog, measurements, today)


def say_on_terminal(sentence: str) -> None:
    """What takes a while, for a person who is watching."""
    if sys.stderr.isatty():
        tell(sentence)


def bare_spec(source: str) -> str | None:
    """The ten-second spec that `org/name` stands for, or None where SOURCE is a file or "-"."""
    if source.endswith((".yaml", ".yml")) or not re.fullmatch(REPO, source) or _exists(Path(source)):
        return None
    from planner.spec import starter

    return starter.bare_spec(source)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name longer than any file's
        return False


def base_dir(source: str) -> Path:
    """What model.path is relative to: the folder of the spec; the working folder, unasked, where there is no file."""
    return Path() if source == "-" or bare_spec(source) else Path(source).parent


def month_of(planned: Planned) -> Month | None:
    """The month of the spec's requests per hour; read only where the spec names them."""
    if planned.plan.workload.requests_per_hour is None:
        return None
    from planner.catalog.account_plans import load_account_plans
    from planner.month import make_month

    accounts = load_account_plans(planned.spec.target)
    return make_month(planned.plan, planned.catalog.rates, accounts[0] if accounts else None)
