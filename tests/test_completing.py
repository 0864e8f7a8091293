"""What a shell offers: commands, specs, models, GPUs, keys and values; and that completing is quick to load."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from planner.cli import COMMANDS, gpuplan
from planner.spec.keys import SPEC
from planner.spec.sections import every_key

PATHS = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    completing = ShellComplete(gpuplan, {}, "gpuplan", "_GPUPLAN_COMPLETE")
    return [item.value for item in completing.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["va"], ["validate"]),
        (["plan", "Qwen/Qwen3-8"], ["Qwen/Qwen3-8B"]),
        (["plan", "qwen/qwen3-8"], ["Qwen/Qwen3-8B"]),
        (["cost", "compare", "specs/7b.yaml", "Qwen/Qwen3-8"], ["Qwen/Qwen3-8B"]),
        (["init", "--model", "meta-llama/Llama-2-70b-chat"], ["meta-llama/Llama-2-70b-chat-hf"]),
        (["fits", "H10"], ["H100", "H100!"]),
        (["fits", "A10:"], ["A10:1", "A10:2", "A10:3", "A10:4"]),
        (["gpus", "rtx"], ["RTX-PRO-6000"]),
        (["models", "openai/"], ["openai/gpt-oss-120b"]),
        (["plan", "x.yaml", "--set", "engine.max_m"], ["engine.max_model_len="]),
        (["plan", "x.yaml", "--set", "model.dtype=f"], ["model.dtype=float16", "model.dtype=float32"]),
        (["plan", "x.yaml", "--set", "engine.enforce_eager=t"], ["engine.enforce_eager=true"]),
        (["plan", "x.yaml", "--set", "gpu.types=[H2"], ["gpu.types=[H200]"]),
        (["plan", "x.yaml", "--set", "model.repo=Qwen/Qwen3-8"], ["model.repo=Qwen/Qwen3-8B"]),
        (["plan", "x.yaml", "--target", ""], ["modal", "local"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
)
def test_what_is_offered(words: list[str], some: list[str]) -> None:
    assert set(some) <= set(offered(*words))
    beginning = words[-1].lower()
    assert all(value.lower().startswith(beginning) for value in offered(*words))


def test_specs_are_completed_as_files() -> None:
    completing = ShellComplete(gpuplan, {}, "gpuplan", "_GPUPLAN_COMPLETE")
    for command in (["plan"], ["deploy"], ["validate"], ["cost", "compare"]):
        assert "file" in {item.type for item in completing.get_completions(command, "specs/")}


def test_every_command_and_every_key_is_offered() -> None:
    assert offered("") == list(COMMANDS)
    keys = {f"{path}=" for path, entry in every_key(SPEC) if not entry.kind.section}
    assert set(offered("plan", "x.yaml", "--set", "")) == keys


@pytest.mark.network  # click asks bash for its version
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_calls_this_program(shell: str) -> None:
    result = CliRunner().invoke(gpuplan, ["completion", shell])
    assert result.exit_code == 0
    assert f"_GPUPLAN_COMPLETE={shell}_complete" in result.output


@pytest.mark.network  # bash, and the program in it
@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("gpuplan fits A10:", ["1", "2", "3", "4"]),  # readline takes what follows ":" for a word of its own
        ("gpuplan fits H100:2", ["2"]),
        ("gpuplan plan x.yaml --set engine.kv_cache_dtype=", ["auto", "fp8"]),
        ("gpuplan plan x.yaml --set gpu.types=[H2", ["[H200]"]),
        ("gpuplan plan x.yaml --set engine.kv_c", ["engine.kv_cache_dtype="]),
        ("gpuplan valid", ["validate"]),
        ("gpuplan plan Qwen/Qwen3-8", ["Qwen/Qwen3-8B"]),
        ("gpuplan plan nothing-like-it", []),
    ],
)
def test_bash_completes_past_its_word_breaks(line: str, replies: list[str], tmp_path: Path) -> None:
    program = tmp_path / "gpuplan"
    program.write_text(f"#!{sys.executable}\nfrom planner.cli import main\nmain()\n")
    program.chmod(0o755)
    script = CliRunner().invoke(gpuplan, ["completion", "bash"]).output
    asked = f"compopt() {{ :; }}\nCOMP_LINE={shlex.quote(line)}\nCOMP_POINT={len(line)}\nCOMP_WORDBREAKS=$' \\t\\n=:'\n"
    call = f'_gpuplan_completion {program}\nprintf "%s\\n" "${{COMPREPLY[@]}}"\n'
    bash = [str(shutil.which("bash")), "-c", script + asked + call]
    done = subprocess.run(bash, capture_output=True, text=True, check=True, cwd=tmp_path, env=os.environ | PATHS)
    assert done.stderr == ""
    assert done.stdout.split() == replies
