"""Integers: weight-only AWQ, GPTQ and AutoRound, which packs as either; experts quantized at load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.errors import ModelError
from planner.model.quantization.quantization import Quantization, Rule
from planner.model.quantization.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.model.quantization.quantization import ModuleKind

# packing_format of AutoRound -> the method whose layout it is.
AUTO_ROUND_LAYOUTS = {"auto_round:auto_gptq": "auto_gptq", "auto_round:auto_awq": "auto_awq"}


def parse_awq(config: Mapping[str, Any]) -> Quantization:
    """vllm auto_awq.py AutoAWQConfig.from_config: 4 bits only."""
    bits = int(config.get("w_bit") or config.get("bits") or 4)
    if bits != 4:
        raise ModelError(
            f"quantization_config: awq with {bits} bits. The engine says: Unsupported num_bits = {bits}. "
            "Use a 4-bit AWQ checkpoint."
        )
    group = int(config.get("q_group_size") or config["group_size"])
    scheme = Scheme(
        "auto_awq", "int", "group", bits, group, symmetric=not config.get("zero_point", True), weight_only=True
    )
    return Quantization(
        "auto_awq", "substring", _with_head(scheme, config), tuple(config.get("modules_to_not_convert") or ())
    )


def parse_gptq(config: Mapping[str, Any]) -> Quantization:
    """vllm auto_gptq.py AutoGPTQConfig.from_config: symmetric 4 or 8 bits, ``dynamic`` rules per module."""
    scheme = _gptq_scheme(Scheme("auto_gptq", "int", "group", weight_only=True), config)
    modules = config.get("modules_in_block_to_quantize") or ()
    return Quantization(
        "auto_gptq",
        "gptq",
        _with_head(scheme, config),
        rules=tuple(
            _dynamic_rule(pattern, change, scheme) for pattern, change in (config.get("dynamic") or {}).items()
        ),
        quantized_modules=tuple(_flat(modules)),
    )


def _gptq_scheme(base: Scheme, config: Mapping[str, Any]) -> Scheme:
    """``base`` with what ``config`` states: bits, group_size, sym, desc_act."""
    bits = int(config.get("bits", base.bits))
    group = int(config.get("group_size", base.group_size))
    symmetric = bool(config.get("sym", base.symmetric))
    if bits not in (4, 8) or not symmetric:
        raise ModelError(
            "quantization_config: the engine does not load this GPTQ. It says: Unsupported quantization config: "
            f"bits={bits}, sym={symmetric}. Use a checkpoint with sym true and 4 or 8 bits."
        )
    act_order = bool(config.get("desc_act", base.act_order)) and group != -1
    return replace(base, bits=bits, group_size=group, symmetric=symmetric, act_order=act_order)


def _dynamic_rule(pattern: str, change: Mapping[str, Any] | None, scheme: Scheme) -> Rule:
    """GPTQModel's per-module rules: "-:" leaves a module alone, "+:" or nothing changes its settings."""
    if pattern.startswith("-:"):
        return Rule(pattern.removeprefix("-:"), None)
    return Rule(pattern.removeprefix("+:"), _gptq_scheme(scheme, change or {}))


def parse_auto_round(config: Mapping[str, Any]) -> Quantization:
    """vllm inc/config_parser.py: packed like GPTQ or AWQ, with settings of their own for the modules it names."""
    packing = str(config.get("packing_format") or "auto_round:auto_gptq")
    if config.get("data_type", "int") != "int" or packing not in AUTO_ROUND_LAYOUTS:
        raise ModelError(
            f"quantization_config: auto-round with {config.get('data_type')} packed as {packing} is not understood. "
            f"Known are integers packed as {' or '.join(AUTO_ROUND_LAYOUTS)}. Use such a checkpoint."
        )
    scheme = _auto_round_scheme(Scheme(AUTO_ROUND_LAYOUTS[packing], "int", "group", weight_only=True), config)
    blocks = config.get("block_name_to_quantize") or ()
    return Quantization(
        "inc",
        "auto_round",
        {"linear": scheme, "experts": scheme},
        rules=tuple(
            Rule(name, None if int(change.get("bits", scheme.bits)) >= 16 else _auto_round_scheme(scheme, change))
            for name, change in (config.get("extra_config") or {}).items()
        ),
        quantized_modules=tuple(blocks.split(",") if isinstance(blocks, str) else blocks),
    )


def _auto_round_scheme(base: Scheme, config: Mapping[str, Any]) -> Scheme:
    """Symmetric or not, as the layout allows: GPTQ's is symmetric."""
    symmetric = bool(config.get("sym", base.symmetric))
    bits = int(config.get("bits", base.bits))
    if bits not in (4, 8) or (base.method == "auto_gptq" and not symmetric):
        raise ModelError(
            f"quantization_config: auto-round with bits={bits}, sym={symmetric} is not understood. "
            "Use a checkpoint with 4 or 8 bits, symmetric where it is packed like GPTQ."
        )
    return replace(base, bits=bits, group_size=int(config.get("group_size", base.group_size)), symmetric=symmetric)


def _with_head(scheme: Scheme, config: Mapping[str, Any]) -> dict[ModuleKind, Scheme]:
    """Linears and experts; the head only where the checkpoint says so (lm_head: true)."""
    schemes: dict[ModuleKind, Scheme] = {"linear": scheme, "experts": scheme}
    return {**schemes, "head": scheme} if config.get("lm_head") else schemes


def _flat(modules: Any) -> list[str]:
    """modules_in_block_to_quantize is a list of names or of lists of names."""
    return [name for entry in modules for name in ([entry] if isinstance(entry, str) else entry)]


def parse_experts_int8(config: Mapping[str, Any]) -> Quantization:
    """vllm experts_int8.py: routed experts are quantized at load, one scale per output channel."""
    del config
    return Quantization("experts_int8", "uniform", {"experts": Scheme("experts_int8", "int8", "channel", online=True)})
