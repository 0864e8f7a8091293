"""Everything that stands in the way of a launch, found before a cent is spent and told all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from planner.deployment.running import Survey
    from planner.plan import Plan
    from planner.release import Release


def preflight(plan: Plan, release: Release, survey: Survey) -> Survey:
    """The survey of the provider with what the plan itself knows added."""
    return replace(
        survey,
        problems=(*survey.problems, *_problems(plan, release)),
        warnings=(*survey.warnings, *_warnings(plan, release, survey)),
    )


def _problems(plan: Plan, release: Release) -> list[str]:
    problems = []
    if plan.checkpoint.gated and release.secret_huggingface is None and release.target != "local":
        problems.append(
            f"model.repo: {release.repo} is gated, and the spec names no secret with HF_TOKEN. "
            f"Accept the licence at https://huggingface.co/{release.repo}, then set secrets.huggingface."
        )
    limit = plan.spec.budget.max_usd_per_hour
    if limit is not None and float(release.usd_per_hour) > float(limit):
        problems.append(f"budget.max_usd_per_hour: ${release.usd_per_hour} per hour is over ${limit}.")
    return problems


def _warnings(plan: Plan, release: Release, survey: Survey) -> list[str]:
    warnings = []
    if plan.checkpoint.gated and release.target == "local" and release.local_path is None:
        warnings.append(
            f"{release.repo} is gated: it is fetched with this machine's own token (HF_TOKEN, or `hf auth login`)."
        )
    elif plan.checkpoint.gated and plan.checkpoint.source != "hub" and release.local_path is None:
        warnings.append(
            f"{release.repo} is gated: whether its licence is accepted was not checked (the hub was not asked)."
        )
    if release.revision is None and release.local_path is None:
        warnings.append(
            f"The commit of {release.repo}@{release.asked_revision} is not known yet: the download resolves it."
        )
    running = survey.running
    if running is not None and running.release is None:
        warnings.append(
            f"Version {running.version} of {running.name} was not recorded by gpuplan: every field is shown as new."
        )
    return warnings
