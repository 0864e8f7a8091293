"""The constants of the speed model: few, global, each with its unit. benchmarks/fit_throughput.py finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from planner.catalog import Gpu

Version = tuple[int, int, int]
FULL_GRAPHS: Version = (0, 11, 0)  # CompilationConfig.cudagraph_mode FULL_AND_PIECEWISE became the default


class Era(Struct, frozen=True):
    """One generation of the engine: what its host code costs beside the GPU's work.

    ``step_s`` per engine step, ``sequence_s`` per running sequence and step, ``launch_s`` to launch one layer's kernels
    one by one, ``straggler_s`` per all-reduce times 1 - 1 / tensor_parallel_size: ranks that launch one by one wait
    for the slowest.
    """

    name: str
    since: Version
    step_s: float
    sequence_s: float
    launch_s: float = 200e-6
    straggler_s: float = 0.0
    cached_token_s: float = 0.0  # per cached token of the batch: block tables built anew in Python for every step
    outside_bytes: float = 0.0  # context and NCCL buffers that the engine took from the KV cache, once more under TP
    eager: bool = False  # no CUDA graphs yet
    separate_prefill: bool = False  # prompts and decoding never share a step
    overlap: bool = False  # the host prepares a step while the GPU runs the one before (async scheduling)


ERA_2023 = Era(
    "2023",
    (0, 0, 0),
    3.1e-3,
    891e-6,
    launch_s=501e-6,
    straggler_s=444e-6,
    eager=True,
    separate_prefill=True,
)
# vLLM 0.2.0: "up to 60% performance improvement by optimizing de-tokenization and sampler" (issue 1089), which is half
# of a sequence's time at the load that the time before was found at.
FASTER_SAMPLER = replace(ERA_2023, name="2023-10", since=(0, 2, 0), sequence_s=450e-6)


# enforce_eager since V1: steps of 17.5 ms for the 32 layers of Llama-3.1-8B and of 22 ms for the 40 of Qwen3-14B on an
# H200 (catalog/measurements.json), less ``layer_s``; about what the engine of 2023 took on other hosts.
EAGER_LAUNCH_S = 480e-6


class Constants(Struct, frozen=True):
    """Efficiencies are fractions of the catalogue's figure; times are seconds."""

    hbm_efficiency: float = 0.895
    gddr_efficiency: float = 0.892
    overlap_norm: float = 1.24  # reading and multiplying weights overlap: (read^p + multiply^p)^(1/p)
    host_norm: float = (
        3.77  # likewise the GPU's step and the host's with async scheduling: nearly the longer of the two
    )
    fp8_kv_efficiency: float = 0.713  # below Blackwell
    widened_per_sm_s: float = 43.6e9  # narrow weights that one multiprocessor widens to 16 bits
    nvfp4_efficiency: float = 0.952
    compute_efficiency: float = 0.662
    feeding_exponent: float = 0.141  # of tensor TFLOPS per multiprocessor, see rates.feeding
    attention_efficiency: float = 0.477
    narrow_compute_efficiency: float = 0.764
    expert_compute_efficiency: float = 0.373
    old_capability_efficiency: float = 0.379
    layer_s: float = 46.9e-6
    attention_launch_s: float = 102e-6  # one layer's attention between two pieces of a CUDA graph
    expert_layer_s: float = 19e-6
    narrow_expert_layer_s: float = 60.9e-6  # to quantize and sort activations for experts, below Blackwell
    narrow_layer_s: float = 13.2e-6
    nvlink_efficiency: float = 0.668
    pcie_efficiency: float = 0.61
    nvlink_s: float = 9.43e-6
    pcie_s: float = 17e-6
    no_peer_s: float = 78.4e-6
    api_s: float = 7e-3  # HTTP, tokenizer and queue of a lone request; tenstorrent/tt-inference-server issue 340
    rocm_efficiency: float = 0.842
    rocm_compute_efficiency: float = 0.0824
    rocm_layer_s: float = 156e-6
    eras: tuple[Era, ...] = (
        ERA_2023,
        FASTER_SAMPLER,
        Era("v0", (0, 3, 0), 1.82e-3, 59.1e-6, cached_token_s=14.8e-9, outside_bytes=1.1e9, separate_prefill=True),
        Era("v1", (0, 8, 0), 1.39e-3, 27.8e-6, launch_s=EAGER_LAUNCH_S),
        Era("v1-async", (0, 14, 0), 2.04e-3, 29.2e-6, launch_s=EAGER_LAUNCH_S, overlap=True),
    )

    def era(self, version: Version) -> Era:
        """The generation that an engine version belongs to."""
        return max((era for era in self.eras if era.since <= version), key=lambda era: era.since)

    def layer_of(self, gpu: Gpu) -> float:
        """Seconds of one layer's kernels whatever the batch."""
        return self.layer_s + (self.rocm_layer_s if gpu.vendor == "amd" else 0.0)


CONSTANTS = Constants()
