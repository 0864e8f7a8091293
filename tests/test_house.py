"""The shape of the house: which rooms may touch the world, and that the wheel carries the templates."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLANNER = ROOT / "planner"
WORLD = {
    "subprocess",
    "socket",
    "http",
    "urllib",
    "httpx",
    "requests",
    "modal",
    "huggingface_hub",
    "click",
    "rich",
    "os",
}
RIM = ("cli/", "targets/", "deployment/", "measure/", "bench/", "model/hub", "model/folder", "model/find", "catalog/")
PURE = sorted(
    path.relative_to(PLANNER).as_posix()
    for path in PLANNER.rglob("*.py")
    if not path.relative_to(PLANNER).as_posix().startswith(RIM)
)
ALLOWED = {  # module -> the one thing of the world it needs, and why it is at the rim after all
    "verify.py": {"urllib", "http"},
    "__main__.py": {"os"},  # the process ends here
}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_do_not_touch_the_world(module: str) -> None:
    assert imported(PLANNER / module) & WORLD <= ALLOWED.get(module, set())


@pytest.mark.network
def test_help_loads_click_and_little_else() -> None:
    code = (
        "import sys\nfrom planner.cli import gpuplan\ngpuplan(['--help'], standalone_mode=False)\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not loaded & {"pydantic", "yaml", "modal", "huggingface_hub", "rich", "jinja2", "plotly", "plotille"}


@pytest.mark.network
def test_an_offline_plan_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom planner.cli import gpuplan\n"
        "try:\n    gpuplan(['plan', 'specs/70b.yaml', '--offline'], standalone_mode=False)\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not loaded & {"modal", "huggingface_hub", "rich", "jinja2", "plotly", "plotille", "numpy", "platformdirs"}
