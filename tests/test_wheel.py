"""The built wheel, installed where there is no repository: every data file is in it, and the program works alone."""

from __future__ import annotations

import ast
import json
import os
import re
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD = "import importlib, sys; print(importlib.import_module(sys.argv[1]).build_wheel(sys.argv[2]))"
DISTRIBUTIONS = {"yaml": "pyyaml"}  # where the distribution is called otherwise than the module

pytestmark = pytest.mark.network  # child processes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the backend that pyproject.toml declares."""
    out = tmp_path_factory.mktemp("wheel")
    line = [sys.executable, "-c", BUILD, PROJECT["build-system"]["build-backend"], str(out)]
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    [path] = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`gpuplan` of a new environment that holds the wheel; its dependencies are this environment's."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    line = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    subprocess.run([*line, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    [packages] = (home / "lib").glob("python*/site-packages")
    # Paths named in a .pth have their own .pth files ignored, so the editable install of the checkout is not seen.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return home / "bin" / "gpuplan"


def run(program: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One process in ``folder``, with nothing of the checkout on its path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(program), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_every_data_file_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    data = [path for path in (ROOT / "planner").rglob("*") if path.is_file() and path.suffix not in {".pyc", ".py"}]
    wanted = {path.relative_to(ROOT).as_posix() for path in data}
    wanted |= {f"planner/{path.relative_to(ROOT)}" for path in (ROOT / "templates").rglob("*") if path.is_file()}
    assert len(wanted) > 160
    assert wanted <= inside, sorted(wanted - inside)[:5]


def test_nothing_but_the_package_is_in_the_wheel(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"planner", wheel.name.rsplit("-", 3)[0] + ".dist-info"}


def test_the_wheels_program_is_the_wheels_own(program: Path, tmp_path: Path) -> None:
    done = run(program.with_name("python"), tmp_path, "-c", "import planner; print(planner.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(program.parent.parent)


def test_a_plan_with_no_repository_around(program: Path, tmp_path: Path) -> None:
    done = run(program, tmp_path, "plan", "meta-llama/Llama-2-70b-chat-hf", "--offline")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("meta-llama/Llama-2-70b-chat-hf\n  68,976,648,192 parameters\n")
    assert "Next best of" in done.stdout


def test_what_needs_templates_rows_and_the_schema(program: Path, tmp_path: Path) -> None:
    for line in (
        "init --model Qwen/Qwen3-8B --context 8192 --concurrency 8 --out chat.yaml",
        "plan chat.yaml --offline --out plan.json --html plan.html",
        "render chat.yaml --offline --out modal",
        "render chat.yaml --offline --out local --target local",
        "gpus",
        "prices",
        "models llama",
    ):
        done = run(program, tmp_path, *line.split())
        assert done.returncode == 0, (line, done.stderr)
    assert "<h1><bdi>Qwen/Qwen3-8B</bdi></h1>" in (tmp_path / "plan.html").read_text()
    assert (tmp_path / "modal" / "app.py").is_file()
    assert json.loads(run(program, tmp_path, "schema").stdout) == json.loads(
        (ROOT / "specs" / "schema.json").read_text()
    )


def test_every_import_is_declared() -> None:
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    declared = {re.split(r"[^\w-]", row)[0].lower() for group in groups for row in group}
    used: dict[str, str] = {}
    for path in (ROOT / "planner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            used |= {name.split(".")[0]: path.relative_to(ROOT).as_posix() for name in names}
    strangers = {name: where for name, where in used.items() if name not in sys.stdlib_module_names | {"planner"}}
    undeclared = {name: where for name, where in strangers.items() if DISTRIBUTIONS.get(name, name) not in declared}
    # The runner of `measure` imports its neighbours by their bare names on the GPU's machine.
    neighbours = {path.stem for path in (ROOT / "planner" / "measure" / "host").glob("*.py")}
    assert not {name: where for name, where in undeclared.items() if name not in neighbours}
