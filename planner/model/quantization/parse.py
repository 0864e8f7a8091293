"""quantization_config and hf_quant_config.json, as published, into a Quantization."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.errors import ModelError
from planner.model.quantization.compressed import parse_compressed_tensors
from planner.model.quantization.float8 import make_online_fp8, parse_deepseek_v4, parse_fbgemm_fp8, parse_fp8
from planner.model.quantization.integer import parse_auto_round, parse_awq, parse_gptq
from planner.model.quantization.matching import patterns
from planner.model.quantization.modelopt import parse_modelopt
from planner.model.quantization.quantization import Quantization, Rule
from planner.model.quantization.quark import parse_quark
from planner.model.quantization.scheme import MX_GROUP_SIZE, Scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from planner.model.facts import ModelFacts


def parse_mxfp4(config: Mapping[str, Any]) -> Quantization:
    """vllm mxfp4.py: routed experts only, "MXFP4 linear layer is not implemented"."""
    method = "gpt_oss_mxfp4" if config.get("model_type") == "gpt_oss" else "mxfp4"
    experts = Scheme(method, "mxfp4", "group", bits=4, group_size=MX_GROUP_SIZE, weight_only=True)
    return Quantization(method, "uniform", {"experts": experts})


def parse_experts_int8(config: Mapping[str, Any]) -> Quantization:
    """vllm experts_int8.py: routed experts are quantized at load, one scale per output channel."""
    del config
    return Quantization("experts_int8", "uniform", {"experts": Scheme("experts_int8", "int8", "channel", online=True)})


# quant_method of the checkpoint -> its reader. Methods that are missing are refused by name.
METHODS: Mapping[str, Callable[[Mapping[str, Any]], Quantization]] = {
    "auto-round": parse_auto_round,
    "awq": parse_awq,
    "compressed-tensors": parse_compressed_tensors,
    "deepseek_v4_fp8": parse_deepseek_v4,
    "experts_int8": parse_experts_int8,
    "fbgemm_fp8": parse_fbgemm_fp8,
    "fp8": parse_fp8,
    "gptq": parse_gptq,
    "gpt_oss_mxfp4": parse_mxfp4,
    "modelopt": parse_modelopt,
    "mxfp4": parse_mxfp4,
    "quark": parse_quark,
}


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
    quantization = METHODS[method]({**config, "model_type": model_type})
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
    return replace(
        quantization,
        ignored=tuple(engine_name(name) for name in quantization.ignored),
        rules=tuple(Rule(engine_name(rule.target), rule.scheme) for rule in quantization.rules),
        layers={engine_name(name): scheme for name, scheme in quantization.layers.items()},
        quantized_modules=tuple(engine_name(name) for name in quantization.quantized_modules),
    )
