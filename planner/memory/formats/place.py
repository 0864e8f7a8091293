"""Where a module is processed: what of the GPU and the engine decides which kernel takes it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.model.facts import ITEMSIZE_BYTES

if TYPE_CHECKING:
    from planner.catalog import Gpu
    from planner.engine import EngineConfig

NATIVE_FP8 = 89  # Ada and later multiply FP8 (cutlass_scaled_mm_supports_fp8)
NATIVE_BLOCK_FP8 = 90  # block-scaled GEMMs: DeepGEMM, FlashInfer, CUTLASS
NATIVE_FP4 = 100  # Blackwell (cutlass_scaled_mm_supports_fp4)
HOPPER = 90
DATACENTER_BLACKWELL = range(100, 110)  # B200, B300
RTX_BLACKWELL = 120
GENERATIONS = (NATIVE_FP8, HOPPER, DATACENTER_BLACKWELL.start, DATACENTER_BLACKWELL.stop, RTX_BLACKWELL)
V0_33 = (0, 33, 0)
LOCK = 4  # bytes
EXPERT_BLOCKS_PER_SM = 4  # Marlin's thread blocks per multiprocessor in mixtures of experts


class Place(Struct, frozen=True):
    """One GPU under one engine; ``dtype`` is the model's."""

    capability: int  # 90 for 9.0; see kernel_generation
    rules: tuple[int, int, int]
    dtype: str
    flashinfer: bool = True
    sms: int | None = None  # streaming multiprocessors

    @property
    def itemsize(self) -> int:
        """Bytes of the model's dtype."""
        return ITEMSIZE_BYTES[self.dtype]

    def marlin_locks(self, blocks_per_sm: int = 1) -> tuple[int, ...]:
        """0.25.0 keeps Marlin's locks with each layer; 0.33.0 shares them (marlin_make_workspace_new)."""
        if self.rules >= V0_33 or self.sms is None:
            return ()
        return (self.sms * blocks_per_sm * LOCK,)

    @property
    def is_datacenter_blackwell(self) -> bool:
        """B200, B300: where FlashInfer's TRT-LLM kernels run."""
        return self.capability in DATACENTER_BLACKWELL


@lru_cache(maxsize=64)
def kernel_generation(capability: int) -> int:
    """The capability from which on kernels lay weights out as on this GPU: all before FP8 are alike (0)."""
    return max((first for first in GENERATIONS if first <= capability), default=0)


def place_of(gpu: Gpu, engine: EngineConfig, dtype: str) -> Place:
    """``dtype``: of what is not quantized in this model."""
    return Place(kernel_generation(gpu.compute_capability), engine.rules, dtype, engine.flashinfer, gpu.sms)
