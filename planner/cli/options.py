"""Options that several commands share."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.completing import complete_overrides, complete_specs, complete_targets
from planner.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Finite(click.FloatRange):
    """A number that can be counted to: no range of click's refuses nan, few refuse inf."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is not a number that ends.", param, ctx)
        return number


SPEC: Decorator = click.argument("spec", shell_complete=complete_specs)
SPECS: Decorator = click.argument("specs", nargs=-1, required=True, metavar="SPEC...", shell_complete=complete_specs)
SET: Decorator = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_overrides,
    help="Set any key of the spec, e.g. --set gpu.counts=[2].",
)
TARGET: Decorator = click.option(
    "--target",
    metavar="NAME",
    shell_complete=complete_targets,
    help="Run it there instead of where the spec says: modal or local.",
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
    "--assume-kv-bytes",
    type=click.IntRange(min=0),
    metavar="N",
    help="For checks: give every candidate N bytes per GPU for its KV cache.",
)


def planning(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that plans."""
    for option in (MEASUREMENTS, OFFLINE, CATALOG, SET):
        command = option(command)
    return command


def typed(*names: str) -> list[str]:
    """Of these parameters those that stand on the command line, as one types them."""
    from click.core import ParameterSource

    context = click.get_current_context()
    options = {option.name: option.opts[0] for option in context.command.params}
    return [options[name] for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]


def refuse(unused: Sequence[str], why: str) -> None:
    """Options that would be passed over in silence are bad usage."""
    if unused:
        raise SpecError([f"{', '.join(unused)}: {why}"])


def with_target(overrides: Sequence[str], target: str | None) -> tuple[str, ...]:
    """--target NAME as the override that it is."""
    return (*overrides, f"target={target}") if target else tuple(overrides)
