"""Folders: where a user's own rows and the facts of checkpoints are kept, by platformdirs' rules."""

from __future__ import annotations

import os
import sys
from pathlib import Path

APP = "gpuplan"


def config_folder() -> Path:
    """The user's own rows: catalog.yaml, and the prices of an account."""
    return _folder("XDG_CONFIG_HOME", ".config", "user_config_path")


def cache_folder() -> Path:
    """What can be fetched again: facts of checkpoints by commit."""
    return _folder("XDG_CACHE_HOME", ".cache", "user_cache_path")


def data_folder() -> Path:
    """What cannot be fetched again: one's own measurements."""
    return _folder("XDG_DATA_HOME", ".local/share", "user_data_path")


def _folder(variable: str, below_home: str, function: str) -> Path:
    """platformdirs' answer; on Linux by its rule, without its import, which every plan would pay for."""
    if sys.platform == "linux" and "ANDROID_ROOT" not in os.environ:
        base = os.environ.get(variable, "").strip()
        return (Path(base) if base else Path.home() / below_home) / APP
    import platformdirs

    folder: Path = getattr(platformdirs, function)(APP)
    return folder
