"""Rates: what a GPU reaches, from its catalogue row and the constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.throughput.constants import Constants
    from planner.throughput.work import Format

TERA = 1e12
GIGA = 1e9
AMPERE, ADA, BLACKWELL = 80, 89, 100  # compute capabilities


def bandwidth(gpu: Gpu, constants: Constants) -> float:
    """Bytes per second that reading weights reaches."""
    share = constants.hbm_efficiency if gpu.memory_kind == "hbm" else constants.gddr_efficiency
    if gpu.vendor == "amd":
        share *= constants.rocm_efficiency
    return gpu.memory_bandwidth_gbps * GIGA * share


def reading(form: Format, gpu: Gpu, constants: Constants) -> float:
    """Share of that bandwidth which kernels of a format reach."""
    if form == "nvfp4":
        return constants.nvfp4_efficiency
    if form == "int4_weight" or (form == "mxfp4" and gpu.compute_capability < BLACKWELL):
        return constants.packed_efficiency
    return 1.0


def kv_bandwidth(gpu: Gpu, itemsize: int, constants: Constants) -> float:
    """Bytes per second that attention reaches over the KV cache while decoding."""
    share = constants.fp8_kv_efficiency if itemsize == 1 and gpu.compute_capability < BLACKWELL else 1.0
    return bandwidth(gpu, constants) * share


def arithmetic(form: Format, gpu: Gpu, dtype: str, constants: Constants) -> float:
    """FLOP/s of a product in this format; formats the GPU lacks are unpacked and multiplied in 16 bits (Marlin)."""
    dense = (gpu.bf16_tflops if dtype == "bfloat16" and gpu.bf16_tflops else gpu.fp16_tflops) * TERA
    if gpu.compute_capability < AMPERE:
        dense *= constants.old_capability_efficiency
    if gpu.vendor == "amd":
        dense *= constants.rocm_compute_efficiency
    if form == "dense":
        return dense
    narrow = _narrow_tflops(form, gpu)
    if narrow is None:
        return dense
    return max(narrow * TERA * constants.narrow_compute_efficiency, dense)


def _narrow_tflops(form: Format, gpu: Gpu) -> float | None:
    if form == "fp8":
        return gpu.fp8_tflops if gpu.compute_capability >= ADA else None
    if form == "int8":
        return gpu.int8_tops
    if gpu.compute_capability >= BLACKWELL and form in {"nvfp4", "mxfp4"}:
        return gpu.fp4_tflops if form == "nvfp4" else gpu.fp8_tflops  # mxfp4 experts take mxfp8 activations
    return None


def unfused(gpu: Gpu, engine: EngineConfig) -> bool:
    """4-bit weights are unpacked to 16 bits before every product: no Marlin kernel, or asked for by name.

    vllm/model_executor/layers/quantization/gptq.py and awq.py; gptq_marlin.py and awq_marlin.py replace them from
    capability 8.0 on (7.5 since 0.14), awq_marlin since 0.5.3.
    """
    return (
        engine.version < (0, 5, 3) or gpu.compute_capability < AMPERE or engine.flag("quantization") in {"gptq", "awq"}
    )
