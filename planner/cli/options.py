"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

SET: Decorator = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set any key of the spec, e.g. --set gpu.counts=[2]."
)
CATALOG: Decorator = click.option(
    "--catalog",
    "catalog_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your own rows: GPUs, prices, models. They win over the shipped ones.",
)
OFFLINE: Decorator = click.option("--offline", is_flag=True, help="Use no network: catalogue, cache and local folders.")
JSON: Decorator = click.option("--json", "as_json", is_flag=True, help="JSON on standard output, and nothing else.")
MEASUREMENTS: Decorator = click.option(
    "--measurements",
    "measurements_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your own measured rows, beside those shipped and those that `measure` and `bench` kept.",
)
ASSUME_KV: Decorator = click.option(
    "--assume-kv-bytes", type=click.IntRange(min=0), metavar="N", help="Give every candidate N bytes per GPU for KV."
)


def planning(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that plans."""
    for option in (MEASUREMENTS, OFFLINE, CATALOG, SET):
        command = option(command)
    return command
