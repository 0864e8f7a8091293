"""Apps that a broken-off `modal run` or `modal deploy` began: stopped, so that nothing waits for their silence."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from planner.errors import LaunchError
from planner.targets import modal_sdk
from planner.targets.modal_command import modal_json

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER_S = 20.0  # for one request
LIST_S = 30.0
SETTLED = {"deployed", "stopped", "stopping..."}  # modal/cli/app.py APP_STATE_TO_MESSAGE; all others go on unpublished


@contextmanager
def stopped_on_failure(name: str, environment: str | None) -> Iterator[None]:
    """Where the block fails or is interrupted, apps of this description that were never published end."""
    try:
        yield
    except LaunchError as error:
        try:
            stop_unfinished(name, environment)
        except LaunchError as failure:
            raise LaunchError(f"{error} Whether its unpublished app ended could not be seen ({failure})") from None
        raise
    except BaseException:
        stop_unfinished(name, environment)
        raise


def stop_unfinished(name: str, environment: str | None) -> None:
    """Stop every unpublished app of this description. Raises LaunchError where the provider refuses."""
    if problem := modal_sdk.connect_problem():
        raise LaunchError(problem)
    arguments = ["app", "list", *(["--env", environment] if environment else [])]
    for row in modal_json(arguments, LIST_S):
        if row.get("description") == name and row.get("state") not in SETTLED:
            modal_sdk.within(ANSWER_S, f"stopping an unfinished {name}", modal_sdk.stop_app(str(row["app_id"])))
