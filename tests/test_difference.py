from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from planner.deployment.difference import make_difference
from planner.deployment.running import Running
from planner.explain.deployment import explain_difference
from tests.releases import LLAMA_7B, LLAMA_70B

if TYPE_CHECKING:
    from planner.release import Release


def running(release: Release | None, **state: Any) -> Running:
    """A version with this record, and the GPUs that go with it."""
    gpus = ((release.gpu, release.gpu_count),) if release else ()
    return replace(Running("llama", None, 1, "deployed", None, gpus, release=release), **state)


def changes(after: Release, before: Release | None = LLAMA_70B) -> list[tuple[str, ...]]:
    return [
        (change.sign, change.field, str(change.before), str(change.after))
        for change in make_difference(running(before), after).changes
    ]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("gpu_count", 4, ("~", "gpu", "A100-80GB:2", "A100-80GB:4")),
        ("revision", "0" * 40, ("~", "model.revision", LLAMA_70B.revision, "0" * 40)),
        ("region", "us-east", ("+", "region", "None", "us-east")),
        ("secret_api_key", None, ("-", "secrets.api_key", "vllm-api-key", "None")),
        ("max_containers", 3, ("~", "scaling.max_containers", "1", "3")),
        (
            "engine_args",
            (*LLAMA_70B.engine_args, ("--enforce-eager",)),
            ("+", "--enforce-eager", "None", "on"),
        ),
        ("engine_args", LLAMA_70B.engine_args[:-1], ("-", "--enable-prefix-caching", "on", "None")),
        ("expires_at", "2026-12-01T00:00:00+00:00", ("+", "ttl", "None", "2026-12-01T00:00:00+00:00")),
    ],
)
def test_one_change_is_one_line(field: str, value: Any, expected: tuple[str, ...]) -> None:
    assert changes(replace(LLAMA_70B, **{field: value})) == [expected]


def test_a_commit_that_is_not_known_yet_is_not_compared() -> None:
    unpinned = replace(LLAMA_70B, revision=None)
    assert changes(unpinned) == []
    assert ("-", "model.revision", LLAMA_70B.revision, "None") in changes(replace(unpinned, asked_revision="v2"))


@pytest.mark.parametrize("field", ["usd_per_hour", "prices_as_of", "spec_path", "spec_sha256"])
def test_prices_and_papers_are_no_change(field: str) -> None:
    assert changes(replace(LLAMA_70B, **{field: "3"})) == []


@pytest.mark.parametrize(
    ("before", "after", "first", "effect"),
    [
        (None, LLAMA_70B, True, "created"),
        (LLAMA_70B, LLAMA_70B, False, "none"),
        (LLAMA_70B, replace(LLAMA_70B, max_containers=2), False, "in place"),
        (LLAMA_70B, replace(LLAMA_70B, max_containers=2, gpu_count=4), False, "restarted"),
        (None, LLAMA_70B, False, "restarted"),
    ],
)
def test_what_a_difference_does(before: Release | None, after: Release, first: bool, effect: str) -> None:
    assert make_difference(None if first else running(before), after).effect == effect


def test_what_drifted_from_its_record_is_a_change() -> None:
    drifted = make_difference(running(LLAMA_70B, gpus=(("L4", 1),)), LLAMA_70B)
    assert [(change.field, change.before, change.after) for change in drifted.changes] == [
        ("gpu at the provider", "1×L4", "2×A100-80GB")
    ]
    assert make_difference(running(LLAMA_70B, state="dead"), LLAMA_70B).effect == "restarted"


def test_dollars() -> None:
    difference = make_difference(running(LLAMA_70B), LLAMA_7B)
    assert difference.usd_per_hour_change == Decimal("-3.2440")
    words = [line.text for line in explain_difference(difference, None)]
    assert "While a container is warm: $2.20/h (-$3.24/h against what runs)." in words


def test_the_words_of_a_difference() -> None:
    after = replace(LLAMA_70B, gpu_count=4, region="us", secret_api_key=None)
    words = [line.text for line in explain_difference(make_difference(running(LLAMA_70B), after), None)]
    assert words[1:4] == [
        "  ~ gpu: A100-80GB:2 -> A100-80GB:4",
        "  + region: us",
        "  - secrets.api_key: vllm-api-key",
    ]
