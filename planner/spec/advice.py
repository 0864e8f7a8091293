"""Advice: what to type instead, worked out from what was typed. None where nothing better than the example is known."""

from __future__ import annotations

import re

from planner.spec.problems import did_you_mean

HUB = r"(https?://)?(www\.)?(huggingface\.co|hf\.co)/(models/)?"


def slug(written: str) -> str | None:
    """The name that an app may have: ``Llama_2 70B`` -> ``llama-2-70b``."""
    return re.sub(r"[^a-z0-9]+", "-", written.lower())[:63].strip("-") or None


def repo(written: str) -> str | None:
    """org/name out of a hub address, or the catalogue's model of that name."""
    if address := re.match(HUB, written):
        parts = written[address.end() :].split("/")
        return "/".join(parts[:2]) if len(parts) >= 2 else None
    if written.startswith((".", "/", "~")):
        return f"org/name here, and path: {written}"
    return near_model(written)


def version(written: str) -> str | None:
    """Three numbers, in quotes: ``0.33`` and ``v0.33.0`` -> ``"0.33.0"``."""
    numbers = re.fullmatch(r"v?([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:[.+-]?[a-z].*)?", written)
    return f'"{int(numbers[1])}.{int(numbers[2])}.{int(numbers[3] or 0)}"' if numbers else None


def gpu(written: str) -> str | None:
    """A provider's ``H100:2`` as a type and a count."""
    counted = re.fullmatch(r"([A-Za-z0-9!+._-]+):([0-9]{1,2})", written)
    return f"{counted[1]}, and counts: [{counted[2]}]" if counted else None


def near_model(written: str) -> str | None:
    """The catalogue's model that was most likely meant, with or without its organization."""
    from planner.catalog import load_catalog

    names = load_catalog().model_names()
    if "/" in written:
        return did_you_mean(written, names)
    by_name = {name.split("/")[1]: name for name in names}
    near = did_you_mean(written, by_name)
    return by_name[near] if near else None


ALIKE = 0.94  # difflib's ratio; other sizes of one model (8B, 9B) are further apart than a slip


def mistyped_model(repo: str) -> str | None:
    """The catalogue's model that a repository's name may be a slip of; None where it is one, or near to none."""
    from planner.catalog import load_catalog

    names = load_catalog().model_names()
    return None if repo in names else did_you_mean(repo, names, ALIKE)
