"""Bytes of weights on each GPU, tensor-parallel rank 0: of the storages, and of the blocks that hold them.

"Model loading took" is what torch has allocated after loading (vllm/utils/mem_utils.py DeviceMemoryProfiler): the sum
over all storages, parameters and buffers, each rounded up to 512 bytes, and on a real GPU each as large as its block.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, chain
from math import prod
from typing import TYPE_CHECKING, Literal, get_args

from msgspec.structs import replace

from planner.engine import V0_33
from planner.memory.allocator import block_bytes, rounded
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

EXPERT_MAP_ITEM_BYTES = 4  # fused_moe/expert_map_manager.py: int32 per expert
INDEX_ITEM_BYTES = 4  # models/deepseek_v2.py topk_indices_buffer: int32 [max_num_batched_tokens, index_topk]
INDEX_TOKEN_MULTIPLE = 4  # models/minimax_m3/nvidia/model.py: the same buffer [padded tokens, index heads, blocks]

Schemes = tuple["Scheme | None", ...]
Part = Literal["everywhere", "embedding", "first_only", "lm_head", "final", "tower"]  # fields of ModelFacts
PARTS: tuple[Part, ...] = get_args(Part)


def stage_loading_bytes(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int) -> tuple[int, ...]:
    """Storages of each pipeline stage, rank 0, each rounded up to 512 bytes: what vLLM's classes alone decide."""
    return rank_loading_bytes(Rank(facts, gpu, engine, tp), pp)


class Rank:
    """Rank 0 of ``tp`` under one engine: what decides the bytes of a module. Equal where those are equal."""

    __slots__ = ("_hash", "_key", "dtype", "engine", "ep_size", "facts", "gpu", "in_blocks", "sized", "tp")

    def __init__(self, facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, *, in_blocks: bool = False) -> None:
        self.facts, self.gpu, self.engine, self.tp = facts, gpu, engine, tp
        self.in_blocks, self.sized = in_blocks, block_bytes if in_blocks else rounded
        self.dtype = engine.dtype
        self.ep_size = tp if engine.enable_expert_parallel and tp > 1 else 1
        self._key = (
            id(facts),
            _kernels(facts, gpu, engine),
            engine.rules,
            engine.dtype,
            engine.quantization,
            engine.language_model_only,
            engine.max_num_batched_tokens if facts.index_topk or facts.deepstack_levels else 0,
            tp,
            self.ep_size,
            in_blocks,
        )
        self._hash = hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rank) and self._key == other._key


def _kernels(facts: ModelFacts, gpu: Gpu, engine: EngineConfig) -> tuple[int | None, ...] | None:
    """What decides which kernels pack the weights; None where no kernel does, so that all GPUs hold the same."""
    if facts.quantization is None and engine.quantization is None and _is_plain(facts):
        return None
    locks = gpu.sms if engine.rules < V0_33 else None  # formats/place.py marlin_locks
    return (gpu.compute_capability, locks, engine.flashinfer)


@lru_cache(maxsize=64)
def _is_plain(facts: ModelFacts) -> bool:
    """Neither routed experts nor a router of its own: formats/unquantized.py asks nothing of the GPU."""
    layers = (module for run in facts.layers for module in run.layer.modules)
    modules = chain(layers, *(getattr(facts, part) for part in PARTS))
    return not any(
        isinstance(module, Experts) or (isinstance(module, Linear) and module.fp32_router) for module in modules
    )


@lru_cache(maxsize=2048)
def rank_loading_bytes(rank: Rank, pp: int) -> tuple[int, ...]:
    """Of each stage: storages, or with ``in_blocks`` the block of each."""
    facts = rank.facts
    before = _bytes_before(rank)
    anywhere = _index_bytes(rank) + _deepstack_bytes(rank)
    return tuple(
        before[layers.stop] - before[layers.start] + _outside_bytes(rank, pp, stage) + anywhere
        for stage, layers in enumerate(stage_ranges(facts.num_hidden_layers, pp))
    )


def _index_bytes(rank: Rank) -> int:
    """What an indexer picked for each token of a batch: one row, or one per index head of the rank."""
    facts, tokens = rank.facts, rank.engine.max_num_batched_tokens
    if facts.index_heads is None:
        return rank.sized(tokens * facts.index_topk * INDEX_ITEM_BYTES)
    heads = max(1, facts.index_heads // rank.tp)
    padded = -(-tokens // INDEX_TOKEN_MULTIPLE) * INDEX_TOKEN_MULTIPLE
    return rank.sized(padded * heads * facts.index_topk * INDEX_ITEM_BYTES)


def _outside_bytes(rank: Rank, pp: int, stage: int) -> int:
    """What a stage holds beside its layers, and what its layers share."""
    parts = _stage_parts(rank.facts, pp, stage)
    tower = not stage and not rank.engine.language_model_only
    shared = sum(_parameter_bytes(rank, module) for module in stage_shared(rank.facts, pp, stage, tower))
    plain = sum(_part_bytes(rank, part) for part in parts)
    return shared + plain + (_part_bytes(_tower_rank(rank), "tower") if tower else 0)


def _stage_parts(facts: ModelFacts, pp: int, stage: int) -> tuple[Part, ...]:
    """The parts of the model beside its layers that a stage holds, in order."""
    first, last = stage == 0, stage == pp - 1
    tied = last and not first and facts.tied_embedding
    held: tuple[tuple[Part, bool], ...] = (
        ("everywhere", True),
        ("embedding", first or tied or facts.tables_everywhere or facts.embedding_everywhere),
        ("first_only", first),
        ("lm_head", last or facts.tables_everywhere),
        ("final", last or facts.tables_everywhere),
    )
    return tuple(part for part, here in held if here)


@lru_cache(maxsize=512)
def stage_shared(facts: ModelFacts, pp: int, stage: int, tower: bool) -> tuple[Parameter, ...]:
    """What exists once on a stage, however many of its modules name it."""
    shared: dict[str, Parameter] = {}
    for run in stage_runs(facts, pp)[stage]:
        shared |= _shared(run.layer.modules)
    for part in (*_stage_parts(facts, pp, stage), *(("tower",) if tower else ())):
        shared |= _shared(getattr(facts, part))
    return tuple(shared.values())


@lru_cache(maxsize=2048)
def _part_bytes(rank: Rank, part: Part) -> int:
    quantization = engine_quantization(rank.facts, rank.engine.quantization)
    return _plain_bytes(rank, getattr(rank.facts, part), quantization)


def _plain_bytes(rank: Rank, modules: Iterable[Module], quantization: Quantization) -> int:
    return sum(
        _module_bytes(rank, module, _scheme(quantization, "", module)) for module in modules if not _is_shared(module)
    )


def _tower_rank(rank: Rank) -> Rank:
    """models/vision.py is_vit_use_data_parallel: heads that do not divide leave the tower whole."""
    heads = rank.facts.tower_heads
    whole = heads and heads % rank.tp
    return Rank(rank.facts, rank.gpu, rank.engine, 1, in_blocks=rank.in_blocks) if whole else rank


def _deepstack_bytes(rank: Rank) -> int:
    """models/qwen3_vl.py deepstack_input_embeds: [max_num_batched_tokens, hidden_size] per level."""
    if rank.engine.language_model_only:
        return 0
    rows = rank.engine.max_num_batched_tokens * rank.facts.hidden_size
    return rank.facts.deepstack_levels * rank.sized(rows * ITEMSIZE_BYTES[rank.dtype])


@lru_cache(maxsize=2048)
def _bytes_before(rank: Rank) -> tuple[int, ...]:
    """Bytes of all layers before each one, and of all of them last: a stage holds a difference of two."""
    kinds, order = layer_kinds(rank.facts, engine_quantization(rank.facts, rank.engine.quantization))
    sizes = [_layer_bytes(rank, layer, schemes) for layer, schemes in kinds]
    return tuple(accumulate((sizes[kind] for kind in order), initial=0))


@lru_cache(maxsize=64)
def layer_kinds(
    facts: ModelFacts, quantization: Quantization
) -> tuple[tuple[tuple[Layer, Schemes], ...], tuple[int, ...]]:
    """Layers that differ in modules or in formats, each once, and the kind of every layer in order."""
    uniform = quantization.matching == "uniform"
    kinds: dict[tuple[Layer, Schemes], int] = {}
    order: list[int] = []
    for run in facts.layers:
        for index in range(len(order), len(order) + run.count):
            schemes = _layer_schemes(facts, quantization, run.layer, 0 if uniform else index)
            order.append(kinds.setdefault((run.layer, schemes), len(kinds)))
    return tuple(kinds), tuple(order)


@lru_cache(maxsize=16384)
def _layer_schemes(facts: ModelFacts, quantization: Quantization, layer: Layer, index: int) -> Schemes:
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


def _layer_bytes(rank: Rank, layer: Layer, schemes: Schemes) -> int:
    modules = zip(layer.modules, schemes, strict=True)
    return sum(_module_bytes(rank, module, scheme) for module, scheme in modules if not _is_shared(module))


def _module_bytes(rank: Rank, module: Module, scheme: Scheme | None) -> int:
    return sum(map(rank.sized, module_storages(rank, module, scheme)))


def module_storages(rank: Rank, module: Module, scheme: Scheme | None) -> tuple[int, ...]:
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
    return rank.sized(parameter_elements(module, rank.tp) * ITEMSIZE_BYTES[module.dtype or rank.dtype])


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
