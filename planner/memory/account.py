"""vLLM's account of one GPU's memory: what is requested, what stays, what is left for the KV cache."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.memory.activations import peak_activation_bytes
from planner.memory.blocks import stage_block_bytes
from planner.memory.runtime import cuda_graph_bytes, non_torch_bytes, outside_bytes
from planner.memory.stages import first_alike
from planner.memory.weights import stage_loading_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.memory.kv_cache import KvLayout
    from planner.model.facts import ModelFacts


class Memory(Struct, frozen=True):
    """One GPU of the pipeline stage that limits num_blocks. Bytes.

    available_kv_bytes = requested - model_loading - peak_activation - non_torch - cuda_graph
    (vllm/v1/worker/gpu_worker.py, determine_available_memory), negative where nothing is left; --kv-cache-memory-bytes
    takes its place.
    """

    total_bytes: int
    requested_bytes: int
    model_loading_bytes: int  # as a start on the GPU logs it: the allocator's blocks
    peak_activation_bytes: int
    non_torch_bytes: int
    cuda_graph_bytes: int
    available_kv_bytes: int
    outside_bytes: int  # CUDA context, NCCL, cuBLAS before the engine's first snapshot: they only lower "free"

    @property
    def held_bytes(self) -> int:
        """Everything on the GPU beside the KV cache."""
        inside = self.model_loading_bytes + self.peak_activation_bytes + self.non_torch_bytes + self.cuda_graph_bytes
        return self.outside_bytes + inside


class Stage(Struct, frozen=True):
    """One pipeline stage (tensor-parallel rank 0)."""

    model_loading_bytes: int  # the storages, each rounded up to 512 bytes: what vLLM's classes alone decide
    bytes_per_block: int


def make_memory(
    facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int, *, in_blocks: bool = True
) -> tuple[Memory, ...]:
    """One account per pipeline stage, first stage first; ``in_blocks=False``: weights as on a device without memory."""
    requested = requested_bytes(gpu, engine)
    non_torch = non_torch_bytes(gpu, engine, tp, pp, facts)
    graphs = cuda_graph_bytes(facts, gpu, engine, tp, pp)
    outside = outside_bytes(gpu, tp, pp)
    alike = first_alike(facts, pp)
    peaks = {stage: peak_activation_bytes(facts, gpu, engine, tp, pp, stage) for stage in dict.fromkeys(alike)}
    accounts = []
    for stage, loading in enumerate(loaded_bytes(facts, gpu, engine, tp, pp, in_blocks=in_blocks)):
        activation = peaks[alike[stage]]
        available = engine.kv_cache_memory_bytes or requested - loading - activation - non_torch - graphs
        accounts.append(Memory(gpu.total_bytes, requested, loading, activation, non_torch, graphs, available, outside))
    return tuple(accounts)


def loaded_bytes(
    facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int, *, in_blocks: bool
) -> tuple[int, ...]:
    """Weights that stay on each stage's GPU, as blocks or as storages."""
    loading = (stage_block_bytes if in_blocks else stage_loading_bytes)(facts, gpu, engine, tp, pp)
    if not engine.cpu_offload_bytes:
        return loading
    from planner.memory.offload import offloaded_bytes

    return tuple(nbytes - offloaded_bytes(facts, gpu, engine, tp, pp, stage) for stage, nbytes in enumerate(loading))


def pool_bytes(engine: EngineConfig, available_bytes: int, bytes_per_block: int) -> int:
    """What the KV cache gets of a stage: --num-gpu-blocks-override asks for blocks, whatever is left.

    v1/core/kv_cache_planning.py get_kv_cache_configs.
    """
    if engine.num_gpu_blocks_override is None:
        return available_bytes
    return engine.num_gpu_blocks_override * bytes_per_block


def stage_pools(
    engine: EngineConfig, memories: Sequence[Memory], layouts: Sequence[KvLayout], assumed: int | None = None
) -> list[int]:
    """Bytes of KV memory on a GPU of each stage; ``assumed`` in place of what the account leaves."""
    return [
        pool_bytes(engine, memory.available_kv_bytes if assumed is None else assumed, layout.bytes_per_block)
        for memory, layout in zip(memories, layouts, strict=True)
    ]


def requested_bytes(gpu: Gpu, engine: EngineConfig) -> int:
    """vllm/v1/worker/utils.py request_memory: the share of the whole GPU that the engine may use."""
    return ceil(gpu.total_bytes * engine.gpu_memory_utilization)
