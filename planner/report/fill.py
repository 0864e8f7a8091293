"""Fill a report's template: Jinja with autoescaping, the charting library inlined, every value data and never code."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from planner import __version__
from planner.errors import SpecError
from planner.explain.figures import count, gib, milliseconds, speed, usd
from planner.templates import template_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FILTERS: dict[str, Callable[..., Any]] = {
    "gib": gib,
    "usd": usd,
    "count": count,
    "speed": speed,
    "milliseconds": milliseconds,
}


def check_page(path: Path) -> None:
    """SpecError where a page cannot be written at ``path``: better known before a GPU is rented than after."""
    if not path.parent.is_dir():
        raise SpecError([f"--html: {path}: no such folder {path.parent}. Make it, or name another file."])
    if find_spec("plotly") is None:
        missing = "--html: the charts need plotly, which is not installed: pip install 'gpuplan[report]'"
        raise SpecError([missing])


def write_page(
    path: Path,
    template: str,
    figures: Mapping[str, Any],
    values: Mapping[str, Any],
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> None:
    """One page at ``path``; ``figures`` are plotly's, by the id of the element that each is drawn in."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    check_page(path)
    environment = Environment(
        loader=FileSystemLoader(template_folder() / "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {**FILTERS, **(filters or {})}
    page = environment.get_template(template).render(
        version=__version__,
        plotly_source=_plotly_source() if figures else "",
        figures_json=_json_for_script(figures) if figures else "",
        **values,
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SpecError([f"--html: {path}: {error.strerror}. Name another file."]) from None


def _plotly_source() -> str:
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    return source.replace("</script", "<\\/script")


def _json_for_script(value: Any) -> str:
    """JSON that cannot end the script element that holds it."""
    text = json.dumps(value, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
