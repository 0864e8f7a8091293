"""Memory that torch does not allocate, and CUDA graphs: constants measured on real starts, with their origin.

Measured with vLLM 0.26.0, torch 2.11 and CUDA 13 on H100 and H200 (measurements.json); later versions are assumed
alike where nothing was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.engine import V0_33
from planner.memory.cache_layers import cache_layers
from planner.memory.runner import uses_v2_runner

if TYPE_CHECKING:
    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.model.facts import Cache, ModelFacts

MIB = 2**20

# Loaded kernels and cuBLAS handles after the engine's first snapshot. With TP > 1 the collective libraries load most
# of them before the snapshot; the fused experts' kernels come on top there.
NON_TORCH_BYTES = 230 * MIB
NON_TORCH_TP_BYTES = 66 * MIB
NON_TORCH_TP_EXPERTS_BYTES = 107 * MIB  # 96 (H200) and 118 (H100) measured

# CUDA context and, with TP > 1, NCCL and custom all-reduce buffers: taken before the first snapshot.
CONTEXT_BYTES = 527 * MIB
NVLINK_GROUP_BYTES = 1038 * MIB  # NCCL's NVLink channels and symmetric buffers
PCIE_GROUP_BYTES = 256 * MIB  # fewer channels, no symmetric memory; not measured

# Graph capture. FlashAttention 3 writes its partial results for so many splits of the context while a decode graph is
# captured (flash_attn_max_num_splits_for_cuda_graph, vllm/config/attention.py), in fp32, for the largest batch.
FLASH_SPLITS = 32
FP32_BYTES = 4
HOPPER = 9
MOST_CAPTURED_SEQS = 512  # the largest size captured by default (vllm/config/vllm.py _set_cudagraph_sizes)
GRAPH_BASE_BYTES = 100 * MIB  # what is left beside splits and layers: 110, 116, 110, 83, 126, 66 MiB on six starts
GRAPH_LAYER_BYTES = round(5.4 * MIB)  # each layer's nodes in all graphs: 48 against 4 layers of one model


def non_torch_bytes(gpu: Gpu, engine: EngineConfig, tp: int, pp: int, facts: ModelFacts) -> int:  # noqa: ARG001 - measured alike on every GPU and version at hand
    """The growth of memory outside torch between the first snapshot and the end of the profile run."""
    if tp * pp == 1:
        return NON_TORCH_BYTES
    return NON_TORCH_TP_EXPERTS_BYTES if facts.num_experts else NON_TORCH_TP_BYTES


def outside_bytes(gpu: Gpu, tp: int, pp: int) -> int:
    """What is gone before the engine's account begins; it only lowers "free"."""
    if tp * pp == 1:
        return CONTEXT_BYTES
    return CONTEXT_BYTES + (NVLINK_GROUP_BYTES if gpu.link == "nvlink" else PCIE_GROUP_BYTES)


def cuda_graph_bytes(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int) -> int:
    """What vLLM subtracts for graphs (profile_cudagraph_memory): nothing when eager.

    Before 0.33.0 nothing either on the second model runner, whose estimate was not written yet.
    """
    if engine.enforce_eager or (uses_v2_runner(facts, engine) and engine.rules < V0_33):
        return 0
    splits = _split_bytes(facts, engine, tp) if gpu.compute_capability // 10 == HOPPER else 0
    return GRAPH_BASE_BYTES + splits + GRAPH_LAYER_BYTES * -(-facts.num_hidden_layers // pp)


def _split_bytes(facts: ModelFacts, engine: EngineConfig, tp: int) -> int:
    """FlashAttention's partial results [splits, sequences, heads, value size], once for each kind of attention."""
    most = MOST_CAPTURED_SEQS if engine.most_captured_seqs is None else engine.most_captured_seqs
    seqs = min(engine.max_num_seqs, most)
    widths = {
        cache.kind: -(-(cache.num_query_heads or facts.num_attention_heads) // tp) * _value_size(cache)
        for cache, _ in cache_layers(facts)
        if cache.kind not in {"mamba", "none"} and not cache.block_tokens and not cache.kernel_block_tokens
    }
    return FLASH_SPLITS * seqs * sum(widths.values()) * FP32_BYTES


def _value_size(cache: Cache) -> int:
    """Values of one head's result; MLA's are the latent without its rotary part."""
    if cache.kind == "mla":
        return cache.head_size - cache.qk_rope_head_dim
    return cache.head_size_v or cache.head_size
