"""validate, schema, init, and a model's name in a spec's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from planner.cli import gpuplan
from planner.cli.planning import bare_spec
from planner.errors import SpecError
from planner.spec import load_spec, parse_spec
from planner.spec.json_schema import json_schema
from planner.spec.reference import reference
from tests.test_docs import holds

ROOT = Path(__file__).resolve().parent.parent
MINIMAL = "name: a\nmodel: {repo: org/m}\n"
ASKED = ["init", "--model", "Qwen/Qwen3-8B", "--context", "8192", "--concurrency", "16"]


def run(*line: str, **more: Any) -> Any:
    return CliRunner().invoke(gpuplan, line, **more)


def test_validate_tells_every_problem_of_every_file(tmp_path: Path) -> None:
    good, bad, worse = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "worse.yaml"
    good.write_text(MINIMAL)
    bad.write_text("name: A\n")
    worse.write_text("- a\n")
    result = run("validate", str(bad), str(good), str(worse), str(tmp_path / "goood.yaml"))
    assert result.exit_code == 2
    assert result.stdout == f"{good}: ok\n"
    assert result.stderr.splitlines() == [
        f"{bad}:1:1: model: missing; type model: {{repo: org/name}}",
        f'{bad}:1:7: name: "A" is not a name of a to z, 0 to 9 and - (63 at most); type a',
        f"{worse}:1:1: file: a list is not a mapping; type name: my-model and model: {{repo: org/name}}",
        f"{tmp_path}/goood.yaml: no such file; did you mean {tmp_path}/good.yaml?",
    ]


def test_validate_of_good_specs_ends_with_0() -> None:
    specs = sorted(map(str, (ROOT / "specs").glob("*.yaml")))
    result = run("validate", *specs)
    assert (result.exit_code, result.stdout) == (0, "".join(f"{path}: ok\n" for path in specs))


def test_validate_reads_standard_input() -> None:
    assert run("validate", "-", input=MINIMAL).exit_code == 0
    assert run("validate", "-", input="name: a\n").stderr == "stdin:1:1: model: missing; type model: {repo: org/name}\n"


@pytest.mark.parametrize(
    ("repo", "near"),
    [
        ("meta-lama/Llama-2-70b-chat-hf", "meta-llama/Llama-2-70b-chat-hf"),
        ("qwen/qwen3-8b", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-9B", None),
        ("Qwen/Qwen3-8B", None),
        ("acme/chat", None),
    ],
)
def test_validate_hints_at_a_mistyped_model(repo: str, near: str | None, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"name: a\nmodel: {{repo: {repo}}}\n")
    result = run("validate", str(path))
    hint = f"{path}: model.repo: not in the catalogue, and near to {near}; did you mean that?\n" if near else ""
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{path}: ok\n", hint)


def test_validate_takes_sets(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(MINIMAL)
    result = run("validate", str(path), "--set", "gpu.counts=[9]")
    assert (result.exit_code, result.stderr) == (2, "--set: gpu.counts[0]: 9 is out of range; type 1 to 8\n")


def test_the_schema_file_is_what_schema_prints(update_golden: bool) -> None:
    printed = run("schema").stdout
    assert json.loads(printed) == json_schema()
    holds(ROOT / "specs" / "schema.json", printed, update_golden)


def test_the_reference_is_current(update_golden: bool) -> None:
    holds(ROOT / "docs" / "spec.md", reference(), update_golden)


def test_init_writes_a_spec_and_the_schema_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    result = run(*ASKED, "--out", str(path))
    assert result.exit_code == 0
    spec = load_spec(str(path))
    assert (spec.name, spec.model.repo, spec.engine.max_model_len) == ("qwen3-8b", "Qwen/Qwen3-8B", 8192)
    assert spec.workload
    assert spec.workload.concurrency == 16
    named = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert json.loads((tmp_path / named).read_text()) == json_schema()


def test_what_init_comments_out_is_valid_too(tmp_path: Path) -> None:
    lines = run(*ASKED, "--out", "-").stdout.splitlines()[2:]
    uncommented = "\n".join(line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line for line in lines)
    spec = parse_spec(uncommented, "starter")
    assert spec.gpu.counts == (1, 2, 4, 8)
    assert spec.secrets.huggingface == "huggingface-secret"


def test_init_never_overwrites_without_force(tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    path.write_text("mine")
    refused = run(*ASKED, "--out", str(path))
    assert isinstance(refused.exception, SpecError)
    assert str(refused.exception).startswith(f"{path}: is there already and is left as it is; type --force")
    assert path.read_text() == "mine"
    assert run(*ASKED, "--out", str(path), "--force").exit_code == 0
    assert load_spec(str(path)).name == "qwen3-8b"


@pytest.mark.parametrize("flag", ["--model", "--context", "--concurrency"])
def test_init_without_a_terminal_asks_nothing(flag: str) -> None:
    index = ASKED.index(flag)
    result = run(*ASKED[:index], *ASKED[index + 2 :])
    assert result.exit_code == 2
    assert result.stderr == f"{flag} is missing and there is no terminal to ask on; type {flag} VALUE.\n"


@pytest.mark.parametrize(
    ("flag", "value", "problem"),
    [
        ("--model", "qwen3-8b", '--model: "qwen3-8b" is not org/name, as on the hub; type Qwen/Qwen3-8B'),
        ("--context", "32k", '--context: "32k" is not a whole number; type 32000 or 32768'),
        ("--concurrency", "0", "--concurrency: 0 is out of range; type 1 to 1000000"),
        ("--name", "My App", '--name: "My App" is not a name of a to z, 0 to 9 and - (63 at most); type my-app'),
        ("--model", "a/b\n  dtype: x", '--model: a second ": " stands in this line; type the value in quotes'),
        ("--model", "a/b\n\n", "--model: empty, or more than one line; type a value"),
        ("--out", "none/chat.yaml", "none/chat.yaml: cannot be written (No such file or directory); type --out FILE"),
    ],
)
def test_init_says_which_answer_cannot_be_used(flag: str, value: str, problem: str) -> None:
    result = run(*ASKED, flag, value)
    assert isinstance(result.exception, SpecError)
    assert str(result.exception) == problem


def test_init_asks_again_until_an_answer_can_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("planner.cli.init._on_terminal", lambda: True)
    path = tmp_path / "chat.yaml"
    result = run("init", "--out", str(path), input="qwen3-8b\nQwen/Qwen3-8B\n\n4\n")
    assert result.exit_code == 0, result.output
    assert '"qwen3-8b" is not org/name, as on the hub; type Qwen/Qwen3-8B' in result.stderr
    spec = load_spec(str(path))
    assert (spec.engine.max_model_len, spec.workload and spec.workload.concurrency) == ("auto", 4)


def test_a_models_name_stands_for_a_spec() -> None:
    text = bare_spec("meta-llama/Llama-2-70b-chat-hf")
    assert text
    spec = parse_spec(text, "bare")
    assert (spec.name, spec.model.repo) == ("llama-2-70b-chat-hf", "meta-llama/Llama-2-70b-chat-hf")
    assert spec == parse_spec("name: llama-2-70b-chat-hf\nmodel: {repo: meta-llama/Llama-2-70b-chat-hf}", "s.yaml")


@pytest.mark.parametrize("source", ["-", "specs/none.yaml", "chat.yml", "a/b/c", "llama", "specs/70b.yaml"])
def test_what_is_no_models_name_is_a_file(source: str) -> None:
    assert bare_spec(source) is None
