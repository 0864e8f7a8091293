"""Widths of one layer on one rank: how many values per token its projections hold at once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.memory.formats.shard import output_features
from planner.model.facts import Experts, Linear

if TYPE_CHECKING:
    from planner.model.facts import Layer


class LayerWidths(Struct, frozen=True):
    """Values per token. ``mlp_in``: gate and up together; ``mlp_out``: after the activation function.

    ``workspace``: values per token that the fused experts' two workspaces hold together, ``router`` fp32 values.
    ``context``: of MLA's kv_b_proj, per token of the chunked context. ``mixer``: all inputs of a linear-attention
    or Mamba layer.
    """

    attention_in: int  # the attention's output, which o_proj reads
    query: int
    key: int
    qkv: int
    mlp_in: int
    mlp_out: int
    workspace: int
    router: int
    context: int
    latent: int
    mixer: int
    dense_gemm: bool  # an unquantized GEMM runs in the layer: cuBLAS has its workspace


@lru_cache(maxsize=4096)
def layer_widths(layer: Layer, tp: int, ep_size: int, quantized: bool) -> LayerWidths:
    """The widths of ``layer`` on rank 0 of ``tp``; ``quantized``: its linear layers do not run through cuBLAS."""
    linears = [module for module in layer.modules if isinstance(module, Linear)]
    experts = [module for module in layer.modules if isinstance(module, Experts)]
    recurrent = any(cache.kind == "mamba" for cache in layer.caches)
    heads = [linear for linear in linears if any(output.heads for output in linear.outputs) and not linear.absorbed]
    widest_qkv = max(heads, key=lambda linear: _out(linear, tp), default=None)
    mlp = max((linear for linear in linears if _is_mlp(linear)), key=lambda linear: _out(linear, tp), default=None)
    columns = [linear for linear in linears if linear.split == "column"]
    hidden = max((linear.in_features for linear in columns), default=0)  # a convolution's weights read no hidden state
    mixers = heads or [linear for linear in columns if not _is_mlp(linear)]
    mixer_linears = [linear for linear in mixers if linear.in_features == hidden]
    return LayerWidths(
        attention_in=max((linear.in_features // tp for linear in linears if linear.in_heads), default=0),
        query=output_features(widest_qkv.outputs[0], tp) if widest_qkv else 0,
        key=output_features(widest_qkv.outputs[1], tp) if widest_qkv and len(widest_qkv.outputs) > 1 else 0,
        qkv=_out(widest_qkv, tp) if widest_qkv else 0,
        mlp_in=_out(mlp, tp) if mlp else 0,
        mlp_out=_out(mlp, tp) // len(mlp.outputs) if mlp else 0,
        workspace=max((_workspace(module, tp, ep_size) for module in experts), default=0),
        router=max((module.count for module in experts), default=0),
        context=max((_out(linear, tp) for linear in linears if linear.absorbed), default=0),
        latent=max((linear.in_features for linear in linears if linear.absorbed), default=0),
        mixer=sum(_out(linear, tp) for linear in mixer_linears) if recurrent else 0,
        dense_gemm=not quantized or any(not linear.quantizable for linear in linears),
    )


def _is_mlp(linear: Linear) -> bool:
    return linear.split == "column" and not any(output.heads for output in linear.outputs) and not linear.absorbed


def _out(linear: Linear, tp: int) -> int:
    if linear.split != "column":
        return linear.out_features
    return sum(output_features(output, tp) for output in linear.outputs)


def _workspace(experts: Experts, tp: int, ep_size: int) -> int:
    """Values per token of workspace13 and workspace2 (fused_moe/fused_moe.py TritonExperts.workspace_shapes)."""
    width = experts.intermediate_size if ep_size > 1 else experts.intermediate_size // tp
    gate_up = width * (2 if experts.gated else 1)
    return experts.top_k * (max(width, experts.hidden_size) + max(gate_up, experts.hidden_size))
