"""Dense decoders: grouped-query attention and one MLP, in the variants that people serve.

vllm/model_executor/models/{llama,qwen2,qwen3,gemma,gemma2,gemma3,olmo2,starcoder2,mpt,...}.py. A family is a row of
``Shape`` where it is Llama with a difference, or a short function where its layers are built otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import Heads, attention, attention_cache, gated_mlp, norm, plain_mlp
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import frequencies, rope_cache, rope_parameters
from planner.model.architectures.windows import layer_windows
from planner.model.facts import Layer, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts


class Shape(Struct, frozen=True):
    """How a family differs from Llama. Biases are those of the class; a config key of the same meaning adds to them."""

    qkv_bias: bool = False
    out_bias: bool = False
    out_bias_follows: bool = True  # attention_bias puts a bias on o_proj too
    mlp_bias: bool = False
    qk_norm: bool = False  # per head, before rope
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    norm_bias: bool = False
    rope: bool = True
    by_transformers: bool = False  # run through vLLM's Transformers backend: rotary frequencies, no rope cache
    tied: bool = False


SANDWICH = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
LLAMA = Shape()
QWEN2 = Shape(qkv_bias=True, out_bias_follows=False)
QWEN3 = Shape(qk_norm=True, out_bias_follows=False)
GEMMA = Shape(tied=True)
GEMMA2 = Shape(norms=SANDWICH, tied=True)
GEMMA3 = Shape(norms=SANDWICH, qk_norm=True, tied=True)
GEMMA3_LOCAL_THETA = 10_000.0  # transformers' Gemma3TextConfig.rope_local_base_freq
COHERE = Shape(norms=("input_layernorm",), tied=True)
GLM4 = Shape(norms=("input_layernorm", "post_attention_layernorm", "post_self_attn_layernorm", "post_mlp_layernorm"))


def read_heads(text: Config) -> Heads:
    """The attention's shape as config.json states it; head_dim may differ from hidden_size / heads."""
    hidden_size = required(text, "hidden_size")
    num_heads = required(text, "num_attention_heads")
    return Heads(
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_kv_heads=optional(text, "num_key_value_heads", default=num_heads),
        head_dim=optional(text, "head_dim", default=hidden_size // num_heads),
    )


def rope_of(text: Config, heads: Heads, layer_type: str | None = None) -> Modules:
    """The rope cache of one layer; layers with the same settings share it.

    Windowed layers of Gemma 3 turn at their own, unscaled frequency.
    """
    max_position = optional(text, "max_position_embeddings", default=8192)
    rope = rope_parameters(text, layer_type)
    model_type = str(text.get("model_type"))
    if layer_type == "sliding_attention" and "gemma3" in model_type:
        theta = optional(text, "rope_local_base_freq", default=GEMMA3_LOCAL_THETA)
        rope = {"rope_type": "default", "rope_theta": theta}
    return (rope_cache(heads.head_dim, max_position, rope),)


def attention_block(text: Config, shape: Shape, layer_type: str | None = None) -> Modules:
    """Attention with its biases, head norms and rope cache."""
    heads = read_heads(text)
    biased = bool(optional(text, "attention_bias", "bias", "qkv_bias", default=False))
    out_biased = biased and shape.out_bias_follows and not optional(text, "qkv_bias", default=False)
    modules = attention(
        heads,
        qkv_bias=shape.qkv_bias or biased,
        out_bias=shape.out_bias or out_biased,
        qk_norm=shape.qk_norm or bool(optional(text, "use_qk_norm", "qk_layernorm", default=False)),
    )
    if shape.by_transformers:
        return modules + frequencies(heads.head_dim, layer_type or "")
    return modules + (rope_of(text, heads, layer_type) if shape.rope else ())


def norms_of(text: Config, shape: Shape) -> Modules:
    """The layer's norms over hidden_size."""
    size = required(text, "hidden_size")
    return tuple(module for name in shape.norms for module in norm(name, size, bias=shape.norm_bias))


def llama_layers(text: Config, shape: Shape) -> tuple[Layer, ...]:
    """Attention, gated MLP and norms; windows as the config places them."""
    mlp_bias = shape.mlp_bias or bool(optional(text, "mlp_bias", default=False))
    mlp = gated_mlp(required(text, "hidden_size"), required(text, "intermediate_size"), bias=mlp_bias)
    norms = norms_of(text, shape)
    heads, windows = read_heads(text), layer_windows(text)
    layers = {}
    for window in dict.fromkeys(windows):
        kind = "sliding_attention" if window.tokens else "full_attention"
        cache = attention_cache(heads, window.kind, window.tokens)
        layers[window] = Layer((*attention_block(text, shape, kind), *mlp, *norms), (cache,))
    return tuple(layers[window] for window in windows)


def llama_like(config: Config, shape: Shape = LLAMA) -> ModelFacts:
    """Any family that is a row of ``Shape``."""
    text = text_config(config)
    size = required(text, "hidden_size")
    body = Body(tied=shape.tied, final=norm("model.norm", size, bias=shape.norm_bias))
    return assemble(config, llama_layers(text, shape), body)


def llama(config: Config) -> ModelFacts:
    """Llama, Mistral, Granite, InternLM3, SmolLM and all that only rename it."""
    return llama_like(config)


def internlm2(config: Config) -> ModelFacts:
    """Llama whose config class is Python code of the repository."""
    return replace(llama_like(config), needs_trust_remote_code=True)


def qwen2(config: Config) -> ModelFacts:
    """Llama with biases on q, k and v that no config field states."""
    return llama_like(config, QWEN2)


def qwen3(config: Config) -> ModelFacts:
    """Llama with a norm on each query and key head."""
    return llama_like(config, QWEN3)


def gemma(config: Config) -> ModelFacts:
    """Llama with a tied head and a scaled embedding."""
    return with_normalizer(llama_like(config, GEMMA))


def gemma2(config: Config) -> ModelFacts:
    """Four norms; windows on every other layer; soft caps on attention."""
    return with_normalizer(replace(llama_like(config, GEMMA2), attn_logit_softcapping=True))


def gemma3(config: Config) -> ModelFacts:
    """Four norms, head norms, five windows to one full layer."""
    return with_normalizer(llama_like(config, GEMMA3))


def with_normalizer(facts: ModelFacts) -> ModelFacts:
    """The embedding's scale; every pipeline stage has it, the tables and the last norm (Gemma2Model.__init__)."""
    scale = Parameter("model.normalizer", (), buffer=True, loaded=False)
    return replace(facts, everywhere=(*facts.everywhere, scale), tables_everywhere=True)


def cohere(config: Config) -> ModelFacts:
    """One norm for both branches; optional norms on whole heads."""
    text = text_config(config)
    shape = COHERE
    if optional(text, "use_qk_norm", default=False):
        heads = read_heads(text)
        extra = norm("self_attn.q_norm", heads.num_heads * heads.head_dim) + norm(
            "self_attn.k_norm", heads.num_kv_heads * heads.head_dim
        )
        plain = {**text, "use_qk_norm": False}
        layers = tuple(replace(layer, modules=layer.modules + extra) for layer in llama_layers(plain, shape))
        return assemble(config, layers, Body(tied=True, flags={"tables_everywhere": True}))
    return replace(llama_like(config, shape), tables_everywhere=True)


def glm4(config: Config) -> ModelFacts:
    """Biases on q, k and v; four norms; half of each head is rotated."""
    text = {"partial_rotary_factor": 0.5, **text_config(config)}
    layers = llama_layers({**text, "attention_bias": False}, replace(GLM4, qkv_bias=bool(text.get("attention_bias"))))
    return assemble(config, layers, Body())


def olmo2(config: Config) -> ModelFacts:
    """Norms after each branch, and norms over all query and all key heads together, copied on every rank."""
    text = text_config(config)
    heads = read_heads(text)
    wide_norms = norm("self_attn.q_norm", heads.num_heads * heads.head_dim) + norm(
        "self_attn.k_norm", heads.num_kv_heads * heads.head_dim
    )
    shape = Shape(norms=("post_attention_layernorm", "post_feedforward_layernorm"), by_transformers=True)
    layers = tuple(replace(layer, modules=layer.modules + wide_norms) for layer in llama_layers(text, shape))
    return assemble(config, layers, Body())


def phi3(config: Config) -> ModelFacts:
    """Llama whose checkpoint stores qkv and gate_up fused."""
    return llama_like(config)


def exaone(config: Config) -> ModelFacts:
    """EXAONE 3: Llama under other key names; its config class is Python code of the repository."""
    text = text_config(config)
    renamed = {**text, "num_hidden_layers": required(text, "num_layers", "num_hidden_layers")}
    layers = llama_layers(renamed, LLAMA)
    flags = {"layers_prefix": "transformer.h", "needs_trust_remote_code": True}
    return assemble(config, layers, Body(tied=True, flags=flags))


def starcoder2(config: Config) -> ModelFacts:
    """Biases everywhere, LayerNorm, a plain MLP, a tied head."""
    text = text_config(config)
    heads, size = read_heads(text), required(text, "hidden_size")
    bias = bool(optional(text, "use_bias", default=True))
    modules = (
        *attention(heads, qkv_bias=bias, out_bias=bias),
        *frequencies(heads.head_dim, ""),
        *plain_mlp(size, required(text, "intermediate_size"), bias=bias, names=("c_fc", "c_proj")),
        *norm("input_layernorm", size, bias=True),
        *norm("post_attention_layernorm", size, bias=True),
    )
    layers = tuple(
        Layer(modules, (attention_cache(heads, window.kind, window.tokens),)) for window in layer_windows(text)
    )
    return assemble(config, layers, Body(tied=True, final=norm("model.norm", size, bias=True)))


def mpt(config: Config) -> ModelFacts:
    """MHA with ALiBi, so no position table; a plain MLP; a tied head; no biases unless no_bias is false.

    The class is gone after 0.28.0 (registry.py _PREVIOUSLY_SUPPORTED_MODELS).
    """
    text = text_config(config)
    size, num_heads = required(text, "d_model"), required(text, "n_heads")
    kv_heads = (text.get("attn_config") or {}).get("kv_n_heads") or num_heads
    heads = Heads(size, num_heads, kv_heads, size // num_heads)
    bias = not optional(text, "no_bias", default=True)
    modules = (
        *attention(heads, prefix="attn", qkv="Wqkv", out="out_proj", qkv_bias=bias, out_bias=bias),
        *plain_mlp(size, optional(text, "expansion_ratio", default=4) * size, "ffn", bias=bias),
        *norm("norm_1", size, bias=bias),
        *norm("norm_2", size, bias=bias),
    )
    layers = (Layer(modules, (attention_cache(heads),)),) * required(text, "n_layers")
    body = Body(
        tied=True,
        final=norm("transformer.norm_f", size, bias=bias),
        heads=num_heads,
        kv_heads=kv_heads,
        head_dim=heads.head_dim,
        embedding_name="transformer.wte",
        flags={"layers_prefix": "transformer.blocks", "engine_last_version": "0.28.0"},
    )
    return assemble(config, layers, body)
