"""compressed-tensors: config_groups of targets with weight and activation settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.errors import ModelError
from planner.model.quantization.quantization import Quantization, Rule
from planner.model.quantization.scheme import FP8_BLOCK, MX_GROUP_SIZE, NVFP4_GROUP_SIZE, Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

METHOD = "compressed-tensors"


def parse_compressed_tensors(config: Mapping[str, Any]) -> Quantization:
    """vllm compressed_tensors.py CompressedTensorsConfig.from_config; Attention groups concern the KV cache only."""
    rules = []
    for group in (config.get("config_groups") or {}).values():
        targets = group.get("targets") or ["Linear"]
        if len(targets) == 1 and targets[0].endswith("Attention"):
            continue
        scheme = compressed_scheme(group, group.get("format") or config.get("format"))
        rules += [Rule(target, scheme) for target in targets]
    if _transforms(config):
        raise ModelError(
            "quantization_config: compressed-tensors with transform_config (Hadamard transforms) is not understood. "
            "Its extra matrices are not counted. Use a checkpoint without transforms."
        )
    return Quantization(
        METHOD,
        "targets",
        ignored=tuple(config.get("ignore") or ()),
        rules=tuple(rules),
    )


def _transforms(config: Mapping[str, Any]) -> bool:
    transform = config.get("transform_config")
    return bool(transform and transform.get("config_groups"))


def compressed_scheme(group: Mapping[str, Any], published: str | None) -> Scheme:
    """The scheme of one config group (CompressedTensorsConfig._get_scheme_from_parts), in the engine's order."""
    weights, inputs = group["weights"], group.get("input_activations")
    kind, bits, strategy = weights.get("type", "int"), int(weights.get("num_bits", 8)), weights.get("strategy")
    group_size = int(weights.get("group_size") or -1)
    static = inputs is not None and not inputs.get("dynamic")
    if kind == "float" and bits == 4 and group_size == NVFP4_GROUP_SIZE:
        return Scheme(METHOD, "nvfp4", "group", bits, group_size, weight_only=inputs is None, static_input=static)
    if kind == "float" and bits == 4 and group_size == MX_GROUP_SIZE and not _is_fp8(inputs):
        return Scheme(METHOD, "mxfp4", "group", bits, group_size, weight_only=inputs is None)
    if kind == "float" and bits == 8 and group_size == MX_GROUP_SIZE:
        return Scheme(METHOD, "mxfp8", "group", bits, group_size, weight_only=inputs is None)
    if kind == "float" and bits == 8 and strategy in ("tensor", "channel", "block"):
        return _fp8_scheme(weights, strategy, inputs is None, static)
    if kind == "int" and inputs is None and published == "pack-quantized" and strategy in ("group", "channel"):
        return _packed_scheme(weights, bits, group_size)
    if kind == "int" and bits == 8 and inputs and inputs.get("num_bits") == 8 and strategy in ("tensor", "channel"):
        return Scheme(METHOD, "int8", strategy, symmetric=inputs.get("symmetric", True), static_input=static)
    raise ModelError(
        f"quantization_config: compressed-tensors with {bits}-bit {kind} weights per {strategy} and "
        f"{_activations(inputs)} activations is not understood. The bytes that the engine makes of it are not known "
        "here. Use a checkpoint in fp8, int8 w8a8, pack-quantized, nvfp4 or mxfp4."
    )


def _is_fp8(inputs: Mapping[str, Any] | None) -> bool:
    return inputs is not None and inputs.get("num_bits") == 8


def _activations(inputs: Mapping[str, Any] | None) -> str:
    return f"{inputs.get('num_bits')}-bit {inputs.get('type')}" if inputs else "unquantized"


def _fp8_scheme(weights: Mapping[str, Any], strategy: Any, weight_only: bool, static: bool) -> Scheme:
    if strategy != "block":
        return Scheme(METHOD, "fp8", strategy, weight_only=weight_only, static_input=static)
    block = weights.get("block_structure") or FP8_BLOCK
    rows, columns = block.split("x") if isinstance(block, str) else block  # "128x128" (QuantizationArgs)
    return Scheme(METHOD, "fp8", "block", block=(int(rows), int(columns)), weight_only=weight_only)


def _packed_scheme(weights: Mapping[str, Any], bits: int, group_size: int) -> Scheme:
    if bits not in (4, 8):
        raise ModelError(
            f"quantization_config: pack-quantized with {bits} bits is not understood. The kernels known here take "
            "4 or 8 bits. Use such a checkpoint."
        )
    act_order = str(weights.get("actorder")).lower() in ("group", "dynamic", "true")
    symmetric = bool(weights.get("symmetric", True))
    return Scheme(METHOD, "int", "group", bits, group_size, symmetric=symmetric, act_order=act_order, weight_only=True)
