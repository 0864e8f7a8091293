"""The GPUs of this machine, as nvidia-smi lists them: which of the plan's each is, which are free, which to take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from planner.release import Release

QUERY = "index,uuid,memory.total,memory.free,name"  # the name last: only it may hold a comma
# nvidia-smi counts memory that the driver reserves and CUDA does not report, and knows of no context yet: the two
# differ by up to about this on idle GPUs.
APART_MIB = 1024
DEFAULT_UTILIZATION = 0.92  # vllm/config/cache.py, where the flag is not passed


class Device(Struct, frozen=True):
    """One GPU. ``index`` is nvidia-smi's number (PCI order); memory is None where it is not told (unified memory)."""

    index: int
    uuid: str
    name: str
    total_mib: int | None = None
    free_mib: int | None = None


class Choice(Struct, frozen=True):
    """The devices to serve on, or why there are not enough."""

    taken: tuple[Device, ...]
    problem: str | None = None


def parse_devices(text: str) -> list[Device]:
    """The answer of ``nvidia-smi --query-gpu=QUERY --format=csv,noheader,nounits``."""
    devices = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",", 4)]
        if len(fields) == 5 and fields[0].isdigit():
            total, free = (int(field) if field.isdigit() else None for field in fields[2:4])
            devices.append(Device(int(fields[0]), fields[1], fields[4], total, free))
    return devices


def visible(devices: Sequence[Device], setting: str | None) -> list[Device]:
    """What CUDA_VISIBLE_DEVICES leaves, in its order: numbers as nvidia-smi has them, or (beginnings of) UUIDs.

    As in CUDA, the first that is none ends the list.
    """
    if setting is None:
        return list(devices)
    left: list[Device] = []
    for word in setting.split(","):
        wanted = word.strip()
        found = [one for one in devices if str(one.index) == wanted or (wanted and one.uuid.startswith(wanted))]
        if len(found) != 1 or found[0] in left:
            break
        left += found
    return left


def choose_devices(
    devices: Sequence[Device], release: Release, ours: Collection[int], others: Collection[int]
) -> Choice:
    """The first free devices of the planned kind.

    ``ours``: numbers that the version before holds, which ends first; ``others``: those that other apps were given.
    """
    planned, count, share = release.gpu, release.gpu_count, _utilization(release)
    if len(devices) < count:
        return _none(f"planned are {count}×{planned}, this machine has {len(devices) or 'no GPU'}.")
    kin = [device for device in devices if device.name == planned]  # a name of nvidia-smi's own means that alone
    kin = kin or [device for device in devices if planned_name(device.name, planned) == planned]
    names = ", ".join(sorted({planned_name(device.name, planned) for device in devices} - {planned}))
    if not kin:
        return _none(f"planned is {planned}, this machine has {names}. Name it in gpu.types.")
    if len(kin) < count:
        return _none(f"planned are {count}×{planned}, this machine has {len(kin)} beside {names}.")
    free = [one for one in kin if one.index in ours or (one.index not in others and _is_free(one, share))]
    if len(free) < count:
        busy = "; ".join(_use(device, others) for device in kin if device not in free)
        return _none(
            f"planned are {count}×{planned}, free {'is' if len(free) == 1 else 'are'} {len(free)} of {len(kin)} "
            f"({busy}). vLLM asks for {share:.0%} of each: end what runs there, or lower engine.gpu_memory_utilization."
        )
    return Choice(tuple(free[:count]))


def _none(problem: str) -> Choice:
    return Choice((), f"local: {problem}")


def _utilization(release: Release) -> float:
    flags = {arg[0]: arg[-1] for arg in release.engine_args}
    return float(flags.get("--gpu-memory-utilization", DEFAULT_UTILIZATION))


def _is_free(device: Device, share: float) -> bool:
    """Whether vLLM would start there: it asks for its share of all memory at once (request_memory)."""
    if device.total_mib is None or device.free_mib is None:
        return True
    return device.free_mib >= share * device.total_mib - APART_MIB


def _use(device: Device, others: Collection[int]) -> str:
    if device.index in others:
        return f"GPU {device.index}: another app's"
    return f"GPU {device.index}: {(device.free_mib or 0) / 1024:.1f} of {(device.total_mib or 0) / 1024:.1f} GiB free"


def planned_name(device: str, planned: str) -> str:
    """``planned`` where the device is one, else the catalogue's name for it, or its own where that has none.

    An alias that may mean several GPUs (A100, B200+) is met by each of its family.
    """
    from planner.catalog import load_catalog

    offers = load_catalog(target="local").offers
    known, wanted = offers.get(device), offers.get(planned)
    if known is None:
        return planned if _has_family(device, planned) else device
    if wanted is None or known.planned_as == wanted.planned_as:
        return planned
    is_loose = not wanted.listed and not planned.endswith("!")
    if is_loose and (_has_family(device, planned) or (planned.endswith("+") and "B300" in device)):
        return planned
    return known.planned_as


def _has_family(device: str, planned: str) -> bool:
    """Whether it is one of its kin: "NVIDIA H100 80GB HBM3" is of the family of H100 and of H100-NVL."""
    family = planned.split("-", maxsplit=1)[0].rstrip("!+").upper()
    return family in device.upper().replace("-", " ").split()
