"""Properties of the spec: dumps read back, no text breaks the reader, and the JSON Schema says what the reader does."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import SpecError
from planner.spec import parse_spec
from planner.spec.dump import dump_spec, spec_values
from planner.spec.flags import KEY_OF_FLAG
from planner.spec.json_schema import json_schema
from planner.spec.keys import NAME, REPO, REVISION, SPEC, VERSION
from planner.spec.sections import every_key

if TYPE_CHECKING:
    from decimal import Decimal

MINIMAL = {"name": "a", "model": {"repo": "org/m"}}
GPUS = ("T4", "L4", "A10", "A100-40GB", "RTX-PRO-6000", "B300")  # names that every target has
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
LINE = re.compile(r"(s\.yaml:\d+:\d+|--set): .+: .+", re.DOTALL)


def matching(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(pattern, fullmatch=True)


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


sizes = st.integers(1, 8)
tokens = st.integers(1, 2**31 - 1)
above_zero = st.floats(1e-6, 1e6) | st.integers(1, 10**6)
secrets = st.sampled_from(["huggingface-secret", "a", "my.secret_1"])
flags = matching(r"[a-z][a-z0-9-]{1,12}").filter(
    lambda flag: not any(known.startswith(flag.removeprefix("no-")) for known in KEY_OF_FLAG)
)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
flag_values = words | st.integers(-(10**9), 10**9) | st.just(True)
clean = {"name": matching(NAME), "repo": matching(REPO), "revision": matching(REVISION), "version": matching(VERSION)}

documents = st.fixed_dictionaries(
    {
        "name": clean["name"],
        "model": st.fixed_dictionaries(
            {"repo": clean["repo"]},
            optional={
                "revision": clean["revision"],
                "path": words.filter(str.isprintable),
                "dtype": st.sampled_from(["auto", "bfloat16", "float16", "float32"]),
                "trust_remote_code": st.booleans(),
                "quantization": st.sampled_from(["auto", "fp8"]),
            },
        ),
    },
    optional={
        "engine": some(
            version=clean["version"].filter(lambda version: not version.startswith("0")),
            max_model_len=st.just("auto") | st.integers(2000, 2**31 - 1),
            max_num_seqs=st.integers(1, 10**6),
            max_num_batched_tokens=tokens,
            kv_cache_dtype=st.sampled_from(["auto", "fp8"]),
            gpu_memory_utilization=st.floats(1e-6, 1),
            enforce_eager=st.booleans(),
            enable_prefix_caching=st.booleans(),
            enable_expert_parallel=st.booleans(),
            extra_args=st.dictionaries(flags, flag_values | st.lists(words | st.integers(0, 9), min_size=1)),
        ),
        "gpu": some(types=st.lists(st.sampled_from(GPUS), min_size=1, unique=True))
        | some(counts=st.lists(sizes, min_size=1, unique=True))
        | some(tensor_parallel_size=st.integers(1, 4), pipeline_parallel_size=st.integers(1, 2)),
        "workload": some(
            concurrency=st.integers(1, 10**6),
            requests=st.integers(1, 10**6),
            input_tokens=st.integers(1, 1000),
            output_tokens=st.integers(1, 1000),
            requests_per_hour=above_zero,
        ),
        "slo": some(ttft_ms=above_zero, tpot_ms=above_zero),
        "budget": some(max_usd_per_hour=above_zero),
        "objective": st.sampled_from(["usd_per_hour", "usd_per_million_tokens", "latency"]),
        "scaling": some(max_containers=st.integers(1, 1000), scaledown_window_s=st.integers(2, 3600)),
        "resources": some(cpu_cores=st.floats(0.125, 512), memory_gib=st.integers(1, 8192)),
        "secrets": some(huggingface=secrets, api_key=secrets, wandb=secrets),
        "region": matching(r"[a-z]{2}-[a-z]{1,8}"),
        "environment": matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}"),
        "target": st.sampled_from(["modal", "local"]),
    },
)


def written(document: Any) -> str:
    """JSON, which is YAML with every text in quotes."""
    return json.dumps(document, ensure_ascii=False)


def problems_of(text: str, *overrides: str) -> list[str]:
    """What is wrong with a spec, line by line."""
    try:
        parse_spec(text, "s.yaml", overrides)
    except SpecError as error:
        return error.problems
    return []


@given(documents)
def test_parse_dump_parse_is_equal(document: dict[str, Any]) -> None:
    spec = parse_spec(written(document), "s.yaml")
    assert parse_spec(dump_spec(spec), "dumped") == spec
    assert parse_spec(dump_spec(spec, defaults=True), "dumped") == spec


@given(documents)
def test_what_is_read_is_valid_by_the_schema(document: dict[str, Any]) -> None:
    VALIDATOR.validate(document)
    full = spec_values(parse_spec(written(document), "s.yaml"), defaults=True)
    VALIDATOR.validate(json.loads(json.dumps(without_nulls(full), default=float)))


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


POOL = [
    0,
    1,
    2,
    9,
    -1,
    2.5,
    0.5,
    1e12,
    10**40,
    True,
    False,
    "",
    "a",
    "x y",
    "A-1",
    "auto",
    "fp8",
    "0.33.0",
    "0.33",
    "1",
]
POOL += ["org/m", "a\nb", "é", [], [1], [1, 1], ["a"], [True], [[1]], {}, {"a": 1}, {"repo": "org/m"}, {"x": {}}]
# Which GPUs there are is the catalogue's to say; what two keys are together, no schema of one key can.
BEYOND_THE_SCHEMA = {"gpu.types", "scaling.min_containers"}


@pytest.mark.parametrize("path", [path for path, _ in every_key(SPEC) if path not in BEYOND_THE_SCHEMA])
def test_the_schema_takes_what_the_reader_takes(path: str) -> None:
    *sections, key = path.split(".")
    for value in POOL:
        document = json.loads(json.dumps(MINIMAL))
        section = document
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
        problems = problems_of(written(document))
        assert VALIDATOR.is_valid(document) == (not problems), (path, value)
        assert [line for line in problems if not LINE.fullmatch(line)] == []


@pytest.mark.parametrize("path", [path for path, _ in every_key(SPEC)])
def test_every_key_is_described(path: str) -> None:
    schema = json_schema()
    for name in path.split("."):
        schema = schema["properties"][name]
    assert len(schema["description"]) > 10


PIECES = [
    *"{}[]:,-?&*!|>'\"%@`#~ \n\t",
    "a",
    "<<",
    "name",
    "model",
    "repo",
    "1",
    "org/m",
    ": ",
    "\n  ",
    "- ",
    "*a",
    "&a ",
]


@given(st.text(st.characters(codec="utf-8")) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_is_a_spec_or_a_list_of_problems(text: str) -> None:
    assert [line for line in problems_of(text) if not LINE.fullmatch(line)] == []


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.text(st.characters(codec="utf-8"), max_size=20))
def test_any_override_is_read_or_named(key: str, value: str) -> None:
    problems = problems_of(written(MINIMAL), f"{key}={value}")
    assert [line for line in problems if not line.startswith("--set: ")] == []


@given(st.decimals(min_value="0.0001", max_value=1_000_000, places=4))
def test_money_is_kept_to_the_last_digit(usd: Decimal) -> None:
    spec = parse_spec(f"name: a\nmodel: {{repo: org/m}}\nbudget: {{max_usd_per_hour: {usd:f}}}\n", "s.yaml")
    assert spec.budget.max_usd_per_hour == usd
    assert parse_spec(dump_spec(spec), "dumped") == spec
