"""AMD Quark: FP8 with one scale per tensor for weights and activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.errors import ModelError
from planner.model.quantization.quantization import Quantization, Rule
from planner.model.quantization.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse_quark(config: Mapping[str, Any]) -> Quantization:
    """vllm quark.py QuarkW8A8Fp8 (per tensor); other Quark schemes are refused."""
    settings = config.get("global_quant_config") or {}
    weight, inputs = settings.get("weight"), settings.get("input_tensors") or {}
    if not (_is_fp8_per_tensor(weight) and _is_fp8_per_tensor(inputs)) or config.get("layer_quant_config"):
        raise ModelError(
            "quantization_config: this Quark checkpoint is not understood. Known is fp8_e4m3 per tensor for weights "
            "and activations alike in every layer. Use such a checkpoint, or one in compressed-tensors."
        )
    scheme = Scheme("quark", "fp8", static_input=not inputs["is_dynamic"])
    return Quantization("quark", "targets", ignored=tuple(config.get("exclude") or ()), rules=(Rule("Linear", scheme),))


def _is_fp8_per_tensor(settings: Any) -> bool:
    return (
        isinstance(settings, dict) and settings.get("dtype") == "fp8_e4m3" and settings.get("qscheme") == "per_tensor"
    )
