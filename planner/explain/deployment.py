"""A deployment in words: the difference, the outcome, the status. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from planner.deployment.running import clock, utc
from planner.explain.figures import gpu_numbers, gpus, usd
from planner.explain.lines import Line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.deployment.difference import Change, Difference
    from planner.deployment.launch import Outcome
    from planner.deployment.running import Running, Underway
    from planner.release import Release
    from planner.verify import Proof

STYLES = {"+": "good", "-": "warn", "~": ""}
EFFECTS = {
    "created": "The app is created.",
    "none": "No changes: this is what runs.",
    "in place": "In place: only the number of containers changes.",
    "restarted": "New containers start; those that run serve until the new ones are ready.",
}
RESTARTED_HERE = "It is restarted: on this machine the version before ends first."


def explain_difference(difference: Difference, running: Running | None, *, local: bool = False) -> list[Line]:
    """Field by field, then dollars and effect."""
    title = "Nothing runs under this name yet." if running is None else f"Version {running.version} runs."
    lines = [Line(title, "title")]
    lines += [Line("  " + _change(change), STYLES[change.sign]) for change in difference.changes]
    lines.append(Line(_money(difference)))
    lines.append(Line(RESTARTED_HERE if local and difference.effect == "restarted" else EFFECTS[difference.effect]))
    return lines


def _change(change: Change) -> str:
    if change.sign == "~":
        return f"~ {change.field}: {change.before} -> {change.after}"
    return f"{change.sign} {change.field}: {change.after if change.sign == '+' else change.before}"


def _money(difference: Difference) -> str:
    change = difference.usd_per_hour_change
    sign = "+" if change >= 0 else "-"
    return (
        f"While a container is warm: {usd(difference.usd_per_hour_after)}/h "
        f"({sign}{usd(abs(change))}/h against what runs)."
    )


def explain_outcome(outcome: Outcome) -> list[Line]:
    """Where it answers, what was proven, what comes next."""
    running, release = outcome.running, outcome.release
    lines = [Line(f"{running.name} version {running.version}: {running.url or 'no URL'}", "title")]
    if outcome.proofs:
        lines += [Line(f"  {_proof(proof)}", "good" if proof.holds else "warn") for proof in outcome.proofs]
    else:
        lines.append(Line("  Nothing was verified (--no-wait). Look with `gpuplan status`.", "warn"))
    if release.expires_at:
        lines.append(Line(f"  It stops itself at {release.expires_at}."))
    return lines


def explain_restored(running: Running, wanted: int, proofs: Sequence[Proof], *, is_recorded: bool) -> list[Line]:
    """Which version it is again, and what of it was proven."""
    lines = [Line(f"{running.name}: version {running.version} is version {wanted} again.", "title")]
    if proofs:
        return lines + [Line(f"  {_proof(proof)}", "good" if proof.holds else "warn") for proof in proofs]
    why = "--no-wait" if is_recorded else f"gpuplan has no record of version {wanted}"
    return [*lines, Line(f"  Nothing was verified ({why}). Look with `gpuplan status`.", "warn")]


def _proof(proof: Proof) -> str:
    return f"{proof.what}: {proof.seen}"


def explain_status(running: Running, healthy: str) -> list[Line]:
    """State, version, GPUs, containers, dollars per hour now, and what the plan said."""
    release = running.release
    lines = [Line(f"{running.name}: {running.state}, version {running.version}", "title")]
    rows: list[tuple[str, Any]] = [
        ("URL", running.url),
        ("endpoint", healthy),
        ("GPUs", ", ".join(gpus(name, number) for name, number in running.gpus) or None),
        ("taken", gpu_numbers(running.devices) if running.devices else None),
        ("containers", running.containers),
        (
            "now",
            f"{usd(usd_per_hour_now(running) or Decimal(0))}/h" if release and running.containers is not None else None,
        ),
        ("deployed", running.deployed_at and running.deployed_at[:19] + "Z"),
    ]
    if release:
        rows += [
            ("model", f"{release.repo}@{release.revision or release.asked_revision}"),
            ("engine", f"vLLM {release.engine_version}, TP {release.tensor_parallel_size}"),
            (
                "planned",
                f"{gpus(release.gpu, release.gpu_count)}, {usd(Decimal(release.usd_per_hour))}/h per container",
            ),
            ("plan", release.plan_id),
            ("verified", "never: `gpuplan deploy` again does it" if running.proven is False else None),
            ("stops at", release.expires_at),
        ]
    else:
        rows.append(("plan", "not recorded by gpuplan"))
    return lines + [Line(f"  {label:<11} {value}") for label, value in rows if value is not None]


def explain_underway(underway: Underway) -> str:
    """Who is changing the app just now, or was when it was killed."""
    who = f"{underway.who} began to deploy it at {clock(underway.since)}"
    if underway.alive:
        return f"{who}, and that goes on."
    return f"{who} and was killed. What it left may not be what was planned: `gpuplan deploy` again puts that right."


def usd_per_hour_now(running: Running) -> Decimal | None:
    """Containers that run times the planned price; None where either is not known."""
    if running.release is None or running.containers is None:
        return None
    return Decimal(running.release.usd_per_hour) * running.containers


def running_document(running: Running | None) -> dict[str, Any] | None:
    """Plain values of what runs."""
    if running is None:
        return None
    release, now = running.release, usd_per_hour_now(running)
    return {
        "name": running.name,
        "environment": running.environment,
        "state": running.state,
        "version": running.version,
        "url": running.url,
        "gpus": [{"gpu": name, "count": number} for name, number in running.gpus],
        "devices": list(running.devices),
        "containers": running.containers,
        "deployed_at": running.deployed_at,
        "usd_per_hour_now": None if now is None else float(now),
        "verified": running.proven,
        "planned": None if release is None else release_document(release),
    }


def underway_document(underway: Underway | None) -> dict[str, Any] | None:
    """Plain values of a deploy that is under way, or was killed."""
    if underway is None:
        return None
    return {"who": underway.who, "since": utc(underway.since), "alive": underway.alive}


def release_document(release: Release) -> dict[str, Any]:
    """Plain values of what was or would be launched."""
    return {
        "plan_id": release.plan_id,
        "model": {"repo": release.repo, "revision": release.revision},
        "engine_version": release.engine_version,
        "engine_args": [word for arg in release.engine_args for word in arg],
        "gpu": release.gpu,
        "count": release.gpu_count,
        "max_model_len": release.max_model_len,
        "usd_per_hour": float(release.usd_per_hour),
        "spec_sha256": release.spec_sha256,
        "expires_at": release.expires_at,
    }


def difference_document(difference: Difference) -> dict[str, Any]:
    """Plain values of a difference."""
    return {
        "effect": difference.effect,
        "changes": [
            {"sign": change.sign, "field": change.field, "before": change.before, "after": change.after}
            for change in difference.changes
        ],
        "usd_per_hour_before": float(difference.usd_per_hour_before),
        "usd_per_hour_after": float(difference.usd_per_hour_after),
    }


def proof_documents(proofs: Sequence[Proof]) -> list[dict[str, Any]]:
    """Plain values of proofs."""
    return [
        {"what": proof.what, "planned": proof.planned, "seen": proof.seen, "holds": proof.holds} for proof in proofs
    ]
