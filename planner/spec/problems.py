"""Problems: everything wrong in a spec, each as ``place: key: what is wrong; what to type``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from planner.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from planner.spec.node import Node, Place

LONGEST_SHOWN = 48  # characters of a value that a message repeats

# What tokens of Hugging Face, GitHub, GitLab, Slack, AWS, OpenAI-like services, Modal and web logins begin with.
TOKEN_STARTS = (
    *("hf_", "api_org_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "AKIA"),
    *("sk-", "sk_", "pk-", "rk-", "ak-", "as-", "wk-", "ws-", "nvapi-", "eyJ"),
)
SHORTEST_TOKEN = 8  # characters behind the start


class Problems:
    """A growing list of problems, and the keys that have one."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, key: str, message: str) -> None:
        self._found.append((place, key, message))

    def touch(self, key: str) -> bool:
        """Whether this key, a part of it or the section that holds it has a problem."""
        return any(
            known == key or known.startswith((f"{key}.", f"{key}[")) or key.startswith(f"{known}.")
            for _, known, _ in self._found
        )

    def messages(self) -> list[str]:
        """What is wrong, without the places."""
        return [message for _, _, message in self._found]

    def lines(self) -> list[str]:
        """One line per problem, in the order of the file; what options brought comes last."""
        ordered = sorted(self._found, key=lambda found: (found[0].line == 0, found[0].line, found[0].column))
        return list(dict.fromkeys(f"{place}: {key}: {message}" for place, key, message in ordered))

    def error(self) -> SpecError:
        """Every problem found so far."""
        return SpecError(self.lines())


def did_you_mean(word: str, names: Iterable[str], least: float = 0.7) -> str | None:
    """The name that ``word`` most likely stands for: the same but for case and punctuation, else the nearest.

    ``least`` is how alike they must be, as difflib's ratio from 0 to 1.
    """
    import difflib

    known = {_bare(name): name for name in reversed(list(names))}
    near = difflib.get_close_matches(_bare(word), known, n=1, cutoff=least)
    return known[near[0]] if near else None


def _bare(word: str) -> str:
    return re.sub(r"[\s_.-]+", "-", word.strip().lower())


def looks_secret(text: str) -> bool:
    """Whether the text holds what looks like a token or key, which must not stand in a spec."""
    return any(
        start in text and re.search(rf"(?<![A-Za-z0-9]){start}[A-Za-z0-9_-]{{{SHORTEST_TOKEN},}}", text)
        for start in TOKEN_STARTS
    )


def shown(node: Node) -> str:
    """A value as a message may repeat it: short, printable, and never a secret."""
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    return quoted(node.value)


def quoted(text: str) -> str:
    """Text in double quotes, escaped and shortened; a secret's characters are left out."""
    if looks_secret(text):
        return '"(a secret, not shown)"'
    short = text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short) + '"'
