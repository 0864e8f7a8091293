"""Dense decoders a step away from Llama: other norms, no gate, biases of their own, another list of keys.

vllm/model_executor/models/{exaone4,apertus,ernie45,hyperclovax,minicpm,orion,chatglm,solar,telechat2}.py; Arcee,
Seed-OSS, SmolLM3, Hunyuan, GLM, OLMo, CWM, Helium, Jais 2 and VaultGemma run through vLLM's Transformers backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import (
    Heads,
    attention,
    attention_cache,
    attention_scales,
    gated_mlp,
    norm,
    plain_mlp,
)
from planner.model.architectures.dense import Shape, llama_layers, llama_like, read_heads, rope_of
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import frequencies, rope_cache, rope_parameters
from planner.model.architectures.windows import layer_windows
from planner.model.facts import Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

POST_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")
ERNIE_HEAD_DIM = 128  # transformers' Ernie4_5Config.head_dim
VAULTGEMMA_HEAD_DIM = 256  # transformers' VaultGemmaConfig.head_dim
GLM_HEAD_DIM = 128  # transformers' GlmConfig.head_dim
XIELU_SCALARS = ("alpha_p", "alpha_n", "beta", "eps")  # vllm layers/activation.py XIELU

LOOPS, LOOP_WINDOW = 2, 64  # IQuestLoopCoderModel: loop_num, loop_window_size
PANGU_NORMS = ("input_layernorm", "post_attention_layernorm", "pre_mlp_layernorm", "post_mlp_layernorm")


def by_transformers(config: Config, shape: Shape, rotated: float = 1.0) -> ModelFacts:
    """A row of ``Shape`` that vLLM runs through transformers; ``rotated``: the part of each head under rope."""
    text = text_config(config)
    factor = float(rope_parameters(text).get("partial_rotary_factor") or rotated)
    heads, plain = read_heads(text), replace(shape, rope=False)
    layers = tuple(
        replace(layer, modules=layer.modules + frequencies(int(heads.head_dim * factor), ""))
        for layer in llama_layers(text, plain)
    )
    final = norm("model.norm", heads.hidden_size, bias=shape.norm_bias)
    return assemble(config, layers, Body(tied=shape.tied, final=final))


def solar(config: Config) -> ModelFacts:
    """Llama without its window: the class reads no ``sliding_window``; its config class is Python code."""
    return replace(llama_like({**text_config(config), "sliding_window": None}), needs_trust_remote_code=True)


def smollm3(config: Config) -> ModelFacts:
    """Llama with positions left out of every fourth layer; a tied head."""
    return by_transformers(config, Shape(tied=True))


def seed_oss(config: Config) -> ModelFacts:
    """Llama with biases on q, k and v, and on the output where the config says so."""
    text = {"attention_bias": True, **text_config(config)}
    shape = Shape(
        qkv_bias=bool(text["attention_bias"]), out_bias=bool(text.get("attention_out_bias")), out_bias_follows=False
    )
    return by_transformers({**config, "attention_bias": False}, shape)


def llama_by_transformers(config: Config) -> ModelFacts:
    """CWM, Helium and others whose layers are Llama's."""
    return by_transformers(config, Shape())


def hunyuan_dense(config: Config) -> ModelFacts:
    """Llama with head norms."""
    return by_transformers(config, Shape(qk_norm=True))


def glm(config: Config) -> ModelFacts:
    """GLM-4 9B in its transformers form: biases on q, k and v; half of each head is rotated."""
    text = {"head_dim": GLM_HEAD_DIM, "attention_bias": True, **text_config(config)}
    shape = Shape(qkv_bias=bool(text["attention_bias"]), out_bias_follows=False)
    return by_transformers({**text, "architectures": config["architectures"], "attention_bias": False}, shape, 0.5)


def olmo(config: Config) -> ModelFacts:
    """OLMo 1: norms without weights."""
    return replace(by_transformers(config, Shape(norms=())), final=())


def arcee(config: Config) -> ModelFacts:
    """Llama with a plain MLP."""
    return _plain(config, Shape(), bias=bool(text_config(config).get("mlp_bias")))


def jais2(config: Config) -> ModelFacts:
    """LayerNorms, a plain MLP, biases everywhere."""
    text = text_config(config)
    biased = bool(optional(text, "attention_bias", default=True))
    shape = Shape(norm_bias=True, qkv_bias=biased, out_bias=biased)
    return _plain(config, shape, bias=bool(optional(text, "mlp_bias", default=True)))


def _plain(config: Config, shape: Shape, *, bias: bool) -> ModelFacts:
    text = text_config(config)
    heads, size = read_heads(text), required(text, "hidden_size")
    biased = bool(text.get("attention_bias"))
    modules = (
        *attention(heads, qkv_bias=shape.qkv_bias or biased, out_bias=shape.out_bias or biased),
        *plain_mlp(size, required(text, "intermediate_size"), bias=bias),
        *(module for name in shape.norms for module in norm(name, size, bias=shape.norm_bias)),
        *frequencies(heads.head_dim, ""),
    )
    layers = (Layer(modules, (attention_cache(heads),)),) * int(required(text, "num_hidden_layers"))
    return assemble(config, layers, Body(final=norm("model.norm", size, bias=shape.norm_bias)))


def vaultgemma(config: Config) -> ModelFacts:
    """Gemma 2 with two norms; through the Transformers backend, which keeps the embedding's scale."""
    text = {"head_dim": VAULTGEMMA_HEAD_DIM, **text_config(config)}
    facts = by_transformers(text, Shape(norms=("input_layernorm", "pre_feedforward_layernorm"), tied=True))
    scale = Parameter("model.embed_tokens.embed_scale", (), buffer=True, loaded=False)
    return replace(facts, embedding=(*facts.embedding, scale), attn_logit_softcapping=True)


def exaone4(config: Config) -> ModelFacts:
    """Norms after each branch, head norms, windows without rope on the full layers."""
    return llama_like(config, Shape(norms=POST_NORMS, qk_norm=True))


def ernie4_5(config: Config) -> ModelFacts:
    """Llama with heads of 128 and biases where ``use_bias`` says so; a tied head."""
    text = {"head_dim": ERNIE_HEAD_DIM, **text_config(config)}
    biased = bool(text.get("use_bias"))
    shape = Shape(qkv_bias=biased, out_bias=biased, mlp_bias=biased)
    return assemble(config, llama_layers(text, shape), Body(tied=True, head_dim=text["head_dim"]))


def hyperclovax(config: Config) -> ModelFacts:
    """Llama with two more norms where ``use_post_norm`` says so."""
    norms = ("input_layernorm", "post_attention_layernorm")
    more = ("post_norm1", "post_norm2") if text_config(config).get("use_post_norm") else ()
    return llama_like(config, Shape(norms=norms + more))


def iquest_loop(config: Config) -> ModelFacts:
    """Llama run twice over its layers: the second pass has windowed caches of its own and a gate for each head."""
    text = text_config(config)
    plain = llama_like(config)
    heads = read_heads(text)
    window = optional(text, "loop_window_size", default=LOOP_WINDOW)
    passes = optional(text, "loop_num", default=LOOPS) - 1
    gate = Linear(
        "gate_projections.gate_proj",
        heads.hidden_size // heads.num_heads,
        (Output(heads.num_heads, heads.num_heads),),
        "column",
        bias=True,
    )
    scales = attention_scales() * passes
    caches = (attention_cache(heads, "sliding_window", window),) * passes
    runs = tuple(
        replace(run, layer=Layer((*run.layer.modules, gate, *scales), run.layer.caches + caches))
        for run in plain.layers
    )
    return replace(plain, layers=runs, supports_pp=False, needs_trust_remote_code=True)


def apertus(config: Config) -> ModelFacts:
    """Head norms and a plain MLP under xIELU, whose scalars are tensors."""
    text = text_config(config)
    heads, size = read_heads(text), required(text, "hidden_size")
    biased = bool(text.get("attention_bias"))
    learned = XIELU_SCALARS[:2]
    modules = (
        *attention(heads, qkv_bias=biased, out_bias=biased, qk_norm=True),
        *plain_mlp(size, required(text, "intermediate_size"), bias=bool(text.get("mlp_bias"))),
        *(
            Parameter(f"mlp.act_fn.{name}", (1,) if name in learned else (), buffer=name not in learned)
            for name in XIELU_SCALARS
        ),
        *norm("attention_layernorm", size),
        *norm("feedforward_layernorm", size),
        *rope_of(text, heads),
    )
    layers = tuple(
        Layer(modules, (attention_cache(heads, window.kind, window.tokens),)) for window in layer_windows(text)
    )
    return assemble(config, layers, Body())


def orion(config: Config) -> ModelFacts:
    """Llama with LayerNorms; its config class is Python code of the repository."""
    return replace(llama_like(config, Shape(norm_bias=True)), needs_trust_remote_code=True, tables_everywhere=True)


def minicpm(config: Config) -> ModelFacts:
    """Llama with scaled branches and a tied head; its config class is Python code of the repository."""
    return replace(llama_like(config, Shape(tied=True)), needs_trust_remote_code=True, tables_everywhere=True)


def chatglm(config: Config) -> ModelFacts:
    """ChatGLM2/3 and GLM-4 9B in their own form: fused layers, biases on q, k and v, half of each head rotated."""
    text = text_config(config)
    size, num_heads = required(text, "hidden_size"), required(text, "num_attention_heads")
    grouped = optional(text, "multi_query_attention", default=False)
    kv_heads = required(text, "multi_query_group_num") if grouped else num_heads
    heads = Heads(size, num_heads, kv_heads, optional(text, "kv_channels", default=size // num_heads))
    bias, positions = bool(text.get("add_bias_linear")), optional(text, "seq_length", default=8192)
    modules: Modules = (
        *attention(
            heads,
            prefix="self_attention",
            qkv="query_key_value",
            out="dense",
            qkv_bias=bias or bool(text.get("add_qkv_bias")),
            out_bias=bias,
        ),
        *gated_mlp(size, required(text, "ffn_hidden_size"), bias=bias, names=("dense_h_to_4h", "dense_4h_to_h")),
        *norm("input_layernorm", size),
        *norm("post_attention_layernorm", size),
        rope_cache(heads.head_dim, positions, {"rope_type": "default"}, rotary_dim=heads.head_dim // 2),
    )
    layers = (Layer(modules, (attention_cache(heads),)),) * int(required(text, "num_layers", "num_hidden_layers"))
    body = Body(
        embedding_name="transformer.embedding.word_embeddings",
        final=norm("transformer.encoder.final_layernorm", size),
        vocab_size=required(text, "padded_vocab_size", "vocab_size"),
        kv_heads=kv_heads,
        head_dim=heads.head_dim,
        flags={"layers_prefix": "transformer.encoder.layers", "tables_everywhere": True},
    )
    return assemble(config, layers, body)


def telechat2(config: Config) -> ModelFacts:
    """Llama under BLOOM's key names; biases on the output and down projections alone (TeleChat2Model.__init__)."""
    text = text_config(config)
    names = {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "intermediate_size": "ffn_hidden_size"}
    text |= {name: required(text, old, name) for name, old in names.items()}
    heads, size = read_heads(text), required(text, "hidden_size")
    mlp = gated_mlp(size, required(text, "intermediate_size"))
    modules = (
        *attention(heads, out_bias=True),
        *rope_of(text, heads),
        mlp[0],
        replace(mlp[1], bias=True),
        *norm("input_layernorm", size),
        *norm("post_attention_layernorm", size),
    )
    layers = (Layer(modules, (attention_cache(heads),)),) * int(text["num_hidden_layers"])
    return replace(assemble({**config, **text}, layers, Body()), needs_trust_remote_code=True)


def granite_swa(config: Config) -> ModelFacts:
    """Granite with windows and sinks by layer, each layer's rope frequency its own, none where it is zero.

    granite.py granite_layer_attn_params: sinks wherever layer_types are published, unless attention_sinks says no.
    """
    body = Body(tied=True, flags={"engine_added_in": "0.29.0"})
    text = text_config(config)
    width, bias = required(text, "intermediate_size"), bool(text.get("mlp_bias"))
    return assemble(config, granite_layers(text, gated_mlp(required(text, "hidden_size"), width, bias=bias)), body)


def granite_layers(text: Config, mlp: Modules) -> list[Layer]:
    """The layers of Granite 4's windowed models."""
    heads, size = read_heads(text), required(text, "hidden_size")
    biased = bool(optional(text, "attention_bias", "bias", default=False))
    norms = (*norm("input_layernorm", size), *norm("post_attention_layernorm", size))
    sinks = bool(optional(text, "attention_sinks", default=text.get("layer_types") is not None))
    layers = []
    for index, kind in enumerate(required(text, "layer_types")):
        window = required(text, "sliding_window") if kind == "sliding_attention" else None
        modules = (
            *attention(heads, qkv_bias=biased, out_bias=biased),
            *((Parameter("self_attn.sinks", (heads.num_heads,), 0),) if sinks else ()),
            *_granite_rope(text, heads, index),
            *mlp,
            *norms,
        )
        cache = attention_cache(heads, "sliding_window" if window else "full", window, sinks=sinks)
        layers.append(Layer(modules, (cache,)))
    return layers


def _granite_rope(text: Config, heads: Heads, index: int) -> Modules:
    rope = rope_parameters(text)
    per_layer = text.get("layer_rope_theta")
    theta = per_layer[index] if per_layer else rope.get("rope_theta")
    return rope_of({**text, "rope_parameters": {**rope, "rope_theta": theta}}, heads) if theta else ()


def pangu_embedded(config: Config) -> ModelFacts:
    """openPangu's dense models: Llama whose qkv_bias overrides attention_bias on q, k and v; norms around the MLP."""
    text = text_config(config)
    biased = bool(optional(text, "attention_bias", "bias", default=False))
    shape = Shape(
        qkv_bias=biased if text.get("qkv_bias") is None else bool(text["qkv_bias"]),
        out_bias=biased,
        norms=PANGU_NORMS if text.get("sandwich_norm") else PANGU_NORMS[:2],
    )
    plain = {**text, "attention_bias": False, "bias": False, "qkv_bias": None, "sliding_window": None}
    return replace(assemble(config, llama_layers(plain, shape), Body()), needs_trust_remote_code=True)
