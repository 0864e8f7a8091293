"""What a shell offers: commands, specs, models, GPUs, keys and values; and that completing is quick to load."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from planner.cli import COMMANDS, gpuplan
from planner.spec.keys import SPEC
from planner.spec.sections import every_key


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
