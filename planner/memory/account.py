"""vLLM's account of one GPU's memory: what is requested, what stays, what is left for the KV cache."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Memory:
    """One GPU of the pipeline stage that limits num_blocks. Bytes.

    available_kv_bytes = requested - model_loading - peak_activation - non_torch - cuda_graph
    (vllm/v1/worker/gpu_worker.py, determine_available_memory); negative where nothing is left.
    """

    total_bytes: int
    requested_bytes: int
    model_loading_bytes: int
    peak_activation_bytes: int
    non_torch_bytes: int
    cuda_graph_bytes: int
    available_kv_bytes: int
    outside_bytes: int  # CUDA context, NCCL, cuBLAS before the engine's first snapshot: they only lower "free"


@dataclass(frozen=True, slots=True)
class Stage:
    """One pipeline stage (tensor-parallel rank 0)."""

    model_loading_bytes: int
    bytes_per_block: int
