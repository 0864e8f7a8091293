"""The longest context of latent attention, whose workspace grows with max_model_len and takes from the KV cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.memory.account import make_memory, stage_pools
from planner.memory.kv_cache import longest_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.memory.kv_cache import KvLayout
    from planner.model.facts import ModelFacts


def longest_beside_workspace(
    facts: ModelFacts,
    gpu: Gpu,
    engine: EngineConfig,
    split: tuple[int, int],
    layouts: Sequence[KvLayout],
    available_bytes: Sequence[int],
) -> int:
    """The longest max_model_len that starts when it is set; 0 if none.

    ``split``: tensor and pipeline parallel size. ``available_bytes``: of each stage, beside the workspace of the
    engine's own max_model_len (memory/activations.py mla_context_tokens).
    """

    def pools_at(length: int) -> list[int]:
        at = replace(engine, max_model_len=length)
        return stage_pools(at, make_memory(facts, gpu, at, *split), layouts)

    longest = longest_context(layouts, available_bytes, engine)
    shorter, longer = sorted((engine.max_model_len, longest))  # the first fits, the second may not
    other = pools_at(max(1, longest))
    if other == list(available_bytes):
        return longest
    if longest > shorter and longest_context(layouts, other, engine) >= longest:
        return longest
    while longer - shorter > 1:
        middle = (shorter + longer) // 2
        if longest_context(layouts, pools_at(middle), engine) >= middle:
            shorter = middle
        else:
            longer = middle
    return shorter
