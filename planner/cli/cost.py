"""gpuplan cost compare."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.options import JSON, SPECS, TARGET, planning, refuse, typed
from planner.cli.plan import exit_code
from planner.comparison import SORTS
from planner.errors import SpecError

if TYPE_CHECKING:
    from planner.plan import Plan


@click.group()
def cost() -> None:
    """Compare what the valid configurations of one or several specs cost.

    \b
    gpuplan cost compare specs/70b.yaml
    """


@cost.command(short_help="One row per valid configuration, cheapest first.")
@SPECS
@planning
@TARGET
@click.option("--sort", type=click.Choice(list(SORTS)), default="usd_per_hour", show_default=True, help="What is best.")
@click.option("--all", "show_rejected", is_flag=True, help="The rejected ones too, with their reasons.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV on standard output.")
@click.option("--plot/--no-plot", default=None, help="Price against speed as a picture (default: on a terminal).")
@click.option("--base", metavar="REV", help="Cost difference against this git revision, as Markdown.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the comparison as one page.")
@JSON
def compare(
    specs: tuple[str, ...],
    sort: str,
    show_rejected: bool,
    as_csv: bool,
    plot: bool | None,
    base: str | None,
    html: Path | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """One row per valid configuration, cheapest first; several specs side by side.

    \b
    gpuplan cost compare specs/70b.yaml
    gpuplan cost compare specs/*.yaml --sort usd_per_million_tokens
    gpuplan cost compare specs/*.yaml --base origin/main
    """
    _refuse_unused(as_json=as_json, as_csv=as_csv, plot=plot, base=base)
    gc.disable()  # as in `plan`: the process ends with what it prints
    if base is not None:
        sys.exit(_print_changes(specs, base, **asked))

    from planner.cli.many import plan_many
    from planner.cli.paint import paint
    from planner.cli.planning import check_all
    from planner.comparison import compare as compare_plans
    from planner.explain.compare import comparison_csv, comparison_document, explain_comparison
    from planner.explain.plot import plot_comparison
    from planner.explain.text import comparison_warnings

    check_all(specs, **asked)
    plans = plan_many(specs, **asked)
    rows = compare_plans(plans, sort)
    if html:
        from planner.report import write_comparison_report

        write_comparison_report(plans, rows, html)
    if as_json:
        document = comparison_document(plans, rows, show_rejected=show_rejected)
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    elif as_csv:
        click.echo(comparison_csv(rows), nl=False)
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
        paint(explain_comparison(plans, rows, show_rejected=show_rejected, width=width))
        if rows and (sys.stdout.isatty() if plot is None else plot):
            click.echo("\n" + plot_comparison(rows))
        paint(comparison_warnings(plans), err=True)
    sys.exit(0 if rows else max(exit_code(plan) for plan in plans))


def _refuse_unused(*, as_json: bool, as_csv: bool, plot: bool | None, base: str | None) -> None:
    """What the asked kind of output has no place for."""
    if base is not None:
        unused = typed("sort", "show_rejected", "as_csv", "plot", "html", "as_json")
        refuse(unused, "not with --base, which prints Markdown and nothing else. Leave it out.")
    if as_json and as_csv:
        refuse(["--csv, --json"], "standard output is the one or the other. Type one of them.")
    output = "--json" if as_json else "--csv" if as_csv else None
    if output and plot:
        refuse(["--plot"], f"not with {output}: a picture is for a terminal. Leave one of them out.")
    if as_csv:
        refuse(typed("show_rejected"), "not with --csv, which has the valid ones alone; --json has the rejected too.")


def _print_changes(specs: tuple[str, ...], base: str, **asked: Any) -> int:
    """The Markdown of a review comment; ends as the worst of today's plans does."""
    from planner.cli.planning import bare_spec, plan_from
    from planner.cli.revisions import text_at
    from planner.explain.change import SpecChange, explain_changes

    changes = []
    for path in specs:
        if path == "-" or bare_spec(path):
            raise SpecError([f"{path}: is no file, so it has no earlier version. Give --base the paths of specs."])
        earlier = text_at(base, path)
        if earlier is None and not Path(path).exists():
            raise SpecError([f"{path}: no such file, neither now nor at {base}. Type the path of a spec."])
        before = _plan_at(base, earlier, path, **asked) if earlier is not None else None
        after = plan_from(path, **asked).plan if Path(path).exists() else None
        changes.append(SpecChange(path, before, after))
    click.echo(explain_changes(changes, base), nl=False)
    return max((exit_code(change.after) for change in changes if change.after), default=0)


def _plan_at(base: str, text: str, path: str, **asked: Any) -> Plan:
    """The plan of an earlier text, whose mistakes are not those of the file as it is now."""
    from planner.cli.planning import plan_text

    try:
        return plan_text(text, path, **asked).plan
    except SpecError as error:
        raise SpecError([f"at {base}: {problem}" for problem in error.problems]) from None
