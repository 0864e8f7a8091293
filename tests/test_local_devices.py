from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from planner.targets import local
from planner.targets.local_devices import planned_name
from tests.releases import LLAMA_70B

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize(
    ("device", "planned", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100", "H100"),
        ("NVIDIA H100 80GB HBM3", "H100!", "H100!"),
        ("NVIDIA H200", "H100!", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100-NVL", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB", "A100-80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-40GB", "A100-80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB", "A100-80GB"),
        ("NVIDIA A10G", "A10", "A10"),
        ("NVIDIA A10", "A10G", "A10G"),
        ("NVIDIA B300 SXM6 AC", "B200+", "B200+"),
        ("NVIDIA B300 SXM6 AC", "B200", "B300"),
        ("NVIDIA GeForce RTX 4090", "RTX-3090", "RTX-4090"),
        ("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("NVIDIA H100 of next year", "H100", "H100"),
        ("NVIDIA X9", "H100", "NVIDIA X9"),
        ("NVIDIA L40S", "X1", "X1"),
    ],
)
def test_the_plans_name_of_a_device(device: str, planned: str, name: str) -> None:
    assert planned_name(device, planned) == name


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        (["NVIDIA A100-SXM4-80GB"] * 2, []),
        (["NVIDIA A100-SXM4-40GB"] * 2, ["planned is A100-80GB, this machine has A100-40GB"]),
        (["NVIDIA A100-SXM4-80GB"], ["planned are 2×A100-80GB, this machine has 1"]),
    ],
)
def test_other_gpus_than_planned_are_told_before_anything_starts(
    devices: Sequence[str], said: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.targets.local_process.nvidia_gpus", lambda: list(devices))
    problems = [
        problem for problem in local.survey(replace(LLAMA_70B, target="local")).problems if "planned" in problem
    ]
    assert len(problems) == len(said)
    assert all(sentence in problem for sentence, problem in zip(said, problems, strict=True))
