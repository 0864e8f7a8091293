"""The part of a linear layer or of routed experts that tensor-parallel rank 0 holds, before any format."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from planner.model.facts import Experts, Linear, Output


class LinearShard(Struct, frozen=True):
    """Weight [sum(outputs), in_features] of one rank; ``outputs`` are the fused parts."""

    in_features: int
    outputs: tuple[int, ...]
    full_in_features: int
    full_out_features: int
    bias: bool

    @property
    def out_features(self) -> int:
        return sum(self.outputs)


class ExpertShard(Struct, frozen=True):
    """w13 [count, gates * intermediate, hidden] and w2 [count, hidden, intermediate] of one rank."""

    count: int
    intermediate: int
    hidden: int
    gated: bool
    bias: bool
    full_intermediate: int
    full_count: int

    @property
    def gates(self) -> int:
        """Projections fused into w13: gate and up, or up alone."""
        return 2 if self.gated else 1

    @property
    def w13_rows(self) -> int:
        return self.intermediate * self.gates


def output_features(output: Output, tp: int) -> int:
    """Rows of one fused part on a rank; heads stored several times keep one head per rank."""
    if output.heads and output.replicable and tp >= output.heads:
        return output.features // output.heads
    return output.features // tp


def linear_shard(linear: Linear, tp: int) -> LinearShard:
    """vllm layers/linear.py: column-parallel layers split outputs, row-parallel ones the input."""
    if linear.whole_unless and linear.whole_unless % tp:
        tp = 1
    split_out = tp if linear.split == "column" else 1
    split_in = tp if linear.split == "row" else 1
    return LinearShard(
        linear.in_features // split_in,
        _chunked_outputs(linear, tp) or tuple(output_features(output, split_out) for output in linear.outputs),
        linear.in_features,
        linear.out_features,
        linear.bias,
    )


def _chunked_outputs(linear: Linear, tp: int) -> tuple[int, ...]:
    """Queries, and the chunks of K and V padded each, where a rank holds several of them; else none."""
    if linear.kv_chunks is None or linear.kv_chunks[0] <= tp or linear.kv_chunks[0] % tp:
        return ()
    chunks, rows = linear.kv_chunks
    return linear.outputs[0].features // tp, chunks // tp * rows


def expert_shard(experts: Experts, tp: int, ep_size: int) -> ExpertShard:
    """Expert parallelism keeps widths whole; rank 0 holds the ceiling (determine_expert_map)."""
    width_split = 1 if ep_size > 1 else tp
    return ExpertShard(
        ceil(experts.count / ep_size),
        experts.intermediate_size // width_split,
        experts.hidden_size,
        experts.gated,
        experts.bias,
        experts.intermediate_size,
        experts.count,
    )
