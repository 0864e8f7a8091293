"""Models without attention: Mamba, Falcon-Mamba and Mamba-2.

vllm/model_executor/models/{mamba,mamba2}.py.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import norm
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.states import (
    Mamba1,
    Mamba2,
    mamba1_cache,
    mamba1_mixer,
    mamba2_cache,
    mamba2_mixer,
)
from planner.model.facts import Layer

if TYPE_CHECKING:
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

AUTO_RANK_DIVISOR = 16  # transformers' MambaConfig: time_step_rank "auto" is hidden_size / 16


def mamba(config: Config) -> ModelFacts:
    """Mamba-1 throughout; Falcon-Mamba's inner norms have no weights."""
    text = text_config(config)
    size = required(text, "hidden_size", "d_model")
    rank = optional(text, "time_step_rank", default="auto")
    shape = Mamba1(
        hidden_size=size,
        intermediate_size=optional(text, "intermediate_size", "d_inner", default=_expand(text) * size),
        state_size=optional(text, "state_size", default=16),
        conv_kernel=optional(text, "conv_kernel", default=4),
        time_step_rank=ceil(size / AUTO_RANK_DIVISOR) if rank == "auto" else rank,
        conv_bias=optional(text, "use_conv_bias", default=True),
        bias=optional(text, "use_bias", default=False),
    )
    layer = Layer((*mamba1_mixer(shape), *norm("norm", size)), (mamba1_cache(shape),))
    return _attention_free(config, layer)


def mamba2(config: Config) -> ModelFacts:
    """Mamba-2 throughout; the class does not run in pipeline stages."""
    text = text_config(config)
    size = required(text, "hidden_size", "d_model")
    shape = Mamba2(
        hidden_size=size,
        intermediate_size=optional(text, "intermediate_size", default=_expand(text) * size),
        heads=required(text, "num_heads"),
        head_dim=required(text, "head_dim"),
        groups=required(text, "n_groups"),
        state_size=required(text, "state_size"),
        conv_kernel=optional(text, "conv_kernel", default=4),
        conv_bias=optional(text, "use_conv_bias", default=True),
        bias=optional(text, "use_bias", default=False),
    )
    layer = Layer((*mamba2_mixer(shape), *norm("norm", size)), (mamba2_cache(shape),))
    return _attention_free(config, layer, supports_pp=False, mamba_chunk_size=text.get("chunk_size"))


def _expand(text: Config) -> int:
    return int(optional(text, "expand", default=2))


def _attention_free(config: Config, layer: Layer, **flags: Any) -> ModelFacts:
    """``num_attention_heads`` means nothing here: it is one, and no rule asks for it."""
    text = text_config(config)
    size = required(text, "hidden_size", "d_model")
    fixed = {
        "layers_prefix": "backbone.layers",
        "tables_everywhere": True,
        "attention_free": True,
        "mamba_prefix_caching": True,
    }
    body = Body(
        tied=True,
        final=norm("backbone.norm_f", size),
        embedding_name="backbone.embeddings",
        heads=1,
        kv_heads=1,
        head_dim=size,
        flags=fixed | flags,
    )
    return assemble(config, (layer,) * required(text, "num_hidden_layers", "n_layer"), body)
