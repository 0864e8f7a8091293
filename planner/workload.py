"""Workload: the load a configuration is judged under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """The spec's load; lengths that the spec leaves out are the defaults, clipped to what max_model_len can hold."""
    limit = spec.engine.max_model_len
    longest = limit if isinstance(limit, int) else facts.max_model_len
    asked = spec.workload
    if asked is None:
        input_tokens, output_tokens = _clipped(None, None, longest)
        return Workload(input_tokens=input_tokens, output_tokens=output_tokens)
    input_tokens, output_tokens = _clipped(asked.input_tokens, asked.output_tokens, longest)
    return Workload(asked.concurrency, input_tokens, output_tokens, asked.requests, asked.requests_per_hour)


def _clipped(input_tokens: int | None, output_tokens: int | None, longest: int) -> tuple[int, int]:
    """Mean prompt and answer; None: the default, or what the other leaves of ``longest``, one token at least."""
    default = Workload()
    if output_tokens is None:
        room = longest // 2 if input_tokens is None else longest - input_tokens
        output_tokens = max(1, min(default.output_tokens, room))
    if input_tokens is None:
        input_tokens = max(1, min(default.input_tokens, longest - output_tokens))
    return input_tokens, output_tokens


def in_flight_per_container(workload: Workload, max_num_seqs: int) -> int:
    """Requests that one container is meant to have at a time: from there on the provider starts another."""
    return max(1, min(workload.requests or workload.concurrency, max_num_seqs))


def workload_warnings(workload: Workload, longest: int) -> Iterator[str]:
    """A load whose mean request is longer than the model's own limit (a limit in the spec is held against it there)."""
    if workload.request_tokens > longest:
        yield (
            f"workload: one request has {workload.input_tokens:,} + {workload.output_tokens:,} = "
            f"{workload.request_tokens:,} tokens, more than the model's {longest:,}: the engine would refuse it. "
            "Type shorter workload.input_tokens or output_tokens."
        )
