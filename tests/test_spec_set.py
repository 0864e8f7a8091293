"""any key of the spec, typed like YAML, with errors that name it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from planner.errors import SpecError
from planner.spec import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = "name: a\nmodel: {repo: org/m, dtype: bfloat16}\ngpu:\nslo: {ttft_ms: 9}\n"


@pytest.mark.parametrize(
    ("overrides", "read", "value"),
    [
        (["engine.max_model_len=8192"], lambda spec: spec.engine.max_model_len, 8192),
        (["engine.max_model_len=auto"], lambda spec: spec.engine.max_model_len, "auto"),
        (['engine.version="0.26.0"'], lambda spec: spec.engine.version, "0.26.0"),
        (["engine.version=0.26.0"], lambda spec: spec.engine.version, "0.26.0"),
        (["engine.enforce_eager=true"], lambda spec: spec.engine.enforce_eager, True),
        (["gpu.counts=[2, 4]"], lambda spec: spec.gpu.counts, (2, 4)),
        (["gpu.types=[H100, B200+]"], lambda spec: spec.gpu.types, ("H100", "B200+")),
        (["gpu={counts: [1], types: [L4]}"], lambda spec: (spec.gpu.counts, spec.gpu.types), ((1,), ("L4",))),
        (["slo.tpot_ms=50"], lambda spec: (spec.slo.ttft_ms, spec.slo.tpot_ms), (9, 50)),
        (["slo={tpot_ms: 50}"], lambda spec: (spec.slo.ttft_ms, spec.slo.tpot_ms), (None, 50)),
        (["budget.max_usd_per_hour=8.40"], lambda spec: spec.budget.max_usd_per_hour, Decimal("8.40")),
        (["model.dtype="], lambda spec: spec.model.dtype, "auto"),
        (["slo=~"], lambda spec: spec.slo.ttft_ms, None),
        (["name=b", "name=c"], lambda spec: spec.name, "c"),
        ([" name =b"], lambda spec: spec.name, "b"),
        (["engine.extra_args.seed=7"], lambda spec: spec.engine.extra_args, {"seed": 7}),
        (["engine.extra_args.cc.mode=3"], lambda spec: spec.engine.extra_args, {"cc.mode": 3}),
        (["model.path=/a=b"], lambda spec: spec.model.path, "/a=b"),
        (["name=no-name"], lambda spec: spec.name, "no-name"),
    ],
)
def test_set_reaches_any_key(overrides: list[str], read: Callable[[Any], Any], value: Any) -> None:
    assert read(parse_spec(TEXT, "s.yaml", overrides)) == value


def test_set_mends_what_the_file_has_wrong() -> None:
    assert parse_spec("name: A\nmodel: {repo: m}\n", "s.yaml", ["name=a", "model.repo=org/m"]).model.repo == "org/m"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("engine.max_model_len", "engine.max_model_len: no value; type key=value, as in gpu.counts=[2]"),
        ("=3", "key: no value; type key=value, as in gpu.counts=[2]"),
        ("gpu..counts=3", "gpu..counts: no value; type key=value, as in gpu.counts=[2]"),
        ("engine.max_len=3", "engine.max_len: unknown key, did you mean max_model_len?"),
        ("max_model_len=3", "max_model_len: unknown key, did you mean engine.max_model_len?"),
        ("modle.repo=a/b", "modle: unknown key, did you mean model?"),
        ("model.quantization=awq", 'model.quantization: "awq" is not one of auto, fp8; type auto'),
        ("gpu.counts=[9]", "gpu.counts[0]: 9 is out of range; type 1 to 8"),
        ("gpu.counts=[2", "gpu.counts: this list is not closed; type ] at its end"),
        ("gpu.types=[H1000]", 'gpu.types[0]: unknown GPU "H1000", did you mean H100?'),
        ("name=", "name: no value; type name: llama-2-70b-chat"),
        ("name.first=a", "name: a mapping is not text; type for example llama-2-70b-chat"),
        ("engine.version=0.33", 'engine.version: YAML reads 0.33 as a number; type "0.33.0", in quotes'),
        ("region=@x", "region: a value cannot begin with this character; type the value in quotes"),
        ("region=a: b", "region: a mapping is not text; type for example us-east"),
        (
            "engine.extra_args.tp=2",
            "engine.extra_args.tp: the key gpu.tensor_parallel_size stands for this flag; type it there",
        ),
    ],
)
def test_a_bad_set_names_itself(override: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(TEXT, "s.yaml", [override])
    assert caught.value.problems == [f"--set: {problem}"]


def test_problems_of_the_file_come_first() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(TEXT + "objective: speed\n", "s.yaml", ["name=A"])
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["s.yaml", "--set"]


def test_a_secret_in_a_set_is_never_repeated() -> None:
    with pytest.raises(SpecError, match="looks like a secret's value") as caught:
        parse_spec(TEXT, "s.yaml", ["secrets.api_key=sk-abcdefghijkl"])
    assert "abcdefgh" not in str(caught.value)
