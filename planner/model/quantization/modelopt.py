"""NVIDIA ModelOpt: FP8, NVFP4, MXFP8 and mixtures, from config.json or from hf_quant_config.json alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from planner.errors import ModelError
from planner.model.quantization.quantization import Quantization
from planner.model.quantization.scheme import FP8_BLOCK, MX_GROUP_SIZE, NVFP4_GROUP_SIZE, Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

# quant_algo -> the engine's method and the scheme (vllm modelopt.py LINEAR_ALGOS and resolve()).
ALGORITHMS: dict[str, Scheme] = {
    "FP8": Scheme("modelopt", "fp8", static_input=True),
    "FP8_PER_CHANNEL_PER_TOKEN": Scheme("modelopt", "fp8", "channel"),
    "FP8_PB_WO": Scheme("modelopt", "fp8", "block", block=FP8_BLOCK),
    "FP8_BLOCK_SCALES": Scheme("modelopt", "fp8", "block", block=FP8_BLOCK),
    "NVFP4": Scheme("modelopt_fp4", "nvfp4", "group", 4, NVFP4_GROUP_SIZE, static_input=True),
    "W4A16_NVFP4": Scheme("modelopt_fp4", "nvfp4", "group", 4, NVFP4_GROUP_SIZE, weight_only=True),
    "MXFP8": Scheme("modelopt_mxfp8", "mxfp8", "group", 8, MX_GROUP_SIZE),
}
# The routed experts' projections of one layer, which the engine fuses: "...experts.17.down_proj" -> "...experts".
EXPERT_ENTRY = re.compile(r"^(.*\.experts)\.\d+\.")


def parse_modelopt(config: Mapping[str, Any]) -> Quantization:
    """vllm modelopt.py ModelOptQuantConfigBase.from_config: the old file's layout or the one of config.json."""
    nested = config.get("quantization")
    settings: Mapping[str, Any] = nested if isinstance(nested, dict) else config
    algorithm = str(settings.get("quant_algo") or "").upper()
    excluded = settings.get("exclude_modules") or settings.get("ignore") or ()
    if algorithm == "MIXED_PRECISION":
        return Quantization(
            "modelopt_mixed",
            "layers",
            ignored=tuple(excluded),
            layers=_layer_schemes(settings.get("quantized_layers") or {}),
        )
    scheme = _algorithm_scheme(algorithm)
    return Quantization(
        scheme.method,
        "wildcards",
        {"linear": scheme, "experts": _experts_scheme(scheme), "head": scheme},
        tuple(excluded),
    )


def _algorithm_scheme(algorithm: str) -> Scheme:
    if algorithm not in ALGORITHMS:
        raise ModelError(
            f"quantization_config: ModelOpt quant_algo {algorithm or '(missing)'} is not understood. "
            f"Known are {', '.join(ALGORITHMS)} and MIXED_PRECISION. Use a checkpoint with one of these."
        )
    return ALGORITHMS[algorithm]


def _experts_scheme(scheme: Scheme) -> Scheme:
    """ModelOptFp8MoEMethod knows scales per tensor only, whatever the linear layers have."""
    return ALGORITHMS["FP8"] if scheme.storage == "fp8" else scheme


def _layer_schemes(published: Mapping[str, Mapping[str, Any]]) -> dict[str, Scheme | None]:
    """Schemes by full name; experts under the name of their layer, and under its parent where no ".experts" is."""
    schemes: dict[str, Scheme | None] = {}
    for name, entry in published.items():
        scheme = _algorithm_scheme(str(entry.get("quant_algo") or "").upper())
        found = EXPERT_ENTRY.match(name)
        schemes.setdefault(found.group(1) if found else name, scheme)
    return schemes
