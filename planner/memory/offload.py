"""Parameters that --cpu-offload-gb moves to CPU memory: they leave "Model loading took".

vllm/model_executor/offloader/uva.py UVAOffloader: the layers of a stage in order, parameter by parameter, until the
budget is reached; buffers, embedding and head stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.memory.allocator import block_bytes
from planner.memory.stages import stage_ranges
from planner.memory.weights import Rank, module_storages
from planner.model.facts import Parameter
from planner.model.quantization import engine_quantization, layer_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts


def offloaded_bytes(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int, stage: int) -> int:
    """Bytes of one GPU of ``stage`` that lie in CPU memory instead."""
    moved = counted = 0
    if not engine.cpu_offload_bytes:
        return 0
    for nbytes in _layer_parameters(Rank(facts, gpu, engine, tp), stage_ranges(facts.num_hidden_layers, pp)[stage]):
        if counted >= engine.cpu_offload_bytes:
            break
        counted += nbytes
        moved += block_bytes(nbytes)
    return moved


def _layer_parameters(rank: Rank, layers: range) -> Iterator[int]:
    kinds, order = layer_kinds(rank.facts, engine_quantization(rank.facts, rank.engine.quantization))
    for index in layers:
        layer, schemes = kinds[order[index]]
        for module, scheme in zip(layer.modules, schemes, strict=True):
            if not (isinstance(module, Parameter) and (module.buffer or module.shared_key)):
                yield from module_storages(rank, module, scheme)
