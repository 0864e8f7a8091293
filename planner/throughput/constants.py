"""The constants of the speed model: few, global, each with its unit. benchmarks/fit_throughput.py finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.catalog import Gpu

Version = tuple[int, int, int]
FULL_GRAPHS: Version = (0, 11, 0)  # CompilationConfig.cudagraph_mode FULL_AND_PIECEWISE became the default


@dataclass(frozen=True, slots=True)
class Era:
    """One generation of the engine: what its host code costs beside the GPU's work.

    ``step_s`` per engine step, ``sequence_s`` per running sequence and step, ``rank_s`` per step for each doubling
    of the tensor-parallel size.
    """

    name: str
    since: Version
    step_s: float
    sequence_s: float
    rank_s: float = 0.0
    group_reads: float = 0.0  # query heads that share a KV head read it again: traffic x group ** this
    eager: bool = False  # no CUDA graphs yet
    separate_prefill: bool = False  # prompts and decoding never share a step
    overlap: bool = False  # the host prepares a step while the GPU runs the one before (async scheduling)


@dataclass(frozen=True, slots=True)
class Constants:
    """Efficiencies are fractions of the catalogue's figure; times are seconds."""

    hbm_efficiency: float = 0.862
    gddr_efficiency: float = 0.902
    overlap_norm: float = 1.22  # reading and multiplying weights overlap: (read^p + multiply^p)^(1/p)
    fp8_kv_efficiency: float = 0.651  # below Blackwell
    packed_efficiency: float = 0.649  # 4-bit weights unpacked on the way (Marlin)
    nvfp4_efficiency: float = 0.695
    compute_efficiency: float = 0.65
    attention_efficiency: float = 0.396
    narrow_compute_efficiency: float = 0.79
    expert_compute_efficiency: float = 0.379
    old_capability_efficiency: float = 0.426
    layer_s: float = 41.5e-6
    launch_s: float = 205e-6  # one layer
    attention_launch_s: float = 98.9e-6  # one layer's attention between two pieces of a CUDA graph
    expert_layer_s: float = 21.2e-6
    narrow_layer_s: float = 10.1e-6
    kv_growth: float = 0.641  # of a request's answer that its share of a full KV cache holds on average
    nvlink_efficiency: float = 0.53
    pcie_efficiency: float = 0.596
    nvlink_s: float = 9.71e-6
    pcie_s: float = 13.2e-6
    no_peer_s: float = 82.4e-6
    rocm_efficiency: float = 0.85
    rocm_compute_efficiency: float = 0.0796
    rocm_layer_s: float = 165e-6
    eras: tuple[Era, ...] = (
        Era("2023", (0, 0, 0), 4.91e-3, 846e-6, rank_s=0.0304, eager=True, separate_prefill=True),
        Era("v0", (0, 3, 0), 1.92e-3, 60.4e-6, group_reads=0.148, separate_prefill=True),
        Era("v1", (0, 8, 0), 1.51e-3, 25.1e-6),
        Era("v1-async", (0, 14, 0), 2.01e-3, 29.9e-6, overlap=True),
    )

    def era(self, version: Version) -> Era:
        """The generation that an engine version belongs to."""
        return max((era for era in self.eras if era.since <= version), key=lambda era: era.since)

    def layer_of(self, gpu: Gpu) -> float:
        """Seconds of one layer's kernels whatever the batch."""
        return self.layer_s + (self.rocm_layer_s if gpu.vendor == "amd" else 0.0)


CONSTANTS = Constants()
