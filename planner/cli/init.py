"""gpuplan init."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from planner.cli.completing import complete_models
from planner.cli.paint import tell
from planner.errors import EXIT_USAGE, SpecError

CHECKED_WITH = "name: a\nmodel: {repo: org/name}\n"


@click.command()
@click.option("--model", "repo", metavar="ORG/NAME", shell_complete=complete_models, help="The model on the hub.")
@click.option("--context", metavar="TOKENS", help="max_model_len: a number, or auto.")
@click.option("--concurrency", metavar="N", help="Requests in flight.")
@click.option("--input-tokens", metavar="N", default="512", show_default=True, help="Mean prompt length.")
@click.option("--output-tokens", metavar="N", default="256", show_default=True, help="Mean answer length.")
@click.option("--name", help="The app's name. Default: from the model's.")
@click.option("--out", metavar="FILE", help='Where to write; "-" for standard output. Default: NAME.yaml.')
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def init(
    repo: str | None,
    context: str | None,
    concurrency: str | None,
    input_tokens: str,
    output_tokens: str,
    name: str | None,
    out: str | None,
    force: bool,
) -> None:
    """Write a commented starter spec; ask on a terminal for what is left out.

    \b
    gpuplan init
    gpuplan init --model Qwen/Qwen3-8B --context 8192 --concurrency 16
    """
    from planner.spec import parse_spec
    from planner.spec.starter import SCHEMA_FILE, app_name, starter_spec

    _check_answerable({"--model": repo, "--context": context, "--concurrency": concurrency})
    repo = _answer(repo, "--model", "model.repo", "Model on the hub (org/name)")
    text = starter_spec(
        repo,
        context=_answer(context, "--context", "engine.max_model_len", "Context in tokens, or auto", "auto"),
        concurrency=_answer(concurrency, "--concurrency", "workload.concurrency", "Requests in flight", "32"),
        input_tokens=_answer(input_tokens, "--input-tokens", "workload.input_tokens"),
        output_tokens=_answer(output_tokens, "--output-tokens", "workload.output_tokens"),
        name=(name := _answer(name or app_name(repo), "--name", "name")),
        schema=SCHEMA_FILE,
    )
    parse_spec(text, out or f"{name}.yaml")
    if out == "-":
        click.echo(text, nl=False)
    else:
        _write(Path(out or f"{name}.yaml"), text, overwrite=force)


def _check_answerable(given: dict[str, str | None]) -> None:
    """Every flag whose value is missing, at once, where nobody can be asked."""
    missing = [flag for flag, value in given.items() if value is None]
    if missing and not _on_terminal():
        named = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        values = " ".join(f"{flag} VALUE" for flag in missing)
        tell(f"{named} and there is no terminal to ask on; type {values}.")
        sys.exit(EXIT_USAGE)


def _answer(given: str | None, flag: str, key: str, question: str = "", default: str | None = None) -> str:
    """A checked value: the flag's, or on a terminal an answer, asked for again until it can be used."""
    if given is not None:
        if message := _problem(key, given):
            raise SpecError([f"{flag}: {message}"])
        return given
    while True:
        answer = str(click.prompt(question, default=default, err=True)).strip()
        if not (message := _problem(key, answer)):
            return answer
        tell(message)


def _on_terminal() -> bool:
    return sys.stdin.isatty()


def _problem(key: str, value: str) -> str | None:
    """What is wrong with one value of the spec."""
    from planner.spec import parse_spec

    try:
        parse_spec(CHECKED_WITH, "init", [f"{key}={value}"])
    except SpecError as error:
        return "; ".join(line.split(": ", 2)[2] for line in error.problems)
    return None if value and "\n" not in value else "empty, or more than one line; type a value"


def _write(path: Path, text: str, *, overwrite: bool) -> None:
    """The spec, and beside it the schema that its first line tells editors of."""
    from planner.spec.json_schema import json_schema
    from planner.spec.starter import SCHEMA_FILE

    try:
        with path.open("w" if overwrite else "x", encoding="utf-8") as file:
            file.write(text)
        schema = json.dumps(json_schema(), indent=2, ensure_ascii=False)
        path.with_name(SCHEMA_FILE).write_text(schema + "\n", encoding="utf-8")
    except FileExistsError:
        raise SpecError(
            [f"{path}: is there already and is left as it is; type --force to overwrite it, or --out FILE"]
        ) from None
    except OSError as error:
        raise SpecError([f"{path}: cannot be written ({error.strerror}); type --out FILE"]) from error
    click.echo(f"Wrote {path}, and {SCHEMA_FILE} for your editor. Next: gpuplan plan {path}")
