"""Work: what one decode step and one prompt token cost a model, counted over its modules and caches.

Counted once per model, dtype and quantization; the division over tensor and pipeline ranks is done by the caller,
so that a plan's hundred candidates share one count.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from planner.model.facts import ITEMSIZE_BYTES, Embedding, Experts, Linear, Parameter
from planner.model.quantization import engine_quantization, scheme_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.model.facts import Cache, Layer, LayerRun, ModelFacts, Module
    from planner.model.quantization import ModuleKind, Quantization, Scheme
    from planner.model.quantization.scheme import Storage

# How a matrix is multiplied: 16-bit, or by the bits of its weight (and of its activations where both are narrow).
Format = Literal["dense", "fp8", "int8", "int8_weight", "int4_weight", "nvfp4", "mxfp4"]
FORMATS: dict[Storage, Format] = {"fp8": "fp8", "mxfp8": "fp8", "int8": "int8", "mxfp4": "mxfp4", "nvfp4": "nvfp4"}
NARROW = frozenset({"fp8", "int8", "nvfp4"})  # activations are quantized before every product
ONE_BYTE_SCALES = frozenset({"mxfp4", "mxfp8", "nvfp4"})


class Matrices(Struct, frozen=True):
    """Linear layers that are stored and multiplied alike. ``copied``: whole on every tensor-parallel rank."""

    format: Format
    elements: int
    nbytes: float
    copied: bool


class ExpertLayers(Struct, frozen=True):
    """``layers`` alike mixture-of-experts layers; elements and bytes of one expert of one layer."""

    format: Format
    layers: int
    count: int
    top_k: int
    elements: int
    nbytes: float


class CacheLayers(Struct, frozen=True):
    """``layers`` alike caches. Elements per token that a step reads, before the KV cache's dtype."""

    layers: int
    elements_per_token: int
    extra_bytes_per_token: int
    kv_heads: int  # 0: the same on every rank (MLA)
    window_tokens: int | None
    score_width: int  # query heads x (width of K + width of V): elements multiplied per query and cached token
    state_elements: int  # per request, whatever its length (mamba, linear attention)
    picked_tokens: int | None = None  # of all that is cached, an indexer picks so many for each query
    index_width: int = 0  # heads x width of the indexer, which scores all of them, on every rank


Layers = TypeVar("Layers", ExpertLayers, CacheLayers)


class Work(Struct, frozen=True):
    """All layers of one model. ``reductions``: all-reduces of one pass over a batch."""

    matrices: tuple[Matrices, ...]
    experts: tuple[ExpertLayers, ...]
    caches: tuple[CacheLayers, ...]
    head: Matrices
    itemsize_bytes: int
    hidden_size: int
    layers: int
    narrow_layers: int  # layers whose activations are quantized before each product
    block_layers: int  # of them those quantized in blocks, each with a scale found on the way
    reductions: int
    norm_reductions: int  # of one number a token: a norm over what is divided over ranks


@lru_cache(maxsize=64)
def count_work(facts: ModelFacts, dtype: str, online_quantization: str | None = None) -> Work:
    """The work of ``facts`` run in ``dtype``; ``online_quantization`` as EngineConfig.quantization."""
    quantization = engine_quantization(facts, online_quantization)
    itemsize = ITEMSIZE_BYTES[dtype]
    matrices: list[Matrices] = []
    experts: list[ExpertLayers] = []
    caches: list[CacheLayers] = []
    reductions = norm_reductions = narrow_layers = block_layers = first = 0
    for run in facts.layers:
        prefix = f"{facts.layers_prefix}.{first + run.count // 2}"  # exceptions sit at a run's ends
        found = [*_linears(run, prefix, quantization, itemsize)]
        routed = [*_experts(run, prefix, quantization, itemsize)]
        matrices += found
        experts += routed
        caches += [_cache_layers(cache, run, facts.index_topk) for cache in run.layer.caches]
        formats = {part.format for part in found} | {part.format for part in routed}
        narrow_layers += run.count * bool(formats & NARROW)
        block_layers += run.count * _has_blocks(run, prefix, quantization)
        reductions += run.count * _reductions(run.layer)
        norm_reductions += run.count * any(map(_norms_over_ranks, run.layer.modules))
        first += run.count
    return Work(
        matrices=_merged_matrices(matrices),
        experts=tuple(_merged(experts)),
        caches=tuple(_merged(caches)),
        head=_head(facts, quantization, itemsize),
        itemsize_bytes=itemsize,
        hidden_size=facts.hidden_size,
        layers=facts.num_hidden_layers,
        narrow_layers=narrow_layers,
        block_layers=block_layers,
        reductions=reductions,
        norm_reductions=norm_reductions,
    )


def _merged(rows: list[Layers]) -> list[Layers]:
    """Rows that differ in nothing but ``layers`` as one, in the order in which they come first."""
    layers: dict[Layers, int] = {}
    for row in rows:
        alike = replace(row, layers=0)
        layers[alike] = layers.get(alike, 0) + row.layers
    return [replace(alike, layers=count) for alike, count in layers.items()]


def _merged_matrices(rows: list[Matrices]) -> tuple[Matrices, ...]:
    sums: dict[tuple[Format, bool], Matrices] = {}
    for row in rows:
        before = sums.get((row.format, row.copied), Matrices(row.format, 0, 0.0, row.copied))
        sums[row.format, row.copied] = replace(
            before, elements=before.elements + row.elements, nbytes=before.nbytes + row.nbytes
        )
    return tuple(sums.values())


def format_of(scheme: Scheme | None) -> Format:
    """The format that a quantization scheme is multiplied in."""
    if scheme is None:
        return "dense"
    if scheme.storage == "int":
        return "int4_weight" if scheme.bits <= 4 else "int8_weight"
    if scheme.weight_only and scheme.storage in {"fp8", "mxfp8"}:
        return "int8_weight"
    return FORMATS[scheme.storage]


def bytes_per_element(scheme: Scheme | None, itemsize: int) -> float:
    """Stored bytes of one weight with its share of the scales."""
    if scheme is None:
        return float(itemsize)
    scales = 0.0
    if scheme.block:
        scales = scheme.block_scale_bytes / (scheme.block[0] * scheme.block[1])
    elif scheme.group_size > 0:
        scales = (1 if scheme.storage in ONE_BYTE_SCALES else itemsize) / scheme.group_size
    return scheme.bits / 8 + scales


def _linears(run: LayerRun, prefix: str, quantization: Quantization, itemsize: int) -> Iterator[Matrices]:
    for module in run.layer.modules:
        if isinstance(module, Linear):
            parts = tuple(output.name for output in module.outputs if output.name)
            scheme = _scheme(module, f"{prefix}.{module.name}", "linear", quantization, parts)
            elements = run.count * module.in_features * module.out_features
            nbytes = elements * bytes_per_element(scheme, itemsize)
            yield Matrices(format_of(scheme), elements, nbytes, module.split == "replicated")


def _experts(run: LayerRun, prefix: str, quantization: Quantization, itemsize: int) -> Iterator[ExpertLayers]:
    for module in run.layer.modules:
        if isinstance(module, Experts):
            scheme = _scheme(module, f"{prefix}.{module.name}", "experts", quantization, ())
            elements = (3 if module.gated else 2) * module.hidden_size * module.intermediate_size
            nbytes = elements * bytes_per_element(scheme, itemsize)
            yield ExpertLayers(format_of(scheme), run.count, module.count, module.top_k, elements, nbytes)


def _scheme(
    module: Linear | Experts, name: str, kind: ModuleKind, quantization: Quantization, parts: tuple[str, ...]
) -> Scheme | None:
    return scheme_for(quantization, name, kind, parts) if module.quantizable else None


def _has_blocks(run: LayerRun, prefix: str, quantization: Quantization) -> bool:
    """Whether a layer's weights, and so its activations, have scales per block (DeepSeek's FP8)."""
    linears = (module for module in run.layer.modules if isinstance(module, Linear))
    schemes = (_scheme(module, f"{prefix}.{module.name}", "linear", quantization, ()) for module in linears)
    return any(scheme is not None and scheme.block is not None for scheme in schemes)


def _cache_layers(cache: Cache, run: LayerRun, index_topk: int) -> CacheLayers:
    """Latent attention reads prompts as heads of keys and values that it makes of the latents (mla_attention.py
    forward_mha), and what is cached as one latent (forward_mqa); with an indexer it does both the second way."""
    layers = run.count
    if cache.kind in {"mamba", "none"}:
        states = sum(_product(state.shape) for state in cache.states)
        return CacheLayers(layers, 0, 0, 1, None, 0, states)
    if cache.state_bytes is not None:  # rows in a format of their own, one for several tokens
        width = cache.num_query_heads * 2 * cache.head_size // cache.tokens_per_state
        nbytes = -(-cache.state_bytes // cache.tokens_per_state)
        return CacheLayers(layers, 0, nbytes, 0, cache.window_tokens, width, 0)
    if cache.kind == "mla":
        latent = CacheLayers(layers, cache.head_size, cache.extra_bytes_per_token, 0, cache.window_tokens, 0, 0)
        if cache.sparse:
            width = cache.num_query_heads * (2 * cache.head_size - cache.qk_rope_head_dim)
            return replace(latent, score_width=width, picked_tokens=index_topk or None, index_width=_index_width(run))
        return replace(
            latent, score_width=cache.num_query_heads * (2 * cache.qk_nope_head_dim + cache.qk_rope_head_dim)
        )
    both = cache.head_size + (cache.head_size_v or cache.head_size)
    heads = cache.num_query_heads or cache.num_kv_heads
    return CacheLayers(
        layers,
        cache.num_kv_heads * both,
        cache.extra_bytes_per_token,
        cache.num_kv_heads,
        cache.window_tokens,
        heads * both,
        0,
    )


def _index_width(run: LayerRun) -> int:
    """0 where a layer takes what another's indexer picked."""
    return sum(
        module.out_features
        for module in run.layer.modules
        if isinstance(module, Linear) and module.name.endswith("indexer.wq_b")
    )


def _reductions(layer: Layer) -> int:
    """One all-reduce after the mixer and one after the MLP; a shared expert joins its layer's."""
    ends = sum(
        isinstance(module, Experts) or (isinstance(module, Linear) and module.split == "row")
        for module in layer.modules
    )
    return min(2, ends)


def _norms_over_ranks(module: Module) -> bool:
    """A norm over all query heads that are divided over ranks (MiniMaxText01RMSNormTP.forward_qkv)."""
    return (
        isinstance(module, Parameter)
        and module.name.endswith("q_norm.weight")
        and module.split_dim == 0
        and module.heads is None
    )


def _head(facts: ModelFacts, quantization: Quantization, itemsize: int) -> Matrices:
    elements = facts.vocab_size * facts.hidden_size
    scheme = None
    for module in _embeddings(facts.lm_head):
        if module.quantizable:
            scheme = scheme_for(quantization, module.name, "head")
    return Matrices(format_of(scheme), elements, elements * bytes_per_element(scheme, itemsize), copied=False)


def _embeddings(modules: tuple[Module, ...]) -> Iterator[Embedding]:
    return (module for module in modules if isinstance(module, Embedding))


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
