"""What a checkpoint's published quantization says about each module: scheme_for(parse_quantization(config), name)."""

from planner.model.quantization.matching import scheme_for
from planner.model.quantization.modules import (
    QuantizedModule,
    Schemes,
    layer_kinds,
    module_scheme,
    quantized_modules,
)
from planner.model.quantization.parse import engine_quantization, parse_quantization
from planner.model.quantization.quantization import ModuleKind, Quantization
from planner.model.quantization.scheme import Scheme

__all__ = [
    "ModuleKind",
    "Quantization",
    "QuantizedModule",
    "Scheme",
    "Schemes",
    "engine_quantization",
    "layer_kinds",
    "module_scheme",
    "parse_quantization",
    "quantized_modules",
    "scheme_for",
]
