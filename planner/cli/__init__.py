"""The command line: the only place that prints, asks or exits. Commands are loaded when they are used."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from planner import __version__
from planner.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_LAUNCH, GpuplanError, LaunchError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# command -> (module that holds it, one line for --help); a test holds the line against the command's own help.
COMMANDS: dict[str, tuple[str, str]] = {
    "plan": ("planner.cli.plan", "Choose the cheapest valid GPU configuration and say why the rest lost."),
    "cost": ("planner.cli.cost", "Compare what the valid configurations of one or several specs cost."),
    "fits": ("planner.cli.fits", "Show which catalogue models fit on GPU[:COUNT], at what context and concurrency."),
    "validate": ("planner.cli.validate", "Check spec files; print every problem of every file at once."),
    "schema": ("planner.cli.schema", "Print the JSON Schema of the spec, for editors and other checkers."),
    "init": ("planner.cli.init", "Write a commented starter spec; ask on a terminal for what is left out."),
    "deploy": ("planner.cli.deploy", "Launch the plan, wait until it answers, and prove that it is the planned model."),
    "render": ("planner.cli.render", "Write the deployable app and what it needs; launch nothing."),
    "diff": ("planner.cli.diff", "Compare what runs with what SPEC would launch, field by field and in dollars."),
    "status": ("planner.cli.status", "Show what runs: state, version, GPUs, containers, dollars per hour, the plan."),
    "logs": ("planner.cli.logs", "Print the log of what runs."),
    "rollback": (
        "planner.cli.rollback",
        "Make an earlier version the current one, wait until it answers, and prove its model.",
    ),
    "stop": ("planner.cli.stop", "End the app and its containers, and prove that nothing is left."),
    "measure": (
        "planner.cli.measure",
        "Start the real engine without weights and compare memory and speed with the plan.",
    ),
    "bench": ("planner.cli.bench", "Measure throughput and latency of a running endpoint or of a local engine."),
    "models": ("planner.cli.models", "List the models that can be planned with no network."),
    "gpus": ("planner.cli.gpus", "List GPUs: memory, bandwidth, arithmetic, counts sold, price per hour."),
    "prices": ("planner.cli.prices", "Show every price with its age and where it is from."),
    "doctor": ("planner.cli.doctor", "Show what this machine and its accounts have, and what is missing for what."),
    "completion": (
        "planner.cli.completion",
        "Print the lines that teach a shell to complete commands, models, GPUs and keys.",
    ),
    "client": ("planner.cli.client", "Print ready-made calls of the endpoint: curl and the OpenAI SDK."),
}

# Those that may start or end what is paid for: where their output breaks off, they have not done what was asked.
ACTING = frozenset({"deploy", "rollback", "stop", "measure", "bench"})


class LazyGroup(click.Group):
    """A group whose commands are imported when called, so that --help costs no more than click."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A command that is mistyped is asked back; click looks among commands that are loaded, and none is."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from planner.spec.problems import did_you_mean

            near = did_you_mean(args[0], COMMANDS)
            if near is None:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near}?", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Ctrl-C ends with the shells' own number for it, and a reader that has read enough with none of a bug's."""
        try:
            return super().invoke(ctx)
        except click.MissingParameter as error:
            raise with_example(error) from None
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted.", err=True)
            sys.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:  # gpuplan models | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if ctx.invoked_subcommand not in ACTING:
                sys.exit(EXIT_DONE)
            with suppress(OSError):
                click.echo(
                    "Nobody reads the output any more, so it ends here. What runs tells `gpuplan status`.", err=True
                )
            sys.exit(EXIT_LAUNCH)
        except OSError as error:  # a full disk, a folder that may not be written
            if ctx.invoked_subcommand not in ACTING:
                raise
            raise LaunchError(f"{not_written(error)} What runs tells `gpuplan status`.") from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands from the table, so that completing loads none of them."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=short) for name, (_, short) in COMMANDS.items() if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])


def not_written(error: OSError) -> str:
    """A sentence for what the system did not let us write."""
    return f"{error.filename or 'output'}: {error.strerror or error}. Nothing more was written."


def with_example(error: click.MissingParameter) -> click.UsageError:
    """What is missing, and the first line of the command's own examples: what to type instead."""
    text = (error.ctx.command.help if error.ctx else None) or ""
    example = next((line.strip() for line in text.splitlines() if line.strip().startswith("gpuplan ")), None)
    message = error.format_message()
    between = "\n" if "\n" in message else " "
    return click.UsageError(f"{message}{between}Type for example: {example}" if example else message, error.ctx)


VERSION_HELP = "Show the version and what it knows, with dates, and exit."


def _version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:  # noqa: ARG001 - click's signature
    """Print what decides a plan beside the spec: formulas, prices, GPUs, models, measurements."""
    if not wanted or ctx.resilient_parsing:
        return
    from planner.catalog import load_catalog
    from planner.explain.catalogue import explain_version

    click.echo("\n".join(explain_version(__version__, load_catalog())))
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help=VERSION_HELP)
def gpuplan() -> None:
    """Which GPUs will serve this model with vLLM, what they cost, and why the rest cannot.

    \b
    gpuplan plan Qwen/Qwen3-8B        plan a model by its name
    gpuplan init                      write a spec: a few lines of YAML
    gpuplan plan SPEC                 the cheapest that works, and why
    gpuplan deploy SPEC               launch it and prove what answers
    """


def main(args: list[str] | None = None) -> Any:
    """The console script: run a command; a failure a person can act on prints its sentence and exits with its code."""
    try:
        return gpuplan.main(args=args, prog_name="gpuplan", standalone_mode=True)
    except GpuplanError as error:
        from planner.cli.paint import tell

        tell(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(not_written(error), err=True)
        sys.exit(1)
