"""What runs against what would run, field by field. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from planner.verify import prove_gpus

if TYPE_CHECKING:
    from planner.deployment.running import Running
    from planner.release import Release

# label -> attribute of Release; in the order they are shown
FIELDS = {
    "model.repo": "repo",
    "model.revision": "revision",
    "engine.version": "engine_version",
    "gpu": "gpu_string",
    "region": "region",
    "resources.cpu_cores": "cpu_cores",
    "resources.memory_gib": "memory_gib",
    "scaling.min_containers": "min_containers",
    "scaling.max_containers": "max_containers",
    "scaling.scaledown_window_s": "scaledown_window_s",
    "target_concurrency": "target_concurrency",
    "max_concurrency": "max_concurrency",
    "secrets.huggingface": "secret_huggingface",
    "secrets.api_key": "secret_api_key",
    "secrets.wandb": "secret_wandb",
    "model.path": "local_path",
    "ttl": "expires_at",
}
DEAD = "dead"  # the local target's word for a process that ended by itself
SCALING = frozenset({"scaling.min_containers", "scaling.max_containers", "scaling.scaledown_window_s"})


class Change(Struct, frozen=True):
    """One field: ``sign`` is + (new), - (gone) or ~ (another value)."""

    sign: str
    field: str
    before: str | None
    after: str | None


class Difference(Struct, frozen=True):
    """Every change, and the change in dollars per hour of one container."""

    changes: tuple[Change, ...]
    usd_per_hour_before: Decimal
    usd_per_hour_after: Decimal
    first: bool  # nothing runs yet

    @property
    def usd_per_hour_change(self) -> Decimal:
        return self.usd_per_hour_after - self.usd_per_hour_before

    @property
    def effect(self) -> str:
        """created, none, in place (only the number of containers changes) or restarted."""
        if self.first:
            return "created"
        if not self.changes:
            return "none"
        return "in place" if all(change.field in SCALING for change in self.changes) else "restarted"


def make_difference(running: Running | None, after: Release) -> Difference:
    """What runs against what would run. What was not recorded is new, what drifted from its record has changed."""
    before = running.release if running else None
    if before and after.revision is None and _is_same_reference(before, after):
        after = replace(after, revision=before.revision)  # which commit it is now is only known at the download
    old, new = _fields(before), _fields(after)
    changes = [
        _change(field, old.get(field), new.get(field))
        for field in dict.fromkeys([*new, *old])
        if old.get(field) != new.get(field)
    ]
    return Difference(
        changes=(*changes, *_drift(running, before)),
        usd_per_hour_before=Decimal(before.usd_per_hour) if before else Decimal(0),
        usd_per_hour_after=Decimal(after.usd_per_hour),
        first=running is None,
    )


def _drift(running: Running | None, before: Release | None) -> list[Change]:
    """Where the provider does not have what was recorded."""
    if running is None or before is None:
        return []
    found = []
    seen = prove_gpus(running.gpus, before)
    if running.gpus and not seen.holds:
        found.append(Change("~", "gpu at the provider", seen.seen, seen.planned))
    if running.state == DEAD:
        found.append(Change("~", "state", DEAD, "running"))
    return found


def _is_same_reference(before: Release, after: Release) -> bool:
    return (before.repo, before.asked_revision) == (after.repo, after.asked_revision)


def _fields(release: Release | None) -> dict[str, str]:
    if release is None:
        return {}
    values = {label: getattr(release, name) for label, name in FIELDS.items()}
    values |= {arg[0]: " ".join(arg[1:]) or "on" for arg in release.engine_args}
    return {label: str(value) for label, value in values.items() if value is not None}


def _change(field: str, before: str | None, after: str | None) -> Change:
    sign = "+" if before is None else "-" if after is None else "~"
    return Change(sign, field, before, after)
