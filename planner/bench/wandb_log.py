"""Weights & Biases: one run a bench, with its settings, its table and a summary. In the extra `wandb`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from planner.bench.point import point_document
from planner.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from planner.bench.point import Point

SHOWN = ("model", "gpu", "num_gpus", "load", "output_tokens_per_second", "usd_per_million_output_tokens", "failed")


NOT_INSTALLED = "--wandb: wandb is not installed. Type pip install 'gpuplan[wandb]'."


def check_wandb() -> None:
    """Better known before the load than after. Raises SpecError."""
    if find_spec("wandb") is None:
        raise SpecError([NOT_INSTALLED])


def log_points(points: Sequence[Point], config: Mapping[str, Any], project: str, folder: Path) -> str:
    """Log a run and give its name. WANDB_MODE=offline keeps it in ``folder`` for `wandb sync`.

    Raises SpecError where wandb is not installed, or has no key and is not offline.
    """
    try:
        import wandb
    except ImportError as error:
        raise SpecError([NOT_INSTALLED]) from error
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(project=project, job_type="bench", config=dict(config), dir=str(folder))
    except wandb.errors.Error as error:
        raise SpecError([f"--wandb: {error}. Log in with `wandb login`, or set WANDB_MODE=offline."]) from error
    documents = [point_document(point) for point in points]
    for step, document in enumerate(documents):
        run.log({key: value for key, value in document.items() if isinstance(value, int | float)}, step=step)
    run.log({"bench": wandb.Table(columns=list(SHOWN), data=[[row[name] for name in SHOWN] for row in documents])})
    run.summary["best_output_tokens_per_second"] = max(point.output_tokens_per_second for point in points)
    name = str(run.name or run.id)
    run.finish()
    return name
