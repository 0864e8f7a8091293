"""The constants of the speed model: few, global, each with its unit. `benchmarks/fit_throughput.py` finds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log2
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.catalog import Gpu

Version = tuple[int, int, int]
Link = Literal["nvlink", "pcie", "no_peer_to_peer"]


@dataclass(frozen=True, slots=True)
class Era:
    """One generation of the engine: what its host code costs beside the GPU's work.

    ``step_s`` per engine step, ``sequence_s`` per running sequence and step, ``rank_s`` per step for each doubling
    of the tensor-parallel size, ``prefill_pass_s`` per pass that only prefills, ``prompt_s`` per request admitted.
    """

    since: Version
    step_s: float
    sequence_s: float
    rank_s: float
    eager: bool  # no CUDA graphs yet
    separate_prefill: bool  # prompts and decoding never share a step (before chunked prefill became the default)
    prompt_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Constants:
    """Efficiencies are fractions of the catalogue's figure; times are seconds."""

    hbm_efficiency: float = 0.865
    gddr_efficiency: float = 0.80
    kv_efficiency: float = 0.93  # of the memory bandwidth that weights reach
    compute_efficiency: float = 0.76
    prefill_efficiency: float = 0.70
    attention_efficiency: float = 0.35
    layer_s: float = 30e-6
    launch_s: float = 200e-6
    expert_layer_s: float = 60e-6
    expert_efficiency: float = 0.7
    expert_compute_efficiency: float = 0.5
    narrow_layer_s: float = 15e-6
    narrow_compute_efficiency: float = 0.6
    weight_only_efficiency: float = 0.8
    old_capability_efficiency: float = 0.6
    rocm_efficiency: float = 0.52
    rocm_layer_s: float = 100e-6
    kv_growth: float = 0.7  # of a request's answer that its share of a full KV cache holds on average
    link_efficiency: Mapping[Link, float] = field(
        default_factory=lambda: {"nvlink": 0.6, "pcie": 0.4, "no_peer_to_peer": 0.25}
    )
    link_s: Mapping[Link, float] = field(
        default_factory=lambda: {"nvlink": 9.4e-6, "pcie": 40e-6, "no_peer_to_peer": 80e-6}
    )
    eras: tuple[Era, ...] = (
        Era((0, 0, 0), 5e-3, 600e-6, 8.4e-3, eager=True, separate_prefill=True),
        Era((0, 3, 0), 1.8e-3, 63e-6, 0.0, eager=False, separate_prefill=True),
        Era((0, 6, 0), 3.3e-3, 49e-6, 0.0, eager=False, separate_prefill=True),
        Era((0, 8, 0), 0.84e-3, 14e-6, 0.0, eager=False, separate_prefill=False),
    )

    def era(self, version: Version) -> Era:
        """The generation that an engine version belongs to."""
        return max((era for era in self.eras if era.since <= version), key=lambda era: era.since)

    def layer_of(self, gpu: Gpu) -> float:
        return self.layer_s + (self.rocm_layer_s if gpu.vendor == "amd" else 0.0)

    def link_growth(self, link: Link, ranks: int) -> float:
        return 1.0 if link == "nvlink" else log2(ranks)


CONSTANTS = Constants()
