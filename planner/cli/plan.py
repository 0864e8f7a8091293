"""gpuplan plan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.options import ASSUME_KV, JSON, SPEC, TARGET, planning, refuse, with_target
from planner.cli.paint import paint, tell
from planner.errors import EXIT_NO_VALID_CONFIGURATION, EXIT_OVER_BUDGET

if TYPE_CHECKING:
    from planner.plan import Plan


@click.command()
@SPEC
@planning
@TARGET
@JSON
@ASSUME_KV
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Save the plan, for `gpuplan deploy`.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as one page.")
def plan(spec: str, as_json: bool, out: Path | None, html: Path | None, **asked: Any) -> None:
    """Choose the cheapest valid GPU configuration and say why the rest lost.

    SPEC is a YAML file, "-" for standard input, or a model such as org/name.

    \b
    gpuplan plan specs/70b.yaml
    gpuplan plan meta-llama/Llama-2-70b-chat-hf --offline
    gpuplan plan specs/70b.yaml --set engine.kv_cache_dtype=fp8 --json
    """
    if out and asked["assume_kv_bytes"] is not None:
        refuse(["--out"], "not with --assume-kv-bytes, whose plan is for checks: nothing of it could be launched.")
    from planner.cli.planning import month_of, plan_from
    from planner.hints import find_hints

    planned = plan_from(spec, **asked)
    judged_for_real = asked["assume_kv_bytes"] is None
    hints = find_hints(planned.plan, planned.catalog, measurements=planned.measurements) if judged_for_real else ()
    if out and planned.plan.chosen is None:
        tell(f"{out}: not saved: no configuration is valid, so there is nothing to deploy.")
    elif out:
        from planner.plan_file import save_plan

        save_plan(planned.plan, out, spec_path=spec, overrides=with_target(asked["overrides"], asked["target"]))
    if html:
        from planner.report import write_plan_report

        write_plan_report(planned.plan, hints, html)
    if as_json:
        import json

        from planner.explain.json import plan_document

        click.echo(json.dumps(plan_document(planned.plan, hints, month_of(planned)), indent=2, ensure_ascii=False))
    else:
        from planner.explain.text import explain_plan, warning_lines

        if planned.text:
            click.echo(f"Planned as this spec (save it with `gpuplan init`):\n{planned.text}", err=True)
        paint(explain_plan(planned.plan, hints, month_of(planned)))
        paint(warning_lines(planned.plan), err=True)
    sys.exit(exit_code(planned.plan))


def exit_code(plan: Plan) -> int:
    """0 with a choice; 5 if the budget alone stands in the way of every otherwise valid option; else 4."""
    if plan.options:
        return 0
    over_budget = any(rejection.code == "budget" for rejection in plan.rejections)
    return EXIT_OVER_BUDGET if over_budget else EXIT_NO_VALID_CONFIGURATION
