"""The documentation is true: what it shows is what the program prints. --update-golden rewrites it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from planner import errors
from planner.cli import COMMANDS, gpuplan

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COMMANDS_PAGE = ROOT / "docs" / "commands.md"
INTRODUCTION = """\
# Commands

Written from each command's own `--help`; a test keeps it so. A SPEC may be `-` (standard input) or, where a command
plans, a model such as `org/name`. Results go to standard output, everything else to standard error.
"""


def every_command() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The path of every command, groups before their members."""

    def walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                member = command.get_command(context, name)
                assert member is not None
                yield from walk((*path, name), member)

    yield from walk(("gpuplan",), gpuplan)


def help_of(path: tuple[str, ...]) -> str:
    result = CliRunner().invoke(gpuplan, [*path[1:], "--help"], prog_name="gpuplan", terminal_width=80)
    assert result.exit_code == 0
    return result.output


def commands_page() -> str:
    parts = [INTRODUCTION]
    for path, _ in every_command():
        parts.append(f"## {' '.join(path)}\n\n```text\n{help_of(path)}```\n")
    return "\n".join(parts)


def holds(path: Path, text: str, update: bool) -> None:
    """``path`` holds ``text``, or is made to with --update-golden."""
    if update:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text, f"{path.name} is out of date: pytest tests/test_docs.py --update-golden"


def test_the_command_reference_is_what_help_says(update_golden: bool) -> None:
    holds(COMMANDS_PAGE, commands_page(), update_golden)


def test_the_readme_shows_a_real_plan(update_golden: bool) -> None:
    result = CliRunner().invoke(gpuplan, ["plan", "specs/70b.yaml", "--offline"])
    assert result.exit_code == 0
    shown = f"```console\n$ gpuplan plan specs/70b.yaml --offline\n{result.stdout}```"
    text = README.read_text()
    wanted = re.sub(
        r"(?<=<!-- plan:begin -->\n).*?(?=<!-- plan:end -->)", lambda _: shown + "\n", text, flags=re.DOTALL
    )
    holds(README, wanted, update_golden)


def test_the_picture_is_of_todays_plan(update_golden: bool) -> None:
    script = runpy.run_path(str(ROOT / "docs" / "picture.py"))
    file, drawn = script["PICTURE"], script["picture"]()
    if update_golden:
        file.write_text(drawn)
    shown = file.read_text()
    told = [re.search(r"<desc>.*?</desc>", svg, re.DOTALL) for svg in (drawn, shown)]
    assert told[0] is not None
    assert told[1] is not None
    assert told[1][0] == told[0][0], "docs/plan.svg is out of date: make picture"
    assert set(re.findall(r"https?://[^\"<\s]+", shown)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    assert "@font-face" not in shown  # rich's would be fetched


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_is_the_commands_own(name: str) -> None:
    command = gpuplan.get_command(click.Context(gpuplan), name)
    assert command is not None
    assert (command.help or "").split("\n")[0] == COMMANDS[name][1]


@pytest.mark.parametrize(("path", "command"), list(every_command()), ids=lambda value: str(value)[:40])
def test_every_command_and_option_has_help(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help, path
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, (path, parameter.name)


@pytest.mark.parametrize("path", [path for path, _ in every_command()], ids=" ".join)
def test_every_help_shows_an_example(path: tuple[str, ...]) -> None:
    assert re.search(rf"^  {' '.join(path)}\b", help_of(path), re.MULTILINE)


def test_help_fits_80_columns() -> None:
    for path, _ in every_command():
        assert max(map(len, help_of(path).splitlines())) <= 80, path


def test_the_readme_has_every_exit_code() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    table = README.read_text().split("## Exit codes")[1].split("##")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes


@pytest.mark.parametrize("page", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [target.split("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    named = re.findall(r"`((?:planner|specs|tests|benchmarks|templates|docs)/[\w./-]+)`", text)
    for target in [*(page.parent / link for link in links if link), *(ROOT / name for name in named)]:
        assert target.exists(), f"{page.name} names {target}"
