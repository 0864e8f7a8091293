"""The spec: what is read, what stands for what is left out, and what is said about everything wrong, word for word."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from planner.errors import SpecError
from planner.spec import load_spec, parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
SPECS = sorted((HERE.parent / "specs").glob("*.yaml"))
BAD = yaml.safe_load((HERE / "bad_specs.yaml").read_text(encoding="utf-8"))
MINIMAL = "name: a\nmodel: {repo: org/m}\n"


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad["id"])
def test_a_bad_spec_says_where_what_and_what_to_type(bad: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(bad["spec"], "s.yaml")
    assert caught.value.problems == bad["problems"]
    assert caught.value.exit_code == 2


def test_the_table_is_long_and_says_nothing_twice() -> None:
    assert len(BAD) >= 170
    for field in ("id", "spec"):
        assert len({bad[field] for bad in BAD}) == len(BAD)


def test_every_message_says_what_to_type() -> None:
    told = [problem for bad in BAD for problem in bad["problems"]]
    advice = ("type ", "did you mean ", "keep one", "takes ", "take away", "leave it out", "leave the flag out")
    assert [problem for problem in told if not any(word in problem for word in advice)] == []


@pytest.mark.parametrize("bad", [bad for bad in BAD if "abcdefgh" in bad["spec"]], ids=lambda bad: bad["id"])
def test_a_secret_is_never_repeated(bad: dict[str, Any]) -> None:
    assert not any("abcdefgh" in problem for problem in bad["problems"])


def test_what_is_left_out_has_its_default() -> None:
    spec = parse_spec(MINIMAL, "s.yaml")
    assert spec.model.revision == "main"
    assert spec.engine.version == "0.33.0"
    assert spec.engine.gpu_memory_utilization == 0.92
    assert spec.engine.enable_prefix_caching is None
    assert spec.engine.max_model_len is None
    assert (spec.gpu.types, spec.gpu.counts) == (None, None)
    assert (spec.resources.cpu_cores, spec.resources.memory_gib) == (4, 32)
    assert (spec.scaling.min_containers, spec.scaling.max_containers, spec.scaling.scaledown_window_s) == (0, 1, 300)
    assert spec.workload is None
    assert (spec.objective, spec.target) == ("usd_per_hour", "modal")


@pytest.mark.parametrize(
    ("text", "read", "value"),
    [
        ("engine:\n", lambda spec: spec.engine.version, "0.33.0"),
        ("engine: {max_model_len: ~}\n", lambda spec: spec.engine.max_model_len, None),
        ("engine: {max_model_len: auto}\n", lambda spec: spec.engine.max_model_len, "auto"),
        ("engine: {max_model_len: !!int '4096'}\n", lambda spec: spec.engine.max_model_len, 4096),
        ("engine: {enforce_eager: TRUE}\n", lambda spec: spec.engine.enforce_eager, True),
        ("engine: {gpu_memory_utilization: 9e-1}\n", lambda spec: spec.engine.gpu_memory_utilization, 0.9),
        ("engine: {extra_args: {seed: 7}}\n", lambda spec: spec.engine.extra_args, {"seed": 7}),
        ("engine: {extra_args: {a: 1.10, b: on}}\n", lambda spec: spec.engine.extra_args, {"a": "1.10", "b": "on"}),
        ("engine: {extra_args: {a: [x, 2]}}\n", lambda spec: spec.engine.extra_args, {"a": ("x", 2)}),
        ("engine: {extra_args: {a: true}}\n", lambda spec: spec.engine.extra_args, {"a": True}),
        ("engine: {extra_args: {kv-cache-dtype-skip-layers: [1]}}\n", lambda spec: len(spec.engine.extra_args), 1),
        ("gpu: {types: [A100, A10G, H100!, B200+]}\n", lambda spec: len(spec.gpu.types), 4),
        ("gpu: {counts: [8, 1]}\n", lambda spec: spec.gpu.counts, (8, 1)),
        ("workload: {concurrency: &n 4, requests: *n}\n", lambda spec: spec.workload.requests, 4),
        ("workload: {}\n", lambda spec: (spec.workload.concurrency, spec.workload.input_tokens), (32, None)),
        ("slo: &s {tpot_ms: 9}\nbudget: {}\n", lambda spec: spec.slo.tpot_ms, 9),
        ("scaling: {<<: {min_containers: 2, max_containers: 3}, min_containers: 1}\n", lambda s: s.scaling, (1, 3)),
        ("budget: {max_usd_per_hour: 8.40}\n", lambda spec: spec.budget.max_usd_per_hour, Decimal("8.40")),
        ("secrets: {api_key: vllm-key}\n", lambda spec: spec.secrets.api_key, "vllm-key"),
        ("region: us-east\nenvironment: main\n", lambda spec: (spec.region, spec.environment), ("us-east", "main")),
    ],
)
def test_what_is_written_is_read(text: str, read: Callable[[Any], Any], value: Any) -> None:
    found = read(parse_spec(MINIMAL + text, "s.yaml"))
    if text.startswith("scaling"):
        found = (found.min_containers, found.max_containers)
    assert found == value


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + MINIMAL,
        MINIMAL.replace("\n", "\r\n"),
        "---\n" + MINIMAL + "...\n",
        '{"name": "a", "model": {"repo": "org/m"}}',
        "name: !!str a\nmodel: !!map {repo: org/m}\n",
    ],
    ids=["byte order mark", "Windows line ends", "document marks", "JSON", "standard tags"],
)
def test_one_spec_in_other_clothes(text: str) -> None:
    assert parse_spec(text, "s.yaml") == parse_spec(MINIMAL, "s.yaml")


@pytest.mark.parametrize("revision", ["08751db2aca9bf2f7f80d2e516117a53d7450235", '"1234567"', "refs/pr/1", "v1.0"])
def test_every_form_of_a_revision(revision: str) -> None:
    text = f"name: a\nmodel: {{repo: org/m, revision: {revision}}}\n"
    assert parse_spec(text, "s.yaml").model.revision == revision.strip('"')


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_shipped_specs_are_valid_and_tell_editors_their_schema(path: Path) -> None:
    assert load_spec(str(path)).name
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")
