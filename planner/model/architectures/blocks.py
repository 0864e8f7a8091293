"""What decoder layers are built of, as vLLM builds it: attention, MLP, mixture of experts, norms, buffers.

Every function returns a tuple of modules, so a layer is the sum of its blocks. Names are the engine's, below the
layer; ``Output.name`` is the checkpoint's name of a part that the engine fuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from planner.model.facts import Cache, Experts, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.facts import CacheKind, Module

    Modules = tuple[Module, ...]

# q, k, v and probability scales of every attention layer: vllm layers/attention set_default_quant_scales.
SCALE_NAMES = ("_k_scale", "_v_scale", "_q_scale", "_prob_scale")


class Heads(Struct, frozen=True):
    """Shape of one grouped-query attention."""

    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    v_head_dim: int | None = None  # None: head_dim

    @property
    def value_dim(self) -> int:
        return self.v_head_dim or self.head_dim


def norm(name: str, size: int, *, bias: bool = False, dtype: str | None = None) -> Modules:
    """RMSNorm, or LayerNorm with a bias: copied on every rank."""
    weight = Parameter(f"{name}.weight", (size,), dtype=dtype)
    return (weight, Parameter(f"{name}.bias", (size,), dtype=dtype)) if bias else (weight,)


def attention_scales(name: str = "self_attn.attn") -> Modules:
    """Four fp32 scalars per attention layer, each a storage of its own (512 bytes on the GPU)."""
    return tuple(Parameter(f"{name}.{scale}", (), dtype="float32", buffer=True, loaded=False) for scale in SCALE_NAMES)


def qkv_linear(heads: Heads, name: str = "self_attn.qkv_proj", *, bias: bool = False, gated: bool = False) -> Linear:
    """Fused q, k and v (QKVParallelLinear); ``gated``: q carries an output gate of its own width."""
    query = heads.num_heads * heads.head_dim * (2 if gated else 1)
    return Linear(
        name,
        heads.hidden_size,
        (
            Output(query, heads.num_heads, name="q_proj"),
            Output(heads.num_kv_heads * heads.head_dim, heads.num_kv_heads, replicable=True, name="k_proj"),
            Output(heads.num_kv_heads * heads.value_dim, heads.num_kv_heads, replicable=True, name="v_proj"),
        ),
        "column",
        bias=bias,
    )


def attention(
    heads: Heads,
    *,
    prefix: str = "self_attn",
    qkv: str = "qkv_proj",
    out: str = "o_proj",
    qkv_bias: bool = False,
    out_bias: bool = False,
    qk_norm: bool = False,
    gated: bool = False,
) -> Modules:
    """QKV, output projection, per-head q/k norms where asked for, and the engine's four scales."""
    projections = (
        qkv_linear(heads, f"{prefix}.{qkv}", bias=qkv_bias, gated=gated),
        Linear(
            f"{prefix}.{out}",
            heads.num_heads * heads.value_dim,
            (Output(heads.hidden_size),),
            "row",
            bias=out_bias,
            in_heads=heads.num_heads,
        ),
    )
    head_norms: Modules = ()
    if qk_norm:
        head_norms = norm(f"{prefix}.q_norm", heads.head_dim) + norm(f"{prefix}.k_norm", heads.head_dim)
    return (*projections, *head_norms, *attention_scales(f"{prefix}.attn"))


def attention_cache(
    heads: Heads, kind: CacheKind = "full", window_tokens: int | None = None, *, sinks: bool = False
) -> Cache:
    """The K and V that one such attention layer keeps."""
    return Cache(
        kind,
        num_kv_heads=heads.num_kv_heads,
        head_size=heads.head_dim,
        head_size_v=heads.v_head_dim,
        window_tokens=window_tokens,
        num_query_heads=heads.num_heads,
        sinks=sinks,
    )


def gated_mlp(
    hidden_size: int,
    intermediate_size: int,
    prefix: str = "mlp",
    *,
    bias: bool = False,
    quantizable: bool = True,
    names: tuple[str, str] = ("gate_up_proj", "down_proj"),
) -> Modules:
    """gate and up fused, then down (SwiGLU and its kin)."""
    gate_up = (Output(intermediate_size, name="gate_proj"), Output(intermediate_size, name="up_proj"))
    return (
        Linear(f"{prefix}.{names[0]}", hidden_size, gate_up, "column", bias=bias, quantizable=quantizable),
        Linear(
            f"{prefix}.{names[1]}",
            intermediate_size,
            (Output(hidden_size),),
            "row",
            bias=bias,
            quantizable=quantizable,
        ),
    )


def plain_mlp(
    hidden_size: int,
    intermediate_size: int,
    prefix: str = "mlp",
    *,
    bias: bool = True,
    quantizable: bool = True,
    names: tuple[str, str] = ("up_proj", "down_proj"),
) -> Modules:
    """up, activation, down."""
    up, down = (Output(intermediate_size),), (Output(hidden_size),)
    return (
        Linear(f"{prefix}.{names[0]}", hidden_size, up, "column", bias=bias, quantizable=quantizable),
        Linear(f"{prefix}.{names[1]}", intermediate_size, down, "row", bias=bias, quantizable=quantizable),
    )


def replicated(
    name: str,
    in_features: int,
    out_features: int,
    *,
    bias: bool = False,
    dtype: str | None = None,
    quantizable: bool = True,
) -> Linear:
    """A projection that every rank holds whole (ReplicatedLinear)."""
    return Linear(
        name, in_features, (Output(out_features),), "replicated", bias=bias, dtype=dtype, quantizable=quantizable
    )


def router(
    hidden_size: int,
    num_experts: int,
    name: str = "mlp.gate",
    *,
    bias: bool = False,
    dtype: str | None = None,
    correction_bias: str | None = None,
    correction_dtype: str | None = "float32",
    quantizable: bool = False,
) -> Modules:
    """The gate that picks experts, whole on every rank; ``correction_bias`` names a per-expert bias.

    Few classes let it be ``quantizable``.
    """
    gate = replicated(name, hidden_size, num_experts, bias=bias, dtype=dtype, quantizable=quantizable)
    if correction_bias is None:
        return (gate,)
    return (gate, Parameter(correction_bias, (num_experts,), dtype=correction_dtype))


def experts(
    hidden_size: int,
    intermediate_size: int,
    count: int,
    top_k: int,
    name: str = "mlp.experts",
    *,
    gated: bool = True,
    bias: bool = False,
) -> Modules:
    """The routed experts of one layer (FusedMoE)."""
    return (Experts(name, count, top_k, hidden_size, intermediate_size, gated=gated, bias=bias),)
