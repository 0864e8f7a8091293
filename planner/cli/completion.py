"""gpuplan completion."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
# click's own lines for bash take the words as readline breaks them, at ":" and "=" too: H100:2 and gpu.counts=[2]
# would be three words. These take the line as it was typed, and give back what follows the last break.
BASH = r"""_gpuplan_completion() {
    local words word cut="" mark kind value files=""
    read -ra words <<< "${COMP_LINE:0:COMP_POINT}"
    [[ "${COMP_LINE:0:COMP_POINT}" == *[[:space:]] ]] && words+=("")
    word="${words[-1]}"
    for mark in : =; do
        if [[ "$COMP_WORDBREAKS" == *"$mark"* && "${word#"$cut"}" == *"$mark"* ]]; then
            cut="${word%"$mark"*}$mark"
        fi
    done
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case "$kind" in
            dir) compopt -o dirnames ;;
            file) files=yes ;;
            plain)
                COMPREPLY+=("${value#"$cut"}")
                [[ "$value" == *= ]] && compopt -o nospace
                ;;
        esac
    done < <(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) _GPUPLAN_COMPLETE=bash_complete "$1")
    if [[ -n "$files" && ${#COMPREPLY[@]} -eq 0 ]]; then
        compopt -o default
    elif [[ -n "$files" ]]; then
        while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -f -- "$word")
    fi
}
complete -o nosort -F _gpuplan_completion gpuplan
"""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the lines that teach a shell to complete commands, models, GPUs and keys.

    \b
    gpuplan completion bash >> ~/.bashrc
    gpuplan completion zsh >> ~/.zshrc
    gpuplan completion fish > ~/.config/fish/completions/gpuplan.fish
    """
    if shell == "bash":
        click.echo(BASH, nl=False)
        return
    from click.shell_completion import get_completion_class

    from planner.cli import gpuplan

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click ships all three
    click.echo(found(gpuplan, {}, "gpuplan", "_GPUPLAN_COMPLETE").source())
