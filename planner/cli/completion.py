"""gpuplan completion."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the lines that teach a shell to complete commands, models, GPUs and keys.

    \b
    gpuplan completion bash >> ~/.bashrc
    gpuplan completion zsh >> ~/.zshrc
    gpuplan completion fish > ~/.config/fish/completions/gpuplan.fish
    """
    from click.shell_completion import get_completion_class

    from planner.cli import gpuplan

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click ships all three
    click.echo(found(gpuplan, {}, "gpuplan", "_GPUPLAN_COMPLETE").source())
