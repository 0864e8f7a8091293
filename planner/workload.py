"""Workload: the load a configuration is judged under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from planner.model.facts import ModelFacts
    from planner.spec import Spec


class Workload(Struct, frozen=True):
    """Mean request of a steady closed loop of ``concurrency``, or of one burst of ``requests``."""

    concurrency: int = 32
    input_tokens: int = 512
    output_tokens: int = 256
    requests: int | None = None
    requests_per_hour: float | None = None
    output_tokens_max: int | None = None  # the longest answer of a burst; None: all are of one length

    @property
    def request_tokens(self) -> int:
        """What the mean request has in the KV cache when its answer ends."""
        return self.input_tokens + self.output_tokens


def make_workload(spec: Spec, facts: ModelFacts) -> Workload:
    """The spec's load; a load the spec leaves out is the default, clipped to what max_model_len can hold."""
    asked = spec.workload
    if asked is not None:
        return Workload(
            asked.concurrency, asked.input_tokens, asked.output_tokens, asked.requests, asked.requests_per_hour
        )
    limit = spec.engine.max_model_len
    longest = limit if isinstance(limit, int) else facts.max_model_len
    default = Workload()
    output_tokens = min(default.output_tokens, max(1, longest // 2))
    return Workload(
        input_tokens=max(1, min(default.input_tokens, longest - output_tokens)), output_tokens=output_tokens
    )
