"""Nemotron-H and Nemotron 3: layers of one mixer each, be it Mamba-2, attention, an MLP or experts.

vllm/model_executor/models/nemotron_h.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import (
    Heads,
    attention,
    attention_cache,
    experts,
    norm,
    plain_mlp,
    replicated,
)
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.states import Mamba2, mamba2_cache, mamba2_mixer
from planner.model.facts import Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import Cache, ModelFacts

# transformers' NemotronHConfig: what each name in layers_block_type is in hybrid_override_pattern
PATTERN_LETTERS = {"mamba": "M", "moe": "E", "attention": "*", "mlp": "-"}
STATE_DTYPE = "float32"  # models/config.py NemotronHForCausalLMConfig, where config.json names none


def nemotron_h(config: Config) -> ModelFacts:
    """One mixer and one norm per layer; no positions; the head is never tied."""
    text = text_config(config)
    makers = {"M": _mamba, "E": _experts, "*": _attention}
    made = {letter: maker(text) for letter, maker in makers.items() if letter in layer_pattern(text)}
    widths = iter(mlp_widths(text))
    layers = [_mlp(text, next(widths)) if letter == "-" else made[letter] for letter in layer_pattern(text)]
    count = optional(text, "n_routed_experts", default=0) if "E" in layer_pattern(text) else 0
    body = Body(
        final=norm("model.norm_f", required(text, "hidden_size")),
        head_dim=_heads(text).head_dim,
        num_experts=count,
        flags={
            "tables_everywhere": True,
            "mamba_prefix_caching": True,
            "mamba_chunk_size": text.get("chunk_size"),
            "name_prefixes": (("backbone.", "model."),),
        },
    )
    return assemble({**config, "tie_word_embeddings": False}, layers, body)


def layer_pattern(text: Config) -> str:
    """One letter per layer: M mamba, E experts, * attention, - MLP."""
    if text.get("layers_block_type"):
        return "".join(PATTERN_LETTERS[name] for name in text["layers_block_type"])
    return str(required(text, "hybrid_override_pattern"))


def mlp_widths(text: Config) -> tuple[int, ...]:
    """The width of each MLP layer in turn; a list of one holds for all."""
    published = optional(text, "intermediate_size", default=0)
    count = layer_pattern(text).count("-")
    if not isinstance(published, list):
        return (published,) * count
    return (published[0],) * count if len(published) == 1 else tuple(published)


def _layer(text: Config, modules: Modules, *caches: Cache) -> Layer:
    return Layer((*modules, *norm("norm", required(text, "hidden_size"))), caches)


def _heads(text: Config) -> Heads:
    hidden_size, heads = required(text, "hidden_size"), required(text, "num_attention_heads")
    head_dim = optional(text, "head_dim", "attention_head_dim", default=hidden_size // heads)
    return Heads(hidden_size, heads, required(text, "num_key_value_heads"), head_dim)


def _attention(text: Config) -> Layer:
    heads = _heads(text)
    window = text.get("sliding_window")
    cache = attention_cache(heads, "sliding_window" if window else "full", window)
    return _layer(text, attention(heads, prefix="mixer"), cache)


def _mamba(text: Config) -> Layer:
    heads, head_dim = required(text, "mamba_num_heads"), required(text, "mamba_head_dim")
    shape = Mamba2(
        hidden_size=required(text, "hidden_size"),
        intermediate_size=heads * head_dim,
        heads=heads,
        head_dim=head_dim,
        groups=required(text, "n_groups"),
        state_size=required(text, "ssm_state_size"),
        conv_kernel=required(text, "conv_kernel"),
        conv_bias=optional(text, "use_conv_bias", default=True),
        bias=optional(text, "use_bias", default=False),
    )
    state_dtype = optional(text, "mamba_ssm_cache_dtype", default=STATE_DTYPE)
    return _layer(text, mamba2_mixer(shape), mamba2_cache(shape, state_dtype))


def _mlp(text: Config, width: int) -> Layer:
    return _layer(text, plain_mlp(required(text, "hidden_size"), width, "mixer", bias=_biased(text)))


def _experts(text: Config) -> Layer:
    """Router, experts without gates, a shared expert; Nemotron 3 Ultra and Super route in a smaller latent space."""
    hidden_size, count = required(text, "hidden_size"), required(text, "n_routed_experts")
    latent = text.get("moe_latent_size")
    gate = Linear("mixer.gate", hidden_size, (Output(count),), "replicated", quantizable=False, fp32_router=True)
    projections: Modules = ()
    if latent:
        projections = (
            replicated("mixer.fc1_latent_proj", hidden_size, latent, bias=_biased(text)),
            replicated("mixer.fc2_latent_proj", latent, hidden_size, bias=_biased(text)),
        )
    modules = (
        gate,
        Parameter("mixer.gate.e_score_correction_bias", (count,), dtype="float32"),
        *_shared_expert(text),
        *projections,
        *experts(
            latent or hidden_size,
            required(text, "moe_intermediate_size"),
            count,
            required(text, "num_experts_per_tok"),
            "mixer.experts",
            gated=False,
        ),
    )
    return _layer(text, modules)


def _shared_expert(text: Config) -> Modules:
    copies = optional(text, "n_shared_experts", default=0)
    if not copies:
        return ()
    width = required(text, "moe_shared_expert_intermediate_size") * copies
    return plain_mlp(required(text, "hidden_size"), width, "mixer.shared_experts", bias=False)


def _biased(text: Config) -> bool:
    return bool(optional(text, "mlp_bias", default=False))
