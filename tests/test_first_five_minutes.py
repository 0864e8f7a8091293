"""docs/first-five-minutes.md is true: each of its commands, run in its order, prints what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli import main
from tests.test_docs import holds

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "first-five-minutes.md"
BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)


def test_the_first_five_minutes_happen_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], update_golden: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def printed(command: str) -> str:
        code = exit_code(shlex.split(command)[1:])
        shown = capsys.readouterr()
        return shown.out if code == 0 else shown.err

    def replayed(block: re.Match[str]) -> str:
        commands = re.findall(r"^\$ (gpuplan .*)$", block[0], re.MULTILINE)
        return "".join(f"$ {command}\n{printed(command)}" for command in commands)

    page = PAGE.read_text(encoding="utf-8")
    assert page.count("$ gpuplan ") >= 7
    holds(PAGE, BLOCK.sub(replayed, page), update_golden)


def exit_code(line: list[str]) -> int:
    try:
        main(line)
    except SystemExit as end:
        return int(end.code or 0)
    return 0
