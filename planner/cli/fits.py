"""gpuplan fits."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from planner.cli.completing import complete_gpus, complete_models
from planner.cli.options import CATALOG, JSON
from planner.errors import EXIT_NO_VALID_CONFIGURATION

if TYPE_CHECKING:
    from pathlib import Path

    from planner.fits import Fit

WIDTH = 80
HEADER = ("model", "params", "TP×PP", "context", "at once", "tok/s", "$/M")
LEGEND = (
    "TP×PP: GPUs that share every layer, by stages of whole layers. context: the",
    "longest that starts. at once: requests of it in the KV cache. $/M: output",
    "tokens.",
)


@click.command()
@click.argument("gpus", metavar="GPU[:COUNT]", shell_complete=complete_gpus)
@click.argument("search", required=False, default="", shell_complete=complete_models)
@click.option("--context", "max_model_len", type=click.IntRange(min=1), metavar="TOKENS", help="Demand this context.")
@click.option("--all", "show_all", is_flag=True, help="Those that do not fit too, with the reason.")
@CATALOG
@JSON
def fits(
    gpus: str, search: str, max_model_len: int | None, show_all: bool, catalog_file: Path | None, as_json: bool
) -> None:
    """Show which catalogue models fit on GPU[:COUNT], at what context and concurrency.

    \b
    gpuplan fits H100:2
    gpuplan fits L40S qwen --context 32768
    """
    from datetime import UTC, datetime

    from planner.catalog import load_catalog
    from planner.fits import find_fits, parse_gpus

    catalog = load_catalog(catalog_file)
    asked = parse_gpus(gpus, catalog)
    repos = [repo for repo in catalog.model_names() if search.lower() in repo.lower()]
    today = datetime.now(UTC).date()
    fits_found = find_fits(asked, catalog, repos, max_model_len=max_model_len, today=today, catalog_file=catalog_file)
    found = sorted(fits_found, key=lambda fit: -fit.parameters)
    fitting = [fit for fit in found if fit.option]
    if as_json:
        click.echo(json.dumps([_document(fit) for fit in (found if show_all else fitting)], indent=2))
    else:
        _print_table(gpus, found, fitting, show_all)
    sys.exit(0 if fitting else EXIT_NO_VALID_CONFIGURATION)


def _print_table(gpus: str, found: list[Fit], fitting: list[Fit], show_all: bool) -> None:
    from planner.explain.figures import usd

    if fitting and fitting[0].option:
        price = fitting[0].option.cost.usd_per_hour
        click.echo(f"{len(fitting)} of {len(found)} models fit on {gpus}, {usd(price)}/h")
        click.echo("\n".join(_lines([_cells(fit) for fit in fitting])))
        click.echo("\n".join(LEGEND))
    elif found:
        click.echo(f"None of {len(found)} models {'fits' if len(found) == 1 else 'fit'} on {gpus}; --all shows why.")
    else:
        click.echo("No model of the catalogue has that in its name; see `gpuplan models`.")
    for fit in found:
        if show_all and not fit.option and fit.nearest:
            click.echo(f"{fit.repo}: {fit.nearest.code}: {fit.nearest.reason}")


def _lines(rows: list[tuple[str, ...]]) -> list[str]:
    """A table of 80 columns; a name that is too long for it stands above its figures, whole, to be typed."""
    from planner.explain.grid import grid

    figures = sum(2 + max(len(row[column]) for row in (HEADER, *rows)) for column in range(1, len(HEADER)))
    above = [len(row[0]) + figures > WIDTH for row in rows]
    header, *lines = grid(
        HEADER, [("", *row[1:]) if alone else row for row, alone in zip(rows, above, strict=True)], indent=""
    )
    for row, line, alone in zip(rows, lines, above, strict=True):
        header += f"\n{row[0]}\n{line}" if alone else f"\n{line}"
    return header.split("\n")


def _cells(fit: Fit) -> tuple[str, ...]:
    from planner.explain.figures import count, speed, usd

    option = fit.option
    assert option is not None  # noqa: S101 - only fitting rows reach the table
    at_once = option.kv_cache.max_concurrency
    return (
        fit.repo,
        f"{fit.parameters / 1e9:,.1f}B",
        f"{option.candidate.tensor_parallel_size}×{option.candidate.pipeline_parallel_size}",
        count(option.engine.max_model_len),
        f"{at_once:.1f}" if at_once < 10 else count(int(at_once)),
        speed(option.throughput.output_tokens_per_second),
        usd(option.cost.usd_per_million_output_tokens),
    )


def _document(fit: Fit) -> dict[str, Any]:
    from msgspec import to_builtins

    from planner.explain.json import option_document

    return {
        "repo": fit.repo,
        "parameters": fit.parameters,
        "option": option_document(fit.option) if fit.option else None,
        "nearest": to_builtins(fit.nearest) if fit.nearest and not fit.option else None,
    }
