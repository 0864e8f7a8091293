"""A Release as files, through the templates of its target. Nothing is written here; the command writes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from planner import __version__
from planner.literal import assigned, literal
from planner.release import PORT, Release, make_release
from planner.templates import template_folder

if TYPE_CHECKING:
    from planner.plan import Option, Plan

HUGGINGFACE_HUB_VERSION = "2.4.0"  # in the download image; its metadata and errors were read at this version
DOWNLOAD_BYTES_PER_S = 50_000_000  # the slowest rate from the hub that is waited for
DOWNLOAD_BASE_S = 1_800
LONGEST_FUNCTION_S = 86_400  # Modal ends a function call after a day
PARTS = "parts"  # templates that several targets include
NAME_LIMIT = 63
TAG_VALUE_LIMIT = 63


def render_app(
    plan: Plan, option: Option, *, spec_path: str = "-", local_path: str | None = None, expires_at: str | None = None
) -> dict[str, str]:
    """The files of one option: file name -> text."""
    return render_release(make_release(plan, option, spec_path=spec_path, local_path=local_path, expires_at=expires_at))


def render_release(release: Release) -> dict[str, str]:
    """Every template of the release's target, filled in; a value that a template lacks is an error, never blank."""
    import jinja2

    folder = template_folder() / release.target
    environment = jinja2.Environment(  # noqa: S701 - Python source, not HTML: values pass the literal filter
        loader=jinja2.FileSystemLoader([folder, template_folder() / PARTS]),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters["literal"] = literal
    environment.filters["assigned"] = assigned
    values = template_values(release)
    return {
        path.name.removesuffix(".j2"): environment.get_template(path.name).render(values)
        for path in sorted(folder.glob("*.j2"))
    }


def template_values(release: Release) -> dict[str, Any]:
    """What templates see: the release and what follows from it."""
    return {
        "release": release,
        "generator": __version__,
        "port": PORT,
        "hub_version": HUGGINGFACE_HUB_VERSION,
        "tags": release_tags(release),
        "weights_app": weights_app_name(release.name),
        "memory_mib": round(release.memory_gib * 1024),
        "download_secrets": _secrets((release.secret_huggingface, "HF_TOKEN")),
        "engine_secrets": _secrets((release.secret_api_key, "VLLM_API_KEY"), (release.secret_wandb, "WANDB_API_KEY")),
        "download_timeout_s": download_timeout_s(release.weights_bytes or 0),
        "expiry_cron": expiry_cron(release.expires_at),
    }


def release_tags(release: Release) -> dict[str, str]:
    """What the provider shows and bills by. Modal's tags hold letters, digits, - . _ and at most 63 characters."""
    tags = {
        "generator": f"gpuplan-{__version__}",
        "model": release.repo.replace("/", "--"),
        "plan": release.plan_id,
        "revision": release.revision or "unpinned",
        "spec": release.spec_sha256[:40],
    }
    return {key: value[:TAG_VALUE_LIMIT] for key, value in tags.items()}


def weights_app_name(name: str) -> str:
    """The short-lived app that fetches the weights."""
    return name[: NAME_LIMIT - len("-weights")] + "-weights"


def download_timeout_s(weights_bytes: int) -> int:
    """Seconds the download may take, from the bytes to fetch."""
    return min(LONGEST_FUNCTION_S, DOWNLOAD_BASE_S + weights_bytes // DOWNLOAD_BYTES_PER_S)


def expiry_cron(expires_at: str | None) -> str | None:
    """The cron line (UTC) of the minute after an ISO time, None without one."""
    if expires_at is None:
        return None
    moment = datetime.fromisoformat(expires_at)
    return f"{moment.minute} {moment.hour} {moment.day} {moment.month} *"


def _secrets(*wanted: tuple[str | None, str]) -> list[tuple[str, list[str]]]:
    return [(name, [key]) for name, key in wanted if name]
