"""Bytes of weights on each GPU: "Model loading took", as vLLM logs it for tensor-parallel rank 0.

The figure is what torch has allocated after loading (vllm/utils/mem_utils.py DeviceMemoryProfiler): the sum over all
storages, parameters and buffers, each rounded up to the allocator's 512 bytes.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.engine import V0_33
from planner.memory.formats import expert_tensors, head_tensors, linear_tensors
from planner.memory.stages import stage_ranges, stage_runs
from planner.model.facts import ITEMSIZE_BYTES, Embedding, Experts, Linear, Parameter
from planner.model.quantization import engine_quantization

if TYPE_CHECKING:
    from collections.abc import Iterable

    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.model.facts import Layer, ModelFacts, Module
    from planner.model.quantization import Quantization, Scheme

ALLOCATION_BYTES = 512  # c10/cuda/CUDACachingAllocator kMinBlockSize
EXPERT_MAP_ITEM_BYTES = 4  # fused_moe/expert_map_manager.py: int32 per expert
INDEX_ITEM_BYTES = 4  # models/deepseek_v2.py topk_indices_buffer: int32 [max_num_batched_tokens, index_topk]

Schemes = tuple["Scheme | None", ...]


def stage_loading_bytes(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int) -> tuple[int, ...]:
    """Model loading of each pipeline stage, rank 0, bytes."""
    return _stage_loading_bytes(Rank(facts, gpu, engine, tp), pp)


class Rank:
    """Rank 0 of ``tp`` under one engine: what decides the bytes of a module. Equal where those are equal."""

    __slots__ = ("_key", "dtype", "engine", "ep_size", "facts", "gpu", "tp")

    def __init__(self, facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int) -> None:
        self.facts, self.gpu, self.engine, self.tp = facts, gpu, engine, tp
        self.dtype = engine.dtype
        self.ep_size = tp if engine.enable_expert_parallel and tp > 1 else 1
        self._key = (
            id(facts),
            gpu.compute_capability,
            engine.rules,
            engine.dtype,
            engine.quantization,
            engine.flashinfer,
            engine.language_model_only,
            engine.max_num_batched_tokens if facts.index_topk or facts.deepstack_levels else 0,
            tp,
            self.ep_size,
        )

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rank) and self._key == other._key


@lru_cache(maxsize=2048)
def _stage_loading_bytes(rank: Rank, pp: int) -> tuple[int, ...]:
    return tuple(_stage_bytes(rank, pp, stage) for stage in range(pp))


def _stage_bytes(rank: Rank, pp: int, stage: int) -> int:
    facts = rank.facts
    quantization = engine_quantization(facts, rank.engine.quantization)
    rest = [*facts.everywhere]
    everywhere = facts.tables_everywhere or facts.embedding_everywhere
    if stage == 0 or everywhere:
        rest += facts.embedding
    if stage == 0:
        rest += facts.first_only
    if stage == pp - 1 or facts.tables_everywhere:
        rest += [*facts.lm_head, *facts.final]
    if stage == pp - 1 > 0 and facts.tied_embedding and not everywhere:
        rest += facts.embedding
    layers = 0
    shared: dict[str, Parameter] = {}
    for schemes, layer, count in _layer_groups(facts, quantization, pp, stage):
        layers += count * _layer_bytes(rank, layer, schemes)
        shared |= _shared(layer.modules)
    tower = () if stage or rank.engine.language_model_only else facts.tower
    shared |= _shared((*rest, *tower))
    outside = _plain_bytes(rank, rest, quantization) + _plain_bytes(_tower_rank(rank), tower, quantization)
    buffers = sum(_parameter_bytes(rank, module) for module in shared.values())
    indices = rounded(rank.engine.max_num_batched_tokens * facts.index_topk * INDEX_ITEM_BYTES)
    return layers + outside + buffers + indices + _deepstack_bytes(rank)


def _plain_bytes(rank: Rank, modules: Iterable[Module], quantization: Quantization) -> int:
    return sum(
        _module_bytes(rank, module, _scheme(quantization, "", module)) for module in modules if not _is_shared(module)
    )


def _tower_rank(rank: Rank) -> Rank:
    """models/vision.py is_vit_use_data_parallel: heads that do not divide leave the tower whole."""
    heads = rank.facts.tower_heads
    return Rank(rank.facts, rank.gpu, rank.engine, 1) if heads and heads % rank.tp else rank


def _deepstack_bytes(rank: Rank) -> int:
    """models/qwen3_vl.py deepstack_input_embeds: [max_num_batched_tokens, hidden_size] per level."""
    if rank.engine.language_model_only:
        return 0
    rows = rank.engine.max_num_batched_tokens * rank.facts.hidden_size
    return rank.facts.deepstack_levels * rounded(rows * ITEMSIZE_BYTES[rank.dtype])


def _layer_groups(
    facts: ModelFacts, quantization: Quantization, pp: int, stage: int
) -> list[tuple[Schemes, Layer, int]]:
    """Layers of a stage that are alike in modules and in formats, with their number."""
    runs = stage_runs(facts, pp)[stage]
    if quantization.matching == "uniform":
        return [(layer_schemes(facts, quantization, run.layer, 0), run.layer, run.count) for run in runs]
    groups: Counter[tuple[Schemes, Layer]] = Counter()
    index = stage_ranges(facts.num_hidden_layers, pp)[stage].start
    for run in runs:
        for _ in range(run.count):
            groups[layer_schemes(facts, quantization, run.layer, index), run.layer] += 1
            index += 1
    return [(schemes, layer, count) for (schemes, layer), count in groups.items()]


@lru_cache(maxsize=16384)
def layer_schemes(facts: ModelFacts, quantization: Quantization, layer: Layer, index: int) -> Schemes:
    """The scheme of each module of layer ``index``, in order; None where it stays as it is."""
    prefix = f"{facts.layers_prefix}.{index}."
    return tuple(_scheme(quantization, prefix, module) for module in layer.modules)


def _scheme(quantization: Quantization, prefix: str, module: Module) -> Scheme | None:
    if isinstance(module, Parameter) or not module.quantizable or quantization.method is None:
        return None
    if isinstance(module, Linear):
        parts = tuple(output.name for output in module.outputs if output.name)
        return quantization.scheme_for(prefix + module.name, "linear", parts)
    if isinstance(module, Experts):
        return quantization.scheme_for(prefix + module.name, "experts")
    return quantization.scheme_for(prefix + module.name, "head")


@lru_cache(maxsize=16384)
def _layer_bytes(rank: Rank, layer: Layer, schemes: Schemes) -> int:
    modules = zip(layer.modules, schemes, strict=True)
    return sum(_module_bytes(rank, module, scheme) for module, scheme in modules if not _is_shared(module))


def _module_bytes(rank: Rank, module: Module, scheme: Scheme | None) -> int:
    return sum(map(rounded, _storages(rank, module, scheme)))


def _storages(rank: Rank, module: Module, scheme: Scheme | None) -> tuple[int, ...]:
    """Bytes of each storage of the module on this rank, unrounded."""
    if isinstance(module, Linear):
        return linear_tensors(module, scheme, rank.dtype, rank.gpu, rank.engine, rank.tp)
    if isinstance(module, Experts):
        tensors = expert_tensors(module, scheme, rank.dtype, rank.gpu, rank.engine, rank.tp, rank.ep_size)
        mapped = module.mapped and rank.ep_size > 1
        return (*tensors, module.count * EXPERT_MAP_ITEM_BYTES) if mapped else tensors
    if isinstance(module, Embedding):
        return _embedding_storages(rank, module, scheme)
    return (_parameter_bytes(rank, module),)


def _embedding_storages(rank: Rank, module: Embedding, scheme: Scheme | None) -> tuple[int, ...]:
    split = 1 if rank.facts.head_replicated and module in rank.facts.lm_head else rank.tp
    rows = padded_vocab(module) // split
    bias = (rows * ITEMSIZE_BYTES[rank.dtype],) if module.bias else ()
    if scheme is not None:
        return (*head_tensors(rows, module.hidden_size, scheme, rank.dtype, rank.gpu, rank.engine), *bias)
    return (rows * module.hidden_size * ITEMSIZE_BYTES[rank.dtype], *bias)


def padded_vocab(module: Embedding) -> int:
    """Rows of a vocabulary table before it is split (vocab_parallel_embedding.py pad_vocab_size)."""
    return -(-module.vocab_size // module.pad_to) * module.pad_to


def _parameter_bytes(rank: Rank, module: Parameter) -> int:
    if module.shape_before_0_33 and rank.engine.rules < V0_33:
        module = replace(module, shape=module.shape_before_0_33)
    return rounded(parameter_elements(module, rank.tp) * ITEMSIZE_BYTES[module.dtype or rank.dtype])


def parameter_elements(module: Parameter, tp: int) -> int:
    """Elements on one rank; a split between heads keeps one head where ranks outnumber them."""
    if module.split_dim is None:
        return prod(module.shape)
    ways = min(tp, module.heads) if module.heads else tp
    size = module.shape[module.split_dim]
    return prod(module.shape) // size * (size // ways)


def _is_shared(module: Module) -> bool:
    return isinstance(module, Parameter) and module.shared_key is not None


def _shared(modules: Iterable[Module]) -> dict[str, Parameter]:
    return {module.shared_key: module for module in modules if isinstance(module, Parameter) and module.shared_key}


def rounded(nbytes: int) -> int:
    """The allocator's smallest block."""
    return -(-nbytes // ALLOCATION_BYTES) * ALLOCATION_BYTES
