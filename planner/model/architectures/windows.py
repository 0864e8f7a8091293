"""Which layers attend to everything and which to a window or a chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from planner.model.architectures.reading import optional, required

if TYPE_CHECKING:
    from planner.model.architectures.reading import Config
    from planner.model.facts import CacheKind


class Window(Struct, frozen=True):
    """The span of one layer's attention; None: everything before."""

    tokens: int | None = None
    kind: CacheKind = "full"


FULL = Window()
# transformers' class defaults, where config.json leaves the pattern out: every n-th layer attends to everything
PATTERNS = {"gemma2": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4, "olmo3": 4, "exaone4": 4}
WINDOW_DEFAULTS = {"gemma2": 4096, "gemma3_text": 4096, "gemma3": 4096, "cohere2": 4096, "olmo3": 4096}
# classes whose window is inert unless use_sliding_window is true (transformers' Qwen2Config and kin)
OPT_IN = frozenset(
    {"qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "qwen2_vl", "qwen2_5_vl"}
    | {"qwen2_vl_text", "qwen2_5_vl_text", "qwen2_5_omni_text"}
)


def layer_windows(text: Config) -> tuple[Window, ...]:
    """One Window per layer, from layer_types where they are published, else from the class's pattern."""
    count: int = required(text, "num_hidden_layers", "num_layers", "n_layer")
    model_type = str(text.get("model_type"))
    tokens = optional(text, "sliding_window", default=WINDOW_DEFAULTS.get(model_type))
    if tokens is None or (model_type in OPT_IN and not text.get("use_sliding_window")):
        return (FULL,) * count
    window = Window(tokens, "sliding_window")
    if published := text.get("layer_types"):
        return tuple(window if kind == "sliding_attention" else FULL for kind in published[:count])
    if model_type in OPT_IN:
        first = optional(text, "max_window_layers", default=count)
        return tuple(window if index >= first else FULL for index in range(count))
    step = optional(text, "sliding_window_pattern", "_sliding_window_pattern", default=PATTERNS.get(model_type))
    if isinstance(step, int) and step > 0:
        return tuple(window if (index + 1) % step else FULL for index in range(count))
    return (window,) * count
