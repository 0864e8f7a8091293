"""gpuplan init."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click

from planner.errors import EXIT_USAGE, SpecError

SCHEMA_NAME = "gpuplan.schema.json"
STARTER = """\
# yaml-language-server: $schema={schema}
# Every key: gpuplan schema, or docs/spec.md.  Plan it: gpuplan plan {path}
name: {name}
model:
  repo: {repo}
  # revision: main          # a branch, a tag or (best) a 40-hex commit
  # dtype: auto             # auto, bfloat16, float16 or float32
  # quantization: auto      # fp8: vLLM quantizes at load
engine:
  # version: "0.33.0"       # vLLM, in quotes
  max_model_len: {context}
# gpu:
#   types: [A100-80GB, H100]   # left out: every GPU in the catalogue
#   counts: [1, 2, 4, 8]
workload:
  concurrency: {concurrency}           # requests in flight, steadily
  input_tokens: {input_tokens}         # means per request
  output_tokens: {output_tokens}
# slo: {{ttft_ms: 2000, tpot_ms: 50}}
# budget: {{max_usd_per_hour: 10}}
# secrets: {{huggingface: huggingface-secret}}   # names of secrets at Modal, never values
"""


@click.command()
@click.option("--model", "repo", metavar="ORG/NAME", help="The model on the hub.")
@click.option("--context", metavar="TOKENS", help="max_model_len: a number, or auto.")
@click.option("--concurrency", type=click.IntRange(min=1), metavar="N", help="Requests in flight.")
@click.option("--input-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Mean prompt length.")
@click.option("--output-tokens", type=click.IntRange(min=1), default=256, show_default=True, help="Mean answer length.")
@click.option("--name", help="The app's name. Default: from the model's.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write. Default: NAME.yaml.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def init(
    repo: str | None,
    context: str | None,
    concurrency: int | None,
    input_tokens: int,
    output_tokens: int,
    name: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Write a commented starter spec; ask on a terminal for what is left out.

    \b
    gpuplan init --model Qwen/Qwen3-8B --context 8192 --concurrency 16
    """
    from planner.spec import parse_spec
    from planner.spec.json_schema import json_schema

    repo = _answer(repo, "--model", "Model on the hub (org/name)")
    context = _answer(context, "--context", "Context in tokens (or auto)", "auto")
    concurrency = int(_answer(None if concurrency is None else str(concurrency), "--concurrency", "In flight", "32"))
    name = name or re.sub(r"[^a-z0-9]+", "-", repo.rpartition("/")[2].lower()).strip("-")[:63].rstrip("-")
    path = out or Path(f"{name}.yaml")
    text = STARTER.format(
        schema=SCHEMA_NAME,
        path=path,
        name=name,
        repo=repo,
        context=context,
        concurrency=concurrency,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )
    parse_spec(text, str(path))
    if path.exists() and not force:
        raise SpecError([f"{path}: is there already and is left as it is; type --force to overwrite, or --out FILE."])
    path.write_text(text, encoding="utf-8")
    path.with_name(SCHEMA_NAME).write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
    click.echo(f"{path}: written. Next: gpuplan plan {path}")


def _answer(given: str | None, flag: str, question: str, default: str | None = None) -> str:
    if given is not None:
        return given
    if not sys.stdin.isatty():
        click.echo(f"{flag} is missing and there is no terminal to ask on; type {flag} VALUE.", err=True)
        sys.exit(EXIT_USAGE)
    answer: str = click.prompt(question, default=default, err=True)
    return answer
