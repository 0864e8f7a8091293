"""Layers that keep a state per request instead of keys and values: their modules and what they cache.

vllm/model_executor/layers/mamba: gdn/qwen_gdn_linear_attn.py, mamba_mixer2.py, mamba_mixer.py, short_conv.py; state
shapes from mamba_utils.py MambaStateShapeCalculator. Convolutions are linear layers there, so they are here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from planner.model.architectures.blocks import norm
from planner.model.facts import Cache, Linear, Output, Parameter, StateTensor

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules


class DeltaHeads(Struct, frozen=True):
    """Shape of one gated delta net."""

    hidden_size: int
    key_heads: int
    value_heads: int
    key_dim: int  # of one head
    value_dim: int
    conv_kernel: int

    @property
    def keys(self) -> int:
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        return self.value_heads * self.value_dim


def gated_delta_net(
    heads: DeltaHeads, names: tuple[tuple[str, ...], tuple[str, ...]], prefix: str = "linear_attn"
) -> Modules:
    """One gated delta net (QwenGatedDeltaNetAttention).

    ``names``: the checkpoint's parts of in_proj_qkvz (q, k and v together or not, then z) and of in_proj_ba: b and a,
    or one for both where they are interleaved by key head and stay one part of the layer (create_ba_proj).
    """
    qkvz = (heads.keys, heads.keys, heads.values, heads.values)
    parts = (heads.key_heads, heads.key_heads, heads.value_heads, heads.value_heads)
    count = len(names[1])
    ba = _named((2 * heads.value_heads // count,) * count, (heads.value_heads,) * count, names[1])
    return (
        Linear(
            f"{prefix}.conv1d",
            heads.conv_kernel,
            tuple(Output(width, count) for width, count in zip(qkvz[:3], parts[:3], strict=True)),
            "column",
            quantizable=False,
        ),
        Linear(f"{prefix}.in_proj_qkvz", heads.hidden_size, _named(qkvz, parts, names[0]), "column"),
        Linear(f"{prefix}.in_proj_ba", heads.hidden_size, ba, "column"),
        Parameter(f"{prefix}.dt_bias", (heads.value_heads,), split_dim=0),
        Parameter(f"{prefix}.A_log", (heads.value_heads,), split_dim=0, dtype="float32"),
        *norm(f"{prefix}.norm", heads.value_dim),
        Linear(f"{prefix}.out_proj", heads.values, (Output(heads.hidden_size),), "row", in_heads=heads.value_heads),
    )


def _named(widths: tuple[int, ...], heads: tuple[int, ...], names: tuple[str, ...]) -> tuple[Output, ...]:
    return tuple(Output(width, count, name=name) for width, count, name in zip(widths, heads, names, strict=True))


def delta_cache(heads: DeltaHeads, state_dtype: str | None) -> Cache:
    """The last tokens of the convolution and one matrix per value head (gated_delta_net_state_shape)."""
    return Cache(
        "mamba",
        head_size=heads.key_dim,
        mamba_type="gdn",
        checkpoint_blocks=True,
        states=(
            StateTensor((heads.conv_kernel - 1, 2 * heads.keys + heads.values), 1, role="conv"),
            StateTensor((heads.value_heads, heads.value_dim, heads.key_dim), 0, dtype=state_dtype),
        ),
    )


class Mamba2(Struct, frozen=True):
    """Shape of one Mamba-2 mixer."""

    hidden_size: int
    intermediate_size: int
    heads: int
    head_dim: int
    groups: int
    state_size: int
    conv_kernel: int
    conv_bias: bool
    bias: bool
    rms_norm: bool = True

    @property
    def group_outputs(self) -> tuple[Output, Output]:
        """B and C: cut between groups; a single group is copied to every rank."""
        part = Output(self.groups * self.state_size, self.groups, replicable=True)
        return (part, part)


def mamba2_mixer(shape: Mamba2, prefix: str = "mixer") -> Modules:
    """One Mamba-2 mixer (MambaMixer2)."""
    inner = Output(shape.intermediate_size)
    return (
        Linear(
            f"{prefix}.conv1d",
            shape.conv_kernel,
            (inner, *shape.group_outputs),
            "column",
            bias=shape.conv_bias,
            quantizable=False,
        ),
        Linear(
            f"{prefix}.in_proj",
            shape.hidden_size,
            (inner, inner, *shape.group_outputs, Output(shape.heads, shape.heads)),
            "column",
            bias=shape.bias,
        ),
        Parameter(f"{prefix}.A", (shape.heads,), split_dim=0, dtype="float32"),
        Parameter(f"{prefix}.D", (shape.heads,), split_dim=0),
        Parameter(f"{prefix}.dt_bias", (shape.heads,), split_dim=0),
        Linear(f"{prefix}.out_proj", shape.intermediate_size, (Output(shape.hidden_size),), "row", bias=shape.bias),
        *((Parameter(f"{prefix}.norm.weight", (shape.intermediate_size,), split_dim=0),) if shape.rms_norm else ()),
    )


def mamba2_cache(shape: Mamba2, state_dtype: str | None = None) -> Cache:
    """mamba2_state_shape: the convolution's x, B and C of the last tokens, and a matrix per head."""
    tail = shape.conv_kernel - 1
    return Cache(
        "mamba",
        mamba_type="mamba2",
        checkpoint_blocks=True,
        states=(
            StateTensor((tail, shape.intermediate_size), 1, role="conv"),
            StateTensor((tail, 2 * shape.groups * shape.state_size), 1, role="conv", groups=shape.groups),
            StateTensor((shape.heads, shape.head_dim, shape.state_size), 0, dtype=state_dtype),
        ),
    )


class Mamba1(Struct, frozen=True):
    """Shape of one Mamba-1 mixer."""

    hidden_size: int
    intermediate_size: int
    state_size: int
    conv_kernel: int
    time_step_rank: int
    conv_bias: bool
    bias: bool
    inner_norms: bool = False  # norms with weights over dt, B and C


def mamba1_mixer(shape: Mamba1, prefix: str = "mixer") -> Modules:
    """One Mamba-1 mixer (MambaMixer): never quantized."""
    inner, hidden = shape.intermediate_size, shape.hidden_size
    x_width = shape.time_step_rank + 2 * shape.state_size
    linears = (
        Linear(f"{prefix}.conv1d", shape.conv_kernel, (Output(inner),), "column", bias=shape.conv_bias),
        Linear(f"{prefix}.in_proj", hidden, (Output(inner), Output(inner)), "column", bias=shape.bias),
        Linear(f"{prefix}.x_proj", inner, (Output(x_width),), "row"),
        Linear(f"{prefix}.dt_proj", shape.time_step_rank, (Output(inner),), "column", bias=True),
        Linear(f"{prefix}.out_proj", inner, (Output(hidden),), "row", bias=shape.bias),
    )
    inner_norms: Modules = ()
    if shape.inner_norms:
        widths = (("dt", shape.time_step_rank), ("b", shape.state_size), ("c", shape.state_size))
        inner_norms = tuple(Parameter(f"{prefix}.{name}_layernorm.weight", (width,)) for name, width in widths)
    return (
        *(_unquantized(linear) for linear in linears),
        Parameter(f"{prefix}.A", (inner, shape.state_size), split_dim=0, dtype="float32"),
        Parameter(f"{prefix}.D", (inner,), split_dim=0),
        *inner_norms,
    )


def _unquantized(linear: Linear) -> Linear:
    return Linear(linear.name, linear.in_features, linear.outputs, linear.split, bias=linear.bias, quantizable=False)


def mamba1_cache(shape: Mamba1) -> Cache:
    """mamba1_state_shape."""
    return Cache(
        "mamba",
        mamba_type="mamba1",
        states=(
            StateTensor((shape.conv_kernel - 1, shape.intermediate_size), 1, role="conv"),
            StateTensor((shape.intermediate_size, shape.state_size), 0),
        ),
    )


def short_conv(width: int, kernel: int, prefix: str = "short_conv", *, bias: bool = False) -> Modules:
    """A gated short convolution (ShortConv)."""
    return (
        Linear(f"{prefix}.conv", kernel, (Output(width),), "column", bias=bias, quantizable=False),
        Linear(f"{prefix}.in_proj", width, (Output(width),) * 3, "column", bias=bias),
        Linear(f"{prefix}.out_proj", width, (Output(width),), "row", bias=bias),
    )


def short_conv_cache(width: int, kernel: int) -> Cache:
    """The last tokens that the convolution still needs (short_conv_state_shape)."""
    state = StateTensor((kernel - 1, width), 1, role="conv")
    return Cache("mamba", mamba_type="short_conv", states=(state,))
