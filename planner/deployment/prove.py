"""Proof of a version that was published: wait until it answers, compare it with its plan, record that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.deployment.access import auth_headers
from planner.deployment.ready import LogWatch, wait_until_ready
from planner.deployment.running import Progress
from planner.deployment.undo import LOOK_S
from planner.errors import LaunchError, VerifyError
from planner.verify import Proof, UnansweredError, prove_completion, prove_engine, prove_gpus, prove_model

if TYPE_CHECKING:
    from planner.deployment.running import Running
    from planner.release import Release
    from planner.targets import Say, Target


def prove(target: Target, release: Release, running: Running, say: Say, deadline: float) -> list[Proof]:
    """Wait, then compare everything that can be seen with the plan; a version for which all holds is recorded so.

    ``deadline`` is on the monotonic clock. Raises LaunchError where it does not answer, VerifyError with every proof
    that does not hold.
    """
    if running.url is None:
        raise VerifyError(f"{release.name}: the provider gives no URL for it.")
    headers = auth_headers()
    on_cpu = release.target == "local" and not running.gpus
    proofs = [] if on_cpu else [prove_gpus(running.gpus, release)]
    hold(proofs, release)
    log = target.open_log(running)
    try:
        watch = LogWatch(log, lambda: _overtaken(target, running))
        cards = wait_until_ready(running.url, headers, release, watch, say, deadline)
    finally:
        log.close()
    proofs += prove_model(cards, release, target.root(release))
    if engine := prove_engine(running.url, headers, release):
        proofs.append(engine)
    hold(proofs, release)
    try:
        proofs.append(prove_completion(running.url, headers, release))
    except UnansweredError as error:
        raise VerifyError(f"{release.name}: it lists its model but does not complete: {error}") from None
    hold(proofs, release)
    target.remember(running, release, proven=True)
    say(Progress("ready", f"{running.url} answers"))
    return proofs


def _overtaken(target: Target, ours: Running) -> str | None:
    """What someone did to our version while we wait for it: nothing that a lock keeps them from."""
    try:
        now = target.glance(ours.name, ours.environment, LOOK_S)
    except LaunchError:
        return None  # not seen now; perhaps the next time
    if now is None or now.provider_id != ours.provider_id:
        return f"version {ours.version} was stopped by someone else"
    if now.version != ours.version:
        return f"version {now.version} was launched by someone else over version {ours.version}"
    return None


def hold(proofs: list[Proof], release: Release) -> None:
    """Raises VerifyError with every proof that does not hold."""
    failed = [f"{proof.what}: planned was {proof.planned}, seen is {proof.seen}" for proof in proofs if not proof.holds]
    if failed:
        raise VerifyError(f"{release.name}: what answers is not what was planned. " + "; ".join(failed) + ".")
