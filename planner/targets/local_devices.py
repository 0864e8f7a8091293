"""Which of the plan's GPUs a device of this machine is, by the name that nvidia-smi reports."""

from __future__ import annotations


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
