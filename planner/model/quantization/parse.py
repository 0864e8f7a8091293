"""quantization_config and hf_quant_config.json, as published, into a Quantization."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.errors import ModelError
from planner.model.quantization.float8 import make_online_fp8
from planner.model.quantization.matching import patterns
from planner.model.quantization.quantization import Quantization, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from planner.model.facts import ModelFacts

    Reader = Callable[[Mapping[str, Any]], Quantization]


# quant_method of the checkpoint -> its reader's module and function here, loaded when a checkpoint has it. Methods that
# are missing are refused by name.
METHODS: Mapping[str, str] = {
    "auto-round": "integer.parse_auto_round",
    "awq": "integer.parse_awq",
    "compressed-tensors": "compressed.parse_compressed_tensors",
    "deepseek_v4_fp8": "float8.parse_deepseek_v4",
    "experts_int8": "integer.parse_experts_int8",
    "fbgemm_fp8": "float8.parse_fbgemm_fp8",
    "fp8": "float8.parse_fp8",
    "gptq": "integer.parse_gptq",
    "gpt_oss_mxfp4": "float4.parse_mxfp4",
    "modelopt": "modelopt.parse_modelopt",
    "mxfp4": "float4.parse_mxfp4",
    "quark": "quark.parse_quark",
}


def reader_of(method: str) -> Reader:
    """The function that reads what a checkpoint of one of METHODS publishes."""
    module, _, function = METHODS[method].partition(".")
    reader: Reader = getattr(import_module(f"{__package__}.{module}"), function)
    return reader


def parse_quantization(config: Mapping[str, Any] | None, model_type: str = "") -> Quantization:
    """``config`` is quantization_config, or hf_quant_config.json where that is the only sign; None: unquantized.

    Raises ModelError for formats whose bytes are not derived from the engine's source.
    """
    if not config:
        return Quantization()
    method = quant_method(config, model_type)
    if method not in METHODS:
        raise ModelError(
            f"quantization_config: quant_method {method or '(missing)'} is not understood. How many bytes the engine "
            f"keeps for it is not known here; known are {', '.join(METHODS)}. Use a checkpoint in one of these."
        )
    quantization = reader_of(method)({**config, "model_type": model_type})
    for pattern in patterns(quantization):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ModelError(
                f"quantization_config: {pattern!r} is to match names of modules and is no pattern ({error}). "
                "Use the file of the published checkpoint."
            ) from error
    return quantization


def quant_method(config: Mapping[str, Any], model_type: str = "") -> str:
    """The name under which the engine finds the reader (vllm transformers_utils/model_arch_config_convertor.py)."""
    method = str(config.get("quant_method") or "").lower().replace("compressed_tensors", "compressed-tensors")
    if method == "fp8" and model_type.startswith("deepseek_v4"):
        return "deepseek_v4_fp8"
    if model_type == "kimi_k3" and config.get("format") == "mxfp4-pack-quantized":
        return "mxfp4"  # models/config.py KimiK3ForConditionalGenerationConfig
    producer = (config.get("producer") or {}).get("name")
    if method.startswith("modelopt") or producer == "modelopt" or "quantization" in config:
        return "modelopt"
    return method


@lru_cache(maxsize=64)
def engine_quantization(facts: ModelFacts, online: str | None = None) -> Quantization:
    """The quantization that the engine runs ``facts`` with; ``online``: EngineConfig.quantization ("fp8" or None).

    Names are the engine's: the checkpoint's lists are mapped through ``facts.name_prefixes``.
    """
    published = parse_quantization(facts.quantization, facts.model_type)
    if published.method is None:
        return make_online_fp8() if online else published
    return renamed(published, facts.name_prefixes)


def renamed(quantization: Quantization, prefixes: Iterable[tuple[str, str]]) -> Quantization:
    """Every path of the checkpoint under the engine's name (QuantizationConfig.apply_vllm_mapper)."""
    pairs = tuple(prefixes)

    def engine_name(name: str) -> str:
        for old, new in pairs:
            if name.startswith(old):
                name = new + name.removeprefix(old)
        return name

    if not pairs:
        return quantization
    ignored: Iterable[str] = quantization.ignored
    if str(quantization.method).startswith("modelopt"):
        ignored = spread(ignored)
    return replace(
        quantization,
        ignored=tuple(engine_name(name) for name in ignored),
        rules=tuple(Rule(engine_name(rule.target), rule.scheme) for rule in quantization.rules),
        layers={engine_name(name): scheme for name, scheme in quantization.layers.items()},
        quantized_modules=tuple(engine_name(name) for name in quantization.quantized_modules),
    )


def spread(excluded: Iterable[str]) -> Iterator[str]:
    """ModelOpt's module_path* as the module and all below it, so that paths can be renamed (modelopt.py
    ModelOptQuantConfigBase.apply_vllm_mapper)."""
    for name in excluded:
        if len(name) > 1 and name.endswith("*") and name[-2] != ".":
            yield name[:-1]
            yield f"{name[:-1]}.*"
        else:
            yield name
