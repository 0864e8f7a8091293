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
WEIGHTS_PER_BYTE = {"int4_weight": 2, "mxfp4": 2, "int8_weight": 1, "fp8": 1}
UNPACKING_NORM = 4  # reading and unpacking run beside each other: nearly the longer of the two
TURING, AMPERE, ADA, HOPPER, BLACKWELL = 75, 80, 89, 90, 100  # compute capabilities
TURING_MARLIN = (0, 14, 0)
A100_TFLOPS_PER_SM = 312 / 108


def bandwidth(gpu: Gpu, constants: Constants) -> float:
    """Bytes per second that reading weights reaches."""
    share = constants.hbm_efficiency if gpu.memory_kind == "hbm" else constants.gddr_efficiency
    if gpu.vendor == "amd":
        share *= constants.rocm_efficiency
    return gpu.memory_bandwidth_gbps * GIGA * share


def read_s_per_byte(form: Format, gpu: Gpu, constants: Constants) -> float:
    """Seconds per byte of weights in a format that a step reads.

    Weights narrower than what they are multiplied in are unpacked by the multiprocessors on the way (Marlin), so that
    a GPU with much bandwidth for its multiprocessors waits for them: an H200 reads such weights no faster than an H100.
    """
    share = constants.nvfp4_efficiency if form == "nvfp4" else 1.0
    reading = 1 / (bandwidth(gpu, constants) * share)
    if not is_unpacked(form, gpu):
        return reading
    unpacking = WEIGHTS_PER_BYTE[form] * widening_s(gpu, constants)
    return float((reading**UNPACKING_NORM + unpacking**UNPACKING_NORM) ** (1 / UNPACKING_NORM))


def is_unpacked(form: Format, gpu: Gpu) -> bool:
    """Whether weights of a format are widened on this GPU before they are multiplied."""
    if form == "mxfp4":
        return gpu.compute_capability < BLACKWELL
    if form == "fp8":
        return gpu.compute_capability < ADA
    return form in {"int4_weight", "int8_weight"}


def widening_s(gpu: Gpu, constants: Constants) -> float:
    """Seconds to widen one narrow weight to 16 bits, all multiprocessors at work; 0 where their number is unknown."""
    return 1 / (gpu.sms * constants.widened_per_sm_s) if gpu.sms else 0.0


def kv_bandwidth(gpu: Gpu, itemsize: int, constants: Constants) -> float:
    """Bytes per second that attention reaches over the KV cache while decoding.

    FlashAttention 3 reads FP8 on Hopper at 0.6 to 0.8 of what it reaches in 16 bits, FlashInfer on Ada and Blackwell at
    0.85 to 0.95 (ai-dynamo/aiconfigurator, generation_attention_perf); older GPUs have no instructions for it.
    """
    slower = itemsize == 1 and (gpu.compute_capability < ADA or gpu.compute_capability // 10 == HOPPER // 10)
    return bandwidth(gpu, constants) * (constants.fp8_kv_efficiency if slower else 1.0)


def arithmetic(form: Format, gpu: Gpu, dtype: str, constants: Constants) -> float:
    """FLOP/s of a product in this format; formats the GPU lacks are unpacked and multiplied in 16 bits (Marlin)."""
    tflops = gpu.bf16_tflops if dtype == "bfloat16" and gpu.bf16_tflops else gpu.fp16_tflops
    dense = tflops * TERA * feeding(tflops, gpu, constants)
    if gpu.compute_capability < AMPERE:
        dense *= constants.old_capability_efficiency
    if gpu.vendor == "amd":
        dense *= constants.rocm_compute_efficiency
    narrow = _narrow(form, gpu)
    if narrow is None:
        return dense
    tflops, factors_per_16_bits = narrow
    share = constants.narrow_compute_efficiency * feeding(tflops / factors_per_16_bits, gpu, constants)
    return max(tflops * TERA * share, dense)


def feeding(tflops: float, gpu: Gpu, constants: Constants) -> float:
    """Multiprocessors that multiply more reach a smaller share of it: neither power nor shared memory grew along.

    ``tflops``: what as many bits make in 16-bit products. 1 on an A100. Products of large matrices reach about all of
    a GeForce's data sheet, 0.85 of an A100's, 0.7 of an H100's.
    """
    if gpu.sms is None:
        return 1.0
    return float((tflops / gpu.sms / A100_TFLOPS_PER_SM) ** -constants.feeding_exponent)


def _narrow(form: Format, gpu: Gpu) -> tuple[float, int] | None:
    """TFLOPS of products narrower than 16 bits, and how many times narrower; None where the GPU has none such."""
    if form == "fp8":
        return (gpu.fp8_tflops, 2) if gpu.fp8_tflops and gpu.compute_capability >= ADA else None
    if form == "int8":
        return (gpu.int8_tops, 2) if gpu.int8_tops else None
    if gpu.compute_capability >= BLACKWELL and form == "nvfp4":
        return (gpu.fp4_tflops, 4) if gpu.fp4_tflops else None
    if gpu.compute_capability >= BLACKWELL and form == "mxfp4":  # its experts take mxfp8 activations
        return (gpu.fp8_tflops, 2) if gpu.fp8_tflops else None
    return None


def unfused(gpu: Gpu, engine: EngineConfig) -> bool:
    """4-bit weights are unpacked to 16 bits before every product: no Marlin kernel, or asked for by name.

    vllm/model_executor/layers/quantization/gptq.py and awq.py; gptq_marlin.py and awq_marlin.py replace them from
    capability 8.0 on (7.5 since 0.14, utils/marlin_utils.py), awq_marlin since 0.5.3.
    """
    least = TURING if engine.version >= TURING_MARLIN else AMPERE
    by_name = engine.flag("quantization") in {"gptq", "awq"}
    return engine.version < (0, 5, 3) or gpu.compute_capability < least or by_name
