"""Spec files as they stand at a git revision."""

from __future__ import annotations

import subprocess
from pathlib import Path

from planner.errors import SpecError


def text_at(revision: str, path: str) -> str | None:
    """The file's text at ``revision``, None where it did not exist there. SpecError for an unknown revision."""
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        return None
    if _git(folder, "rev-parse", "--git-dir").returncode:
        raise SpecError([f"--base: {folder} is in no git repository, so {path} has no earlier version there."])
    known = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if known.returncode:
        raise SpecError([f"--base: {revision} is no revision that git knows here; type a branch, tag or commit."])
    shown = _git(folder, "show", f"{known.stdout.strip()}:./{Path(path).name}")
    return shown.stdout if shown.returncode == 0 else None


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git from the PATH, as a person would run it
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise SpecError(["--base: git is not installed; it holds the earlier version of the spec."]) from None
