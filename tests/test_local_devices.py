from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from planner.targets import local
from planner.targets.local_devices import Choice, Device, choose_devices, parse_devices, planned_name, visible
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
    found = [Device(index, f"GPU-{index}", name) for index, name in enumerate(devices)]
    monkeypatch.setattr("planner.targets.local_process.nvidia_gpus", lambda: found)
    problems = [
        problem for problem in local.survey(replace(LLAMA_70B, target="local")).problems if "planned" in problem
    ]
    assert len(problems) == len(said)
    assert all(sentence in problem for sentence, problem in zip(said, problems, strict=True))


SMI = """\
0, GPU-5a1b, 81559, 1203, NVIDIA H100 80GB HBM3
1, GPU-77c0, 81559, 81008, NVIDIA H100 80GB HBM3
2, GPU-77d9, 46068, 45473, NVIDIA L40S
3, GPU-9e02, 81559, 81008, NVIDIA H100 80GB HBM3
4, GPU-beef, [N/A], [N/A], NVIDIA GB10
"""
FOUND = parse_devices(SMI)


def test_what_nvidia_smi_lists() -> None:
    assert FOUND[0] == Device(0, "GPU-5a1b", "NVIDIA H100 80GB HBM3", 81559, 1203)
    assert (FOUND[4].name, FOUND[4].total_mib) == ("NVIDIA GB10", None)
    assert parse_devices("No devices were found\n") == []


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (None, [0, 1, 2, 3, 4]),
        ("3,1", [3, 1]),
        (" 2 ", [2]),
        ("GPU-9e02,GPU-5a", [3, 0]),
        ("GPU-77,1", []),  # two begin so
        ("1,9,2", [1]),  # as CUDA reads it: the first that is none ends the list
        ("1,1", [1]),
        ("", []),
        ("-1", []),
    ],
)
def test_what_cuda_visible_devices_leaves(setting: str | None, left: list[int]) -> None:
    assert [device.index for device in visible(FOUND, setting)] == left


H100 = replace(LLAMA_70B, target="local", gpu="H100")


def taken(choice: Choice) -> list[int]:
    return [device.index for device in choice.taken]


@pytest.mark.parametrize(
    ("gpu", "count", "ours", "others", "numbers"),
    [
        ("H100", 2, (), (), [1, 3]),  # 0 is in use, 2 is another kind
        ("H100", 1, (), (1,), [3]),  # another app's engine starts on 1 and has taken no memory yet
        ("H100", 3, (0,), (), [0, 1, 3]),  # the version before holds 0 and ends first
        ("L40S", 1, (), (), [2]),
        ("NVIDIA GB10", 1, (), (), [4]),  # which does not tell
    ],
)
def test_free_gpus_of_the_planned_kind_are_taken(
    gpu: str, count: int, ours: Sequence[int], others: Sequence[int], numbers: list[int]
) -> None:
    assert taken(choose_devices(FOUND, replace(H100, gpu=gpu, gpu_count=count), ours, others)) == numbers


def test_too_few_free_gpus_are_told_with_what_each_has_left() -> None:
    choice = choose_devices(FOUND, H100, (), (3,))
    assert choice.problem == (
        "local: planned are 2×H100, free is 1 of 3 (GPU 0: 1.2 of 79.6 GiB free; GPU 3: another app's). "
        "vLLM asks for 92% of each: end what runs there, or lower engine.gpu_memory_utilization."
    )
    small = replace(H100, gpu_count=1, engine_args=(("--gpu-memory-utilization", "0.02"),))
    assert taken(choose_devices(FOUND, small, (), ())) == [0]
    many = choose_devices(FOUND, replace(H100, gpu_count=4), (), ()).problem
    assert many == "local: planned are 4×H100, this machine has 3 beside L40S, NVIDIA GB10."
