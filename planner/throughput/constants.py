"""The constants of the speed model: few, global, each with its unit. benchmarks/fit_throughput.py finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from planner.catalog import Gpu

Version = tuple[int, int, int]
UNSORTED_EXPERTS: Version = (0, 17, 0)  # FP8 experts on Hopper by Triton
LARGE_GRAPHS: Version = (0, 33, 0)  # graphs of up to 1,024 tokens on data-centre Blackwell
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
    893e-6,
    launch_s=501e-6,
    straggler_s=443e-6,
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

    hbm_efficiency: float = 0.901
    gddr_efficiency: float = 0.888
    overlap_norm: float = 1.31  # reading and multiplying weights overlap: (read^p + multiply^p)^(1/p)
    host_norm: float = 3.9  # likewise the GPU's step and the host's with async scheduling: nearly the longer of the two
    fp8_kv_efficiency: float = 0.704  # on Hopper and below Ada
    widened_per_sm_s: float = 44.1e9  # narrow weights that one multiprocessor widens to 16 bits
    nvfp4_efficiency: float = 0.924
    compute_efficiency: float = 0.67
    feeding_exponent: float = 0.114  # of tensor TFLOPS per multiprocessor, see rates.feeding
    attention_efficiency: float = 0.487
    narrow_compute_efficiency: float = 0.804
    expert_compute_efficiency: float = 0.409
    old_capability_efficiency: float = 0.373
    layer_s: float = 48.8e-6
    attention_launch_s: float = 104e-6  # one layer's attention between two pieces of a CUDA graph
    # One layer's kernels launched by the host in passes that no CUDA graph takes, more of them where activations are
    # quantized, and for experts. Qwen3-32B in 16 bits: 270 to 390 us (ai-dynamo/aiconfigurator, fpm_golden_runs).
    compiled_launch_s: float = 329e-6
    narrow_launch_s: float = 158e-6
    expert_launch_s: float = 133e-6
    expert_layer_s: float = 22.7e-6
    narrow_expert_layer_s: float = 50.5e-6  # to sort quantized activations for experts, see make_terms._expert_layers_s
    narrow_layer_s: float = 10.5e-6
    # Scales per block are found by a kernel of its own before each product; those per tensor are known, or found in
    # what comes before (CompilationConfig.pass_config fuse_norm_quant, fuse_act_quant).
    block_layer_s: float = 18.5e-6
    # Latent attention's further projections, norms and absorbed products. Its kernels for one token on one of eight
    # ranks take 75 to 95 us on H100 and H200, 33 to 46 us on B200 (aiconfigurator, mla_generation_module_perf),
    # those of others some 27 us; Kimi-K2.5's published steps miss 28 us on H200, 10 us on B200 beside ``layer_s``.
    latent_layer_s: float = 15e-6
    nvlink_efficiency: float = 0.42
    pcie_efficiency: float = 0.61
    nvlink_s: float = 4.96e-6  # until all ranks have come, once an all-reduce or twice
    nvlink5_s: float = 7.14e-6  # likewise among Blackwell GPUs
    pcie_s: float = 17.2e-6
    no_peer_s: float = 78.9e-6
    api_s: float = 7e-3  # HTTP, tokenizer and queue of a lone request; tenstorrent/tt-inference-server issue 340
    rocm_efficiency: float = 0.822
    rocm_compute_efficiency: float = 0.0815
    rocm_layer_s: float = 153e-6
    eras: tuple[Era, ...] = (
        ERA_2023,
        FASTER_SAMPLER,
        Era("v0", (0, 3, 0), 2.02e-3, 55.2e-6, cached_token_s=14.1e-9, outside_bytes=1.1e9, separate_prefill=True),
        Era("v1", (0, 8, 0), 1.33e-3, 24.6e-6, launch_s=EAGER_LAUNCH_S),
        Era("v1-async", (0, 14, 0), 2.06e-3, 28.7e-6, launch_s=EAGER_LAUNCH_S, overlap=True),
    )

    def era(self, version: Version) -> Era:
        """The generation that an engine version belongs to."""
        return max((era for era in self.eras if era.since <= version), key=lambda era: era.since)

    def layer_of(self, gpu: Gpu) -> float:
        """Seconds of one layer's kernels whatever the batch."""
        return self.layer_s + (self.rocm_layer_s if gpu.vendor == "amd" else 0.0)


CONSTANTS = Constants()
