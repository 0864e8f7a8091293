"""Weight-only integers: AWQ and GPTQ."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from planner.errors import ModelError
from planner.model.quantization.quantization import Quantization, Rule
from planner.model.quantization.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.model.quantization.quantization import ModuleKind


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


def _with_head(scheme: Scheme, config: Mapping[str, Any]) -> dict[ModuleKind, Scheme]:
    """Linears and experts; the head only where the checkpoint says so (lm_head: true)."""
    schemes: dict[ModuleKind, Scheme] = {"linear": scheme, "experts": scheme}
    return {**schemes, "head": scheme} if config.get("lm_head") else schemes


def _flat(modules: Any) -> list[str]:
    """modules_in_block_to_quantize is a list of names or of lists of names."""
    return [name for entry in modules for name in ([entry] if isinstance(entry, str) else entry)]
