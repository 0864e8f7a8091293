"""gpuplan render."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from planner.cli.completing import complete_specs
from planner.cli.launching import Ttl, decide
from planner.cli.options import JSON, TARGET, planning
from planner.cli.paint import tell


@click.command()
@click.argument("spec_or_plan", shell_complete=complete_specs)
@planning
@JSON
@TARGET
@click.option("--ttl", type=Ttl(), metavar="TIME", help="The app stops itself after 30m, 2h, 3d.")
@click.option(
    "--out", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the files."
)
def render(spec_or_plan: str, *, as_json: bool, folder: Path, **asked: Any) -> None:
    """Write the deployable app and what it needs; launch nothing.

    \b
    gpuplan render specs/70b.yaml --out build
    modal run build/app.py::weights.download && modal deploy build/app.py
    """
    from planner.deployment.launch import write_files
    from planner.errors import LaunchError, SpecError

    decided = decide(spec_or_plan, **asked)
    for reason in decided.stale:
        tell(f"The saved plan is stale. {reason}")
    try:
        written = write_files(decided.release, folder)
    except LaunchError as error:
        raise SpecError([f"{error} Name another folder with --out."]) from None
    if as_json:
        document = {"schema_version": 1, "files": [str(path) for path in written], "plan_id": decided.release.plan_id}
        click.echo(json.dumps(document))
        return
    for path in written:
        click.echo(path)
