"""The failures a person can act on, each with its exit code. Anything else is a bug and keeps its traceback."""

from __future__ import annotations

import re

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_CHANGES = 3
EXIT_NO_VALID_CONFIGURATION = 4
EXIT_OVER_BUDGET = 5
EXIT_MODEL_FACTS = 6
EXIT_LAUNCH = 7
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count; a launch that is interrupted ends with 7


def plain_words(error: object) -> str:
    """The first line of an error of the network or the disk, without the system's number for it."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    words = re.sub(r"\[Errno -?\d+\] ", "", first)
    return "no such host is known: is there a network?" if words in NO_SUCH_HOST else words


NO_SUCH_HOST = {"Name or service not known", "Temporary failure in name resolution", "nodename nor servname provided"}


class GpuplanError(Exception):
    """Base of every failure with an exit code.

    The message has the shape "where: what. Why, with numbers. What to type." and is printed as it is.
    """

    exit_code = EXIT_BUG


class SpecError(GpuplanError):
    """A spec, catalogue file or option that cannot be used; ``problems`` holds one full line per problem."""

    exit_code = EXIT_USAGE

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ModelError(GpuplanError):
    """The model's facts cannot be had: not found, gated, offline, or an unknown architecture."""

    exit_code = EXIT_MODEL_FACTS


class UnknownArchitectureError(ModelError):
    """An architecture no family function describes. Never answered with a guessed number."""


class LaunchError(GpuplanError):
    """A launch that was refused, hung or broke off; the message says what was left behind."""

    exit_code = EXIT_LAUNCH


class VerifyError(LaunchError):
    """What answers is not what was planned; the message has what was seen and what was planned."""
