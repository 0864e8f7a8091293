"""Quantization: a checkpoint's published quantization as rules from which scheme_for finds a module's Scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.model.quantization.scheme import Scheme

ModuleKind = Literal["linear", "experts", "head"]


class Rule(Struct, frozen=True):
    """The scheme of the modules that ``target`` names: a path, a "re:" pattern or the name of a module class."""

    target: str
    scheme: Scheme | None


class Quantization(Struct, frozen=True, eq=False):
    """The quantization of one checkpoint. ``method`` is vLLM's resolved name; None: nothing is quantized.

    ``schemes`` holds what each kind of module gets where no rule says otherwise; a kind that is missing stays as it
    is. ``ignored``, ``rules`` and ``layers`` are read by the engine's own matching of that method (``matching``).
    Equal only to itself, so that answers can be cached by it.
    """

    method: str | None = None
    matching: str = "uniform"
    schemes: Mapping[ModuleKind, Scheme] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    layers: Mapping[str, Scheme | None] = field(default_factory=dict)  # full name -> scheme
    quantized_modules: tuple[str, ...] = ()  # GPTQ's modules_in_block_to_quantize; empty: all
    deprecated: bool = False  # 0.33.0 asks for --allow-deprecated-quantization

    def all_schemes(self) -> tuple[Scheme, ...]:
        """Every scheme that some module may have, each once."""
        found = (*self.schemes.values(), *(rule.scheme for rule in self.rules), *self.layers.values())
        return tuple(dict.fromkeys(scheme for scheme in found if scheme is not None))
