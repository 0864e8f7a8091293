"""Faults: what goes wrong with one RPC, when, and how often."""

from __future__ import annotations

from dataclasses import dataclass

FOREVER = 10**9


@dataclass
class Fault:
    """``after`` calls pass, then ``times`` calls go wrong: an error, a delay, no answer, or a cut connection.

    ``drop`` cuts before the call has an effect, ``lost`` after it: only the answer is gone.
    """

    rpc: str
    error: str = ""  # a gRPC status name such as UNAVAILABLE
    message: str = "injected by the test"
    delay_s: float = 0.0
    hang: bool = False
    drop: bool = False
    lost: bool = False
    after: int = 0
    times: int = FOREVER

    def strikes(self) -> bool:
        """Count one call; whether it is one that goes wrong."""
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return self.times >= 0


def parse_fault(text: str) -> Fault:
    """A fault as written on the command line: RPC=UNAVAILABLE, RPC=delay:2, RPC=hang, drop or lost, RPC=INTERNAL@3."""
    rpc, _, what = text.partition("=")
    what, _, after = what.partition("@")
    passed = int(after or 0)
    if what.startswith("delay:"):
        return Fault(rpc, delay_s=float(what.removeprefix("delay:")), after=passed)
    if what in {"hang", "drop", "lost"}:
        return Fault(rpc, hang=what == "hang", drop=what == "drop", lost=what == "lost", after=passed)
    return Fault(rpc, error=what, after=passed)
