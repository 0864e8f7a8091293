"""Every shipped model is understood, and `gpuplan models` shows it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from planner.catalog import load_catalog
from planner.cli import gpuplan
from planner.model.architectures import make_facts
from planner.model.parameters import count_parameters
from planner.model.quantization import parse_quantization

CATALOG = load_catalog()
LLAMA = "meta-llama/Llama-2-70b-chat-hf"


@pytest.mark.parametrize("repo", CATALOG.model_names())
def test_a_shipped_model_is_understood(repo: str) -> None:
    checkpoint = CATALOG.find_model(repo)
    assert checkpoint
    facts = make_facts(checkpoint)
    assert facts.architecture == checkpoint.config["architectures"][0]
    assert facts.max_model_len >= 2048
    assert count_parameters(facts) > 10**8
    parse_quantization(facts.quantization)


def test_models_are_listed_within_80_columns() -> None:
    result = CliRunner().invoke(gpuplan, ["models"])
    lines = result.stdout.splitlines()
    assert len(lines) == len(CATALOG.model_names()) + 1
    assert max(map(len, lines)) <= 80
    assert result.stderr.startswith(f"{len(CATALOG.model_names())} models. Any other of the hub is planned")


def test_a_search_takes_several_words() -> None:
    result = CliRunner().invoke(gpuplan, ["models", "LLAMA-2", "chat", "70b"])
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["model", "size", "tokens", "format", "gated"],
        [LLAMA, "69.0B", "4k", "fp16", "yes"],
    ]
    nothing = CliRunner().invoke(gpuplan, ["models", "nowhere"])
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert nothing.stderr.startswith("No model of the catalogue with nowhere in the name.")


def test_models_as_a_document() -> None:
    (row,) = json.loads(CliRunner().invoke(gpuplan, ["models", LLAMA, "--json"]).stdout)
    assert row == {
        "repo": LLAMA,
        "revision": None,
        "gated": True,
        "checkpoint_bytes": None,
        "parameters": 68_976_648_192,
        "architecture": "LlamaForCausalLM",
        "max_model_len": 4096,
        "format": "fp16",
    }
