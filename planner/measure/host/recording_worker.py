"""A worker of vLLM that writes down what it computed. Runs on the GPU host; named by --worker-cls.

Needs nothing but vLLM. One JSON line an event goes to the file that GPUPLAN_EVENTS names.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from vllm.v1.worker.gpu_worker import Worker


def record(event: str, **values: Any) -> None:
    """Append one event; a line is written at once, so processes do not mix theirs."""
    if path := os.environ.get("GPUPLAN_EVENTS"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **values}) + "\n")


class RecordingWorker(Worker):
    """vLLM's GPU worker, unchanged but for the notes it takes. Sizes in bytes."""

    def determine_available_memory(self) -> int:
        before = torch.cuda.memory_allocated()
        profile_run, peaks = self.model_runner.profile_run, []

        def profiled(*args: Any, **kwargs: Any) -> Any:
            result = profile_run(*args, **kwargs)
            peaks.append(torch.cuda.max_memory_allocated() - before)
            return result

        self.model_runner.profile_run = profiled
        try:
            available = int(super().determine_available_memory())
        finally:
            self.model_runner.profile_run = profile_run
        record("memory", rank=self.rank, **self.account(available, peaks[-1] if peaks else None))
        return available

    def account(self, available: int, peak: int | None) -> dict[str, int | None]:
        """The terms of gpu_worker.py's sum; up to 0.32 it has each as an attribute, from 0.33 the total consumed."""
        loading = int(self.model_runner.model_memory_usage)
        graphs = int(getattr(self, "cudagraph_memory_estimate", 0) or 0)
        if hasattr(self, "non_torch_memory"):
            activation, non_torch = int(self.peak_activation_memory), int(self.non_torch_memory)
        else:
            activation = peak or 0
            non_torch = int(self.requested_memory) - available - graphs - loading - activation
        return {
            "total_bytes": int(self.init_snapshot.total_memory),
            "free_at_start_bytes": int(self.init_snapshot.free_memory),
            "requested_bytes": int(self.requested_memory),
            "model_loading_bytes": loading,
            "peak_activation_bytes": activation,
            "non_torch_bytes": non_torch,
            "cuda_graph_bytes": graphs,
            "available_kv_bytes": available,
        }

    def initialize_from_config(self, kv_cache_config: Any) -> None:
        groups = [
            [type(group.kv_cache_spec).__name__, len(group.layer_names), group.kv_cache_spec.block_size]
            for group in kv_cache_config.kv_cache_groups
        ]
        nbytes = sum(tensor.size for tensor in kv_cache_config.kv_cache_tensors)
        record("kv_cache", rank=self.rank, num_blocks=kv_cache_config.num_blocks, total_bytes=nbytes, groups=groups)
        super().initialize_from_config(kv_cache_config)

    def compile_or_warm_up_model(self) -> Any:
        free, started = torch.cuda.mem_get_info()[0], time.monotonic()
        result = super().compile_or_warm_up_model()
        taken = free - torch.cuda.mem_get_info()[0]
        record("warm_up", rank=self.rank, seconds=time.monotonic() - started, taken_bytes=taken)
        return result
