"""Which modules AWQ and GPTQ checkpoints leave alone, read off their tensors where config.json does not list them.

vllm layers/quantization/auto_awq.py and auto_gptq.py, maybe_update_config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.model.stored_dtypes import FLOATS
from planner.model.tensor_runs import MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from planner.model.tensor_runs import TensorRun

MATRIX = 2  # dimensions of a linear layer's weight


def with_header_lists(published: Mapping[str, Any] | None, tensors: Iterable[TensorRun]) -> Mapping[str, Any] | None:
    """``published`` with the list that vLLM makes for itself; unchanged where it has one or all layers are alike."""
    plain = [run for run in tensors if run.dtype in FLOATS and len(run.shape) == MATRIX and _leaf(run) == "weight"]
    if not published or not any(MARK in run.pattern for run in plain):
        return published
    method = str(published.get("quant_method")).lower()
    if method == "awq" and not published.get("modules_to_not_convert"):
        return {**published, "modules_to_not_convert": list(_module_names(plain))}
    if method == "gptq" and not published.get("modules_in_block_to_quantize"):
        packed = [run for run in tensors if _leaf(run) == "qweight"]
        return {**published, "modules_in_block_to_quantize": list(_module_names(packed))}
    return published


def _leaf(run: TensorRun) -> str:
    return run.pattern.rpartition(".")[2]


def _module_names(runs: Iterable[TensorRun]) -> Iterator[str]:
    """Modules outside experts, whose names hold one number at most."""
    for run in runs:
        module = run.pattern.rpartition(".")[0]
        if module.count(MARK) <= 1:
            yield from (module.replace(MARK, str(layer)) for layer in run.layers)
