"""The reverse question: which catalogue models fit on given GPUs, at what context and concurrency."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.errors import SpecError, UnknownArchitectureError
from planner.make_plan import make_plan
from planner.spec import parse_spec
from planner.spec.problems import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date
    from pathlib import Path

    from planner.catalog import Catalog
    from planner.plan import Option
    from planner.rejection import Rejection

GPUS = re.compile(r"(?P<gpu>[A-Za-z0-9!+-]+?)(?::(?P<count>\d+))?")
SPEC = """\
name: fits
model: {{repo: "{repo}"}}
engine: {{max_model_len: {max_model_len}}}
gpu: {{types: ["{gpu}"], counts: [{count}]}}
"""


class Fit(Struct, frozen=True):
    """One catalogue model on the GPUs asked for: its best option, or the rejection nearest to fitting."""

    repo: str
    parameters: int
    option: Option | None
    nearest: Rejection | None


def parse_gpus(text: str, catalog: Catalog) -> tuple[str, int]:
    """``H100:2`` as (name, count). Raises SpecError for another form or a count that is not sold."""
    found = GPUS.fullmatch(text)
    if not found or found["gpu"] not in catalog.offers:
        near = did_you_mean(text.partition(":")[0], catalog.offers)
        meant = f"did you mean {near}?" if near else "type NAME or NAME:COUNT, e.g. H100:2."
        raise SpecError([f"{text}: not a GPU on offer; {meant} See `gpuplan gpus`."])
    count = int(found["count"] or 1)
    sold = catalog.offers[found["gpu"]].counts_sold
    if count not in sold:
        raise SpecError([f"{text}: one container has {sold[0]} to {sold[-1]} of {found['gpu']}, not {count}."])
    return found["gpu"], count


def find_fits(
    gpus: tuple[str, int],
    catalog: Catalog,
    repos: Iterable[str],
    *,
    max_model_len: int | None,
    today: date,
    catalog_file: Path | None = None,
) -> Iterator[Fit]:
    """Each catalogue model planned on exactly these GPUs; unknown architectures are left out.

    ``catalog_file`` holds the user's own rows that ``catalog`` was made with, if any.
    """
    gpu, count = gpus
    for repo in repos:
        checkpoint = catalog.find_model(repo)
        if checkpoint is None:
            continue
        context = max_model_len or "auto"
        text = SPEC.format(repo=repo, max_model_len=context, gpu=gpu, count=count)
        spec = parse_spec(text, repo, catalog_file=catalog_file)
        try:
            plan = make_plan(spec, checkpoint, catalog, today=today)
        except UnknownArchitectureError:
            continue
        roomiest = max(plan.options, key=lambda option: option.kv_cache.tokens, default=None)
        yield Fit(repo, plan.parameters, roomiest, _nearest(plan.rejections))


def _nearest(rejections: tuple[Rejection, ...]) -> Rejection | None:
    """The rejection that got furthest: the last rule applied, then the smallest shortfall."""
    measured = [one for one in rejections if one.needed and one.available is not None]
    return min(measured or rejections, key=lambda one: (one.needed or 0) - (one.available or 0), default=None)
