"""Decoders of the first generation: LayerNorms with biases and a plain MLP.

vllm/model_executor/models/{falcon,gpt2,gpt_j,opt,bloom,stablelm,nemotron}.py; GPT-NeoX, Phi and GPT-BigCode run through
vLLM's Transformers backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import Heads, attention, attention_cache, gated_mlp, norm, plain_mlp
from planner.model.architectures.dense import read_heads, rope_of
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import frequencies, rope_cache, rope_parameters
from planner.model.facts import Layer, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers")
HEAD_KEYS = ("num_attention_heads", "n_head", "num_heads")
OPT_POSITION_OFFSET = 2  # vllm/model_executor/models/opt.py OPTLearnedPositionalEmbedding
STABLELM_ROTARY_FACTOR = 0.25  # transformers' StableLmConfig.partial_rotary_factor
NEMOTRON_ROTARY_FACTOR = 0.5  # transformers' NemotronConfig.partial_rotary_factor
NEOX_ROTARY_FACTOR = 0.25  # transformers' GPTNeoXConfig.rotary_pct
PHI_ROTARY_FACTOR = 0.5  # transformers' PhiConfig.partial_rotary_factor


def equal_heads(text: Config, kv_heads: int | None = None) -> Heads:
    """As many KV heads as query heads unless told; names of the older configs."""
    size, num_heads = required(text, "hidden_size", "n_embd"), required(text, *HEAD_KEYS)
    return Heads(size, num_heads, kv_heads or num_heads, size // num_heads)


def repeated(text: Config, modules: Modules, heads: Heads) -> tuple[Layer, ...]:
    """The same layer, as often as the config says."""
    return (Layer(modules, (attention_cache(heads),)),) * int(required(text, *LAYER_KEYS))


def layer_norms(size: int, *names: str) -> Modules:
    """LayerNorms with biases."""
    return tuple(module for name in names for module in norm(name, size, bias=True))


def falcon(config: Config) -> ModelFacts:
    """Multi-query (7B) or grouped (40B, 180B); one or two norms before parallel branches."""
    text = text_config(config)
    grouped = bool(text.get("new_decoder_architecture"))
    kv_heads = optional(text, "n_head_kv", "num_kv_heads") if grouped or not text.get("multi_query", True) else 1
    heads = equal_heads(text, kv_heads)
    size, bias = heads.hidden_size, bool(text.get("bias"))
    parallel = optional(text, "parallel_attn", default=True)
    two_norms = optional(text, "num_ln_in_parallel_attn", default=2 if grouped else 1) == 2
    names = ("ln_attn", "ln_mlp") if two_norms else ("input_layernorm",)
    if not parallel:
        names = ("input_layernorm", "post_attention_layernorm")
    inner = optional(text, "ffn_hidden_size", default=4 * size)
    modules = (
        *attention(heads, prefix="self_attention", qkv="query_key_value", out="dense", qkv_bias=bias, out_bias=bias),
        *plain_mlp(size, inner, bias=bias, names=("dense_h_to_4h", "dense_4h_to_h")),
        *layer_norms(size, *names),
        *(() if text.get("alibi") else _falcon_rope(text, heads)),
    )
    body = Body(
        tied=True,
        final=norm("transformer.ln_f", size, bias=True),
        embedding_name="transformer.word_embeddings",
        heads=heads.num_heads,
        kv_heads=heads.num_kv_heads,
        flags={"layers_prefix": "transformer.h", "tables_everywhere": True},
    )
    return assemble(config, repeated(text, modules, heads), body)


def _falcon_rope(text: Config, heads: Heads) -> Modules:
    rope = rope_parameters(text)
    return (rope_cache(heads.head_dim, optional(text, "max_position_embeddings", default=8192), rope),)


def gpt2(config: Config) -> ModelFacts:
    """Learned positions, biases everywhere, a tied head."""
    text = text_config(config)
    heads = equal_heads(text)
    size = heads.hidden_size
    modules = (
        *attention(heads, prefix="attn", qkv="c_attn", out="c_proj", qkv_bias=True, out_bias=True),
        *plain_mlp(size, optional(text, "n_inner", default=4 * size), names=("c_fc", "c_proj")),
        *layer_norms(size, "ln_1", "ln_2"),
    )
    body = Body(
        tied=True,
        embedding=(Parameter("transformer.wpe.weight", (required(text, "n_positions"), size)),),
        embedding_name="transformer.wte",
        final=norm("transformer.ln_f", size, bias=True),
        flags={"layers_prefix": "transformer.h", "tables_everywhere": True},
    )
    return assemble(config, repeated(text, modules, heads), body)


def gpt_bigcode(config: Config) -> ModelFacts:
    """GPT-2 with one KV head; runs through the Transformers backend, which keeps the causal mask."""
    text = text_config(config)
    heads = equal_heads(text, 1 if optional(text, "multi_query", default=True) else None)
    size, positions = heads.hidden_size, required(text, "n_positions")
    modules = (
        *attention(heads, prefix="attn", qkv="c_attn", out="c_proj", qkv_bias=True, out_bias=True),
        *plain_mlp(size, optional(text, "n_inner", default=4 * size), names=("c_fc", "c_proj")),
        *layer_norms(size, "ln_1", "ln_2"),
        Parameter("bias", (positions, positions), dtype="bool", buffer=True, shared_key="causal_mask", loaded=False),
    )
    body = Body(
        tied=True,
        embedding=(Parameter("model.wpe.weight", (positions, size)),),
        embedding_name="model.wte",
        final=norm("model.ln_f", size, bias=True),
        kv_heads=heads.num_kv_heads,
        flags={"layers_prefix": "model.h"},
    )
    return assemble(config, repeated(text, modules, heads), body)


def gptj(config: Config) -> ModelFacts:
    """Rotary positions on part of each head, parallel branches, a biased head."""
    text = text_config(config)
    heads = equal_heads(text)
    size, positions = heads.hidden_size, optional(text, "n_positions", "max_position_embeddings", default=8192)
    modules = (
        *attention(heads, prefix="attn", out="out_proj"),
        *plain_mlp(size, optional(text, "n_inner", default=4 * size), names=("fc_in", "fc_out")),
        *layer_norms(size, "ln_1"),
        rope_cache(heads.head_dim, positions, rope_parameters(text), rotary_dim=optional(text, "rotary_dim")),
    )
    body = Body(
        embedding_name="transformer.wte",
        final=norm("transformer.ln_f", size, bias=True),
        lm_head_bias=True,
        flags={"layers_prefix": "transformer.h", "tables_everywhere": True},
    )
    return assemble(config, repeated(text, modules, heads), body)


def gpt_neox(config: Config) -> ModelFacts:
    """Pythia and GPT-NeoX: parallel branches; through the Transformers backend."""
    text = text_config(config)
    heads = equal_heads(text)
    size, bias = heads.hidden_size, bool(optional(text, "attention_bias", default=True))
    factor = rope_parameters(text).get("partial_rotary_factor") or NEOX_ROTARY_FACTOR
    modules = (
        *attention(heads, prefix="attention", qkv="query_key_value", out="dense", qkv_bias=bias, out_bias=bias),
        *plain_mlp(size, required(text, "intermediate_size"), names=("dense_h_to_4h", "dense_4h_to_h")),
        *layer_norms(size, "input_layernorm", "post_attention_layernorm"),
        *frequencies(int(heads.head_dim * factor), ""),
    )
    body = Body(embedding_name="model.embed_in", final=norm("model.final_layer_norm", size, bias=True))
    return assemble(config, repeated(text, modules, heads), body)


def phi(config: Config) -> ModelFacts:
    """Phi-1 to Phi-2: one norm, biases everywhere, a biased head; through the Transformers backend."""
    text = text_config(config)
    heads = read_heads(text)
    size = heads.hidden_size
    factor = rope_parameters(text).get("partial_rotary_factor") or PHI_ROTARY_FACTOR
    modules = (
        *attention(heads, out="dense", qkv_bias=True, out_bias=True),
        *plain_mlp(size, required(text, "intermediate_size"), names=("fc1", "fc2")),
        *layer_norms(size, "input_layernorm"),
        *frequencies(int(heads.head_dim * factor), ""),
    )
    return assemble(config, repeated(text, modules, heads), Body(final=norm("model.final_layernorm", size, bias=True)))


def opt(config: Config) -> ModelFacts:
    """Learned positions with an offset of two; a narrower embedding where the config has one."""
    text = text_config(config)
    heads = equal_heads(text)
    size, bias = heads.hidden_size, bool(optional(text, "enable_bias", default=True))
    affine = optional(text, "layer_norm_elementwise_affine", default=True)
    modules = (
        *attention(heads, out="out_proj", qkv_bias=bias, out_bias=bias),
        *plain_mlp(size, required(text, "ffn_dim"), "", bias=bias, names=("fc1", "fc2")),
        *(layer_norms(size, "self_attn_layer_norm", "final_layer_norm") if affine else ()),
    )
    positions = required(text, "max_position_embeddings") + OPT_POSITION_OFFSET
    final_norm = optional(text, "do_layer_norm_before", default=True) and not text.get("_remove_final_layer_norm")
    body = Body(
        tied=True,
        embedding=(Parameter("model.decoder.embed_positions.weight", (positions, size)),),
        embedding_name="model.decoder.embed_tokens",
        final=norm("model.decoder.final_layer_norm", size, bias=True) if final_norm and affine else (),
        flags={"layers_prefix": "model.decoder.layers", "tables_everywhere": True},
    )
    return assemble(config, repeated(text, modules, heads), body)


def bloom(config: Config) -> ModelFacts:
    """ALiBi, a norm on the embedding, biases everywhere, a tied head."""
    text = text_config(config)
    heads = equal_heads(text)
    size = heads.hidden_size
    modules = (
        *attention(heads, prefix="self_attention", qkv="query_key_value", out="dense", qkv_bias=True, out_bias=True),
        *plain_mlp(size, 4 * size, names=("dense_h_to_4h", "dense_4h_to_h")),
        *layer_norms(size, "input_layernorm", "post_attention_layernorm"),
    )
    body = Body(
        tied=True,
        embedding=norm("transformer.word_embeddings_layernorm", size, bias=True),
        embedding_name="transformer.word_embeddings",
        final=norm("transformer.ln_f", size, bias=True),
        flags={"layers_prefix": "transformer.h", "tables_everywhere": True},
    )
    return assemble(config, repeated(text, modules, heads), body)


def stablelm(config: Config) -> ModelFacts:
    """Llama with LayerNorms; a quarter of each head is rotated."""
    text = {"partial_rotary_factor": STABLELM_ROTARY_FACTOR, **text_config(config)}
    heads = read_heads(text)
    size = heads.hidden_size
    modules = (
        *attention(heads, qkv_bias=bool(text.get("use_qkv_bias"))),
        *gated_mlp(size, required(text, "intermediate_size")),
        *layer_norms(size, "input_layernorm", "post_attention_layernorm"),
        *rope_of(text, heads),
    )
    body = Body(final=norm("model.norm", size, bias=True), flags={"tables_everywhere": True})
    return assemble(config, repeated(text, modules, heads), body)


def nemotron(config: Config) -> ModelFacts:
    """Minitron and Nemotron-4: LayerNorm1P, a plain MLP without gate; half of each head is rotated."""
    text = {"partial_rotary_factor": NEMOTRON_ROTARY_FACTOR, **text_config(config)}
    heads = read_heads(text)
    size, bias = heads.hidden_size, bool(optional(text, "attention_bias", "bias", default=False))
    modules = (
        *attention(heads, qkv_bias=bias, out_bias=bias),
        *plain_mlp(size, required(text, "intermediate_size"), bias=bool(text.get("mlp_bias"))),
        *layer_norms(size, "input_layernorm", "post_attention_layernorm"),
        *rope_of(text, heads),
    )
    return assemble(config, repeated(text, modules, heads), Body(final=norm("model.norm", size, bias=True)))
