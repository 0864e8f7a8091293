"""Bytes of weights on each GPU, tensor-parallel rank 0: of the storages, and of the blocks that hold them.

"Model loading took" is what torch has allocated after loading (vllm/utils/mem_utils.py DeviceMemoryProfiler): the sum
over all storages, parameters and buffers, each rounded up to 512 bytes, and on a real GPU each as large as its block.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import accumulate, chain
from math import prod
from typing import TYPE_CHECKING, Literal, get_args

from msgspec.structs import replace

from planner.engine import V0_33
from planner.memory.allocator import block_bytes, rounded
from planner.memory.deep_gemm import started_storages
from planner.memory.formats import expert_tensors, head_tensors, linear_tensors
from planner.memory.formats.place import NATIVE_FP4, kernel_generation
from planner.memory.stages import first_alike, stage_ranges, stage_runs
from planner.model.facts import ITEMSIZE_BYTES, Embedding, Experts, Linear, Parameter
from planner.model.quantization import engine_quantization, layer_kinds, module_scheme

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts, Module
    from planner.model.quantization import Quantization, Scheme

EXPERT_MAP_ITEM_BYTES = 4  # fused_moe/expert_map_manager.py: int32 per expert
INDEX_ITEM_BYTES = 4  # models/deepseek_v2.py topk_indices_buffer: int32 [max_num_batched_tokens, index_topk]
INDEX_TOKEN_MULTIPLE = 4  # models/minimax_m3/nvidia/model.py: the same buffer [padded tokens, index heads, blocks]

Sizes = tuple[int, int]  # bytes of storages, each rounded up to 512, and of the blocks that hold them
Part = Literal["everywhere", "embedding", "first_only", "lm_head", "final", "tower"]  # fields of ModelFacts
PARTS: tuple[Part, ...] = get_args(Part)


def stage_loading_bytes(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int) -> tuple[int, ...]:
    """Storages of each pipeline stage, rank 0, each rounded up to 512 bytes: what vLLM's classes alone decide."""
    return tuple(storages for storages, _ in rank_sizes(Rank(facts, gpu, engine, tp), pp))


class Rank:
    """Rank 0 of ``tp`` under one engine: what decides the bytes of a module. Equal where those are equal.

    ``any_gpu``: of modules that no kernel packs, so that all GPUs hold the same.
    """

    __slots__ = ("_hash", "_key", "dtype", "engine", "ep_size", "facts", "gpu", "tp")

    def __init__(self, facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, *, any_gpu: bool = False) -> None:
        self.facts, self.gpu, self.engine, self.tp = facts, gpu, engine, tp
        self.dtype = engine.dtype
        self.ep_size = tp if engine.enable_expert_parallel and tp > 1 else 1
        self._key = (
            id(facts),
            None if any_gpu else _kernels(facts, gpu, engine),
            engine.rules,
            ITEMSIZE_BYTES[engine.dtype],
            engine.quantization,
            engine.language_model_only,
            engine.max_num_batched_tokens if _buffers_tokens(facts) else 0,
            engine.max_num_seqs if facts.index_topk else 0,
            tp,
            self.ep_size,
        )
        self._hash = hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rank) and self._key == other._key


def _buffers_tokens(facts: ModelFacts) -> bool:
    """Whether the model keeps something for each token of a batch."""
    return bool(facts.index_topk or facts.deepstack_levels or facts.token_buffer_width)


def _kernels(facts: ModelFacts, gpu: Gpu, engine: EngineConfig) -> tuple[object, ...] | None:
    """What decides which kernels pack the weights; None where no kernel does."""
    if facts.quantization is None and engine.quantization is None and _is_plain(facts):
        return None
    generation = kernel_generation(gpu.compute_capability)
    locks = gpu.sms if engine.rules < V0_33 else None  # formats/place.py marlin_locks
    # formats/unquantized.py, deep_gemm.py; elsewhere only its size, which every rank is known by
    dtype = engine.dtype if generation >= NATIVE_FP4 else None
    return (generation, locks, engine.flashinfer, dtype)


@lru_cache(maxsize=64)
def _is_plain(facts: ModelFacts) -> bool:
    """Whether, unquantized, no module asks anything of the GPU."""
    layers = (module for run in facts.layers for module in run.layer.modules)
    return not any(_asks_gpu(module, None) for module in chain(layers, *(getattr(facts, part) for part in PARTS)))


def _asks_gpu(module: Module, scheme: Scheme | None) -> bool:
    """Whether the GPU has a say in a module's bytes: routed experts and routers even where nothing is quantized."""
    routes = isinstance(module, Experts) or (isinstance(module, Linear) and module.fp32_router)
    return scheme is not None or routes


@lru_cache(maxsize=2048)
def rank_sizes(rank: Rank, pp: int) -> tuple[Sizes, ...]:
    """Of each stage what its rank 0 loads."""
    facts = rank.facts
    before, alike = _sizes_before(rank), first_alike(facts, pp)
    outside = {stage: _outside_sizes(rank, pp, stage) for stage in dict.fromkeys(alike)}
    anywhere = _sizes((_index_bytes(rank), *_deepstack_bytes(rank), *_token_buffer_bytes(rank)))
    return tuple(
        _sum((anywhere, outside[alike[stage]], _less(before[layers.stop], before[layers.start])))
        for stage, layers in enumerate(stage_ranges(facts.num_hidden_layers, pp))
    )


def _sizes(storages: Collection[int], started: Collection[int] | None = None) -> Sizes:
    """``started``: the storages while the weights are read, where they are others."""
    return sum(map(rounded, storages)), sum(map(block_bytes, storages if started is None else started))


def _sum(sizes: Collection[Sizes]) -> Sizes:
    storages, blocks = zip(*sizes, strict=True)
    return sum(storages), sum(blocks)


def _less(all_of_them: Sizes, some: Sizes) -> Sizes:
    return all_of_them[0] - some[0], all_of_them[1] - some[1]


def _index_bytes(rank: Rank) -> int:
    """What an indexer picked for each token of a batch: one row, or one per index head of the rank."""
    facts, tokens = rank.facts, rank.engine.max_num_batched_tokens
    if facts.index_heads is None:
        return tokens * facts.index_topk * INDEX_ITEM_BYTES
    heads = max(1, facts.index_heads // rank.tp)
    padded = -(-tokens // INDEX_TOKEN_MULTIPLE) * INDEX_TOKEN_MULTIPLE
    return padded * heads * facts.index_topk * INDEX_ITEM_BYTES


def _outside_sizes(rank: Rank, pp: int, stage: int) -> Sizes:
    """What a stage holds beside its layers, and what its layers share."""
    tower = not stage and not rank.engine.language_model_only
    shared = [_parameter_bytes(rank, module) for module in stage_shared(rank.facts, pp, stage, tower)]
    parts = [_part_sizes(rank, part) for part in _stage_parts(rank.facts, pp, stage)]
    return _sum((_sizes(shared), *parts, *((_part_sizes(_tower_rank(rank), "tower"),) if tower else ())))


@lru_cache(maxsize=512)
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
    return tuple(part for part, here in held if here and getattr(facts, part))


@lru_cache(maxsize=512)
def stage_shared(facts: ModelFacts, pp: int, stage: int, tower: bool) -> tuple[Parameter, ...]:
    """What exists once on a stage, however many of its modules name it."""
    shared: dict[str, Parameter] = {}
    for run in stage_runs(facts, pp)[stage]:
        shared |= _shared(run.layer.modules)
    for part in (*_stage_parts(facts, pp, stage), *(("tower",) if tower else ())):
        shared |= _shared_in(facts, part)
    return tuple(shared.values())


@lru_cache(maxsize=512)
def _shared_in(facts: ModelFacts, part: Part) -> dict[str, Parameter]:
    return _shared(getattr(facts, part))


def _tower_rank(rank: Rank) -> Rank:
    """The rank of those that the tower is divided over."""
    ranks = rank.facts.tower_ranks(rank.tp)
    return rank if ranks == rank.tp else Rank(rank.facts, rank.gpu, rank.engine, ranks)


def _deepstack_bytes(rank: Rank) -> tuple[int, ...]:
    """models/qwen3_vl.py deepstack_input_embeds: [max_num_batched_tokens, hidden_size] per level."""
    if rank.engine.language_model_only:
        return ()
    rows = rank.engine.max_num_batched_tokens * rank.facts.hidden_size
    return (rows * ITEMSIZE_BYTES[rank.dtype],) * rank.facts.deepstack_levels


def _token_buffer_bytes(rank: Rank) -> tuple[int, ...]:
    """models/gemma3n_mm.py per_layer_embeddings: a row for each token of a batch."""
    values = rank.engine.max_num_batched_tokens * rank.facts.token_buffer_width
    return (values * ITEMSIZE_BYTES[rank.dtype],) if values else ()


@lru_cache(maxsize=2048)
def _sizes_before(rank: Rank) -> tuple[Sizes, ...]:
    """Of all layers before each one, and of all of them last: a stage holds a difference of two."""
    kinds, order = layer_kinds(rank.facts, engine_quantization(rank.facts, rank.engine.quantization))
    sizes = [_part_sizes(rank, kind) for kind in range(len(kinds))]
    storages = accumulate((sizes[kind][0] for kind in order), initial=0)
    blocks = accumulate((sizes[kind][1] for kind in order), initial=0)
    return tuple(zip(storages, blocks, strict=True))


@lru_cache(maxsize=8192)
def _part_sizes(rank: Rank, part: Part | int) -> Sizes:
    """One part of the model, or one kind of layer, without what is shared."""
    on_any_gpu = Rank(rank.facts, rank.gpu, rank.engine, rank.tp, any_gpu=True)
    return _sum((_some_sizes(on_any_gpu, part, asking=False), _some_sizes(rank, part, asking=True)))


@lru_cache(maxsize=8192)
def _some_sizes(rank: Rank, part: Part | int, *, asking: bool) -> Sizes:
    """Of its modules those in whose bytes the GPU has a say (``asking``), or the others."""
    quantization = engine_quantization(rank.facts, rank.engine.quantization)
    storages: list[int] = []
    started: list[int] = []
    for module, scheme, count in _counted(rank.facts, quantization, part, asking=asking):
        of_module = module_storages(rank, module, scheme)
        storages += of_module * count
        started += started_storages(rank, module, scheme, of_module) * count
    return _sizes(storages, started)


@lru_cache(maxsize=1024)
def _counted(
    facts: ModelFacts, quantization: Quantization, part: Part | int, *, asking: bool
) -> tuple[tuple[Module, Scheme | None, int], ...]:
    """The modules of a part or of a kind of layer with their schemes, each once, and how often it is there."""
    if isinstance(part, int):
        layer, schemes = layer_kinds(facts, quantization)[0][part]
        found = Counter(zip(layer.modules, schemes, strict=True))
    else:
        modules: tuple[Module, ...] = getattr(facts, part)
        found = Counter((module, module_scheme(quantization, module.name, module)) for module in modules)
    return tuple(
        (module, scheme, count)
        for (module, scheme), count in found.items()
        if _asks_gpu(module, scheme) == asking and not _is_shared(module)
    )


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
    """Bytes of the parameter's storage on this rank, unrounded."""
    if module.shape_before_0_33 and rank.engine.rules < V0_33:
        module = replace(module, shape=module.shape_before_0_33)
    return parameter_elements(module, rank.tp) * ITEMSIZE_BYTES[module.dtype or rank.dtype]


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
