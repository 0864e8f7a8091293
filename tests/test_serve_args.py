from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from planner.serve_args import flag_args, serve_args
from planner.spec import parse_spec
from tests.options import GPU, make_option

# Flags of `vllm serve` in both 0.25.0 and 0.33.0 (vllm/engine/arg_utils.py, EngineArgs.add_cli_args): booleans take
# --flag and --no-flag (argparse.BooleanOptionalAction).
KNOWN = {
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--max-model-len",
    "--max-num-seqs",
    "--max-num-batched-tokens",
    "--gpu-memory-utilization",
    "--dtype",
    "--kv-cache-dtype",
    "--enable-prefix-caching",
    "--no-enable-prefix-caching",
    "--enforce-eager",
    "--no-enforce-eager",
    "--quantization",
    "--enable-expert-parallel",
    "--trust-remote-code",
    "--disable-custom-all-reduce",
}


def args_of(spec_text: str = "", count: int = 2, link: str = "nvlink", **engine: Any) -> dict[str, list[str]]:
    option = make_option(count=count)
    candidate = replace(option.candidate, gpu=replace(GPU, link=link))  # type: ignore[arg-type]
    spec = parse_spec(f"name: a\nmodel: {{repo: o/m}}\n{spec_text}", "a test")
    return {arg[0]: list(arg[1:]) for arg in serve_args(spec, candidate, replace(option.engine, **engine))}


def test_every_setting_of_the_plan_is_said_aloud() -> None:
    assert args_of() == {
        "--tensor-parallel-size": ["2"],
        "--pipeline-parallel-size": ["1"],
        "--max-model-len": ["4096"],
        "--max-num-seqs": ["256"],
        "--max-num-batched-tokens": ["2048"],
        "--gpu-memory-utilization": ["0.92"],
        "--dtype": ["float16"],
        "--kv-cache-dtype": ["auto"],
        "--enable-prefix-caching": [],
        "--no-enforce-eager": [],
    }


@pytest.mark.parametrize(
    ("engine", "flag", "values"),
    [
        ({"max_model_len": 8192}, "--max-model-len", ["8192"]),
        ({"gpu_memory_utilization": 0.85}, "--gpu-memory-utilization", ["0.85"]),
        ({"kv_cache_dtype": "fp8"}, "--kv-cache-dtype", ["fp8"]),
        ({"kv_cache_dtype": "fp8_e4m3"}, "--kv-cache-dtype", ["fp8"]),
        ({"enforce_eager": True}, "--enforce-eager", []),
        ({"enable_prefix_caching": False}, "--no-enable-prefix-caching", []),
        ({"enable_expert_parallel": True}, "--enable-expert-parallel", []),
        ({"quantization": "fp8"}, "--quantization", ["fp8"]),
        ({"trust_remote_code": True}, "--trust-remote-code", []),
    ],
)
def test_a_setting_is_a_flag_that_the_engine_knows(engine: dict[str, Any], flag: str, values: list[str]) -> None:
    args = args_of(**engine)
    assert args[flag] == values
    assert set(args) <= KNOWN


@pytest.mark.parametrize(("link", "count", "disabled"), [("pcie", 2, True), ("pcie", 1, False), ("nvlink", 2, False)])
def test_gpus_without_nvlink_do_not_share_by_custom_all_reduce(link: str, count: int, disabled: bool) -> None:
    assert ("--disable-custom-all-reduce" in args_of(link=link, count=count)) == disabled


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, ("--f",)),
        (False, ("--no-f",)),
        (3, ("--f", "3")),
        ("a b", ("--f", "a b")),
        ((1, "x"), ("--f", "1", "x")),
        (["--evil", "; rm"], ("--f", "--evil", "; rm")),
    ],
)
def test_extra_args_are_passed_as_they_are(value: Any, words: tuple[str, ...]) -> None:
    assert flag_args("f", value) == words


def test_extra_args_come_last() -> None:
    assert list(args_of("engine: {extra_args: {seed: 7, language-model-only: true}}"))[-2:] == [
        "--seed",
        "--language-model-only",
    ]
