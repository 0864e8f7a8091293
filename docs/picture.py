"""Write docs/plan.svg: a real plan as a terminal shows it. `make picture`, or python docs/picture.py."""

from __future__ import annotations

import io
import re
from datetime import date
from pathlib import Path
from xml.sax.saxutils import escape

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from planner.catalog import load_catalog
from planner.explain.text import explain_plan
from planner.hints import find_hints
from planner.make_plan import make_plan
from planner.measurements import shipped_measurements
from planner.model.find import find_checkpoint
from planner.spec import load_spec

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "plan.svg"
SPEC = "specs/70b.yaml"
COMMAND = f"gpuplan plan {SPEC} --offline"
WIDTH = 80
STYLES = {"": "", "title": "bold", "good": "bold green", "warn": "yellow", "dim": "dim"}  # as planner/cli/paint.py


def plan_lines() -> list[tuple[str, str]]:
    """The plan's lines with their styles, as the command prints them."""
    spec, catalog, measurements = load_spec(str(ROOT / SPEC)), load_catalog(), shipped_measurements()
    checkpoint = find_checkpoint(spec.model, catalog, offline=True, base_dir=ROOT)
    plan = make_plan(spec, checkpoint, catalog, today=date.today(), measurements=measurements)  # noqa: DTZ011 - ages of prices only warn
    hints = find_hints(plan, catalog, measurements=measurements)
    return [(line.text, STYLES[line.style]) for line in explain_plan(plan, hints)]


def picture() -> str:
    """The SVG. Its description is the plan as text, for people who cannot see it and for the test that compares."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    lines = [(f"$ {COMMAND}", "bold"), *plan_lines()]
    for text, style in lines:
        console.print(Text(text, style=style), soft_wrap=True)
    svg = console.export_svg(title=COMMAND, theme=DIMMED_MONOKAI, unique_id="plan")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # rich's font would be fetched from the network
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace")
    told = escape("\n".join(text for text, _ in lines).rstrip())
    return re.sub(r"(<svg [^>]*>)", lambda opening: f"{opening[1]}\n<desc>{told}\n</desc>", svg, count=1) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
