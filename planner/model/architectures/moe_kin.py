"""Further mixtures of experts: OLMoE, Granite MoE, FlexOlmo, ERNIE 4.5, EXAONE MoE, DBRX, Hunyuan, DeepSeek-MoE.

vllm/model_executor/models/{olmoe,granitemoe,granitemoeshared,ernie45_moe,exaone_moe,dbrx,deepseek_v2}.py;
FlexOlmo and Hunyuan run through vLLM's Transformers backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.errors import ModelError
from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import Heads, attention, attention_cache, experts, gated_mlp, norm, router
from planner.model.architectures.dense import Shape, attention_block, norms_of, read_heads, rope_of
from planner.model.architectures.llama_kin import granite_layers
from planner.model.architectures.moe import Routing, everywhere, leading_dense, moe_block, sparse_layers
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import frequencies, rope_cache
from planner.model.architectures.windows import layer_windows
from planner.model.facts import Layer, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

GRANITE_WINDOW = 128  # transformers' GraniteMoeSWAConfig.sliding_window
ERNIE_HEAD_DIM = 128  # transformers' Ernie4_5_MoeConfig: its attention's heads, where head_dim is left out


def whole_head_norms(text: Config, *, split: bool) -> Modules:
    """Norms over all query and all key heads; ``split``: each rank keeps those of its own heads."""
    heads = read_heads(text)
    widths = {"q_norm": heads.num_heads, "k_norm": heads.num_kv_heads}
    return tuple(
        Parameter(f"self_attn.{name}.weight", (count * heads.head_dim,), 0 if split else None, heads=count)
        for name, count in widths.items()
    )


def olmoe(config: Config) -> ModelFacts:
    """Norms over whole heads, experts in every layer."""
    text = text_config(config)
    count = required(text, "num_experts")
    routing = Routing(required(text, "intermediate_size"), count, required(text, "num_experts_per_tok"))
    extra = whole_head_norms(text, split=False)
    layers = [replace(layer, modules=layer.modules + extra) for layer in sparse_layers(text, Shape(), routing)]
    return assemble(config, layers, everywhere(count))


def flex_olmo(config: Config) -> ModelFacts:
    """OLMo 2's norms around experts."""
    text = text_config(config)
    count = required(text, "num_experts")
    routing = Routing(required(text, "intermediate_size"), count, required(text, "num_experts_per_tok"))
    shape = Shape(norms=("post_attention_layernorm", "post_feedforward_layernorm"), rope=False)
    heads = read_heads(text)
    extra = whole_head_norms(text, split=False) + frequencies(heads.head_dim, "")
    layers = [replace(layer, modules=layer.modules + extra) for layer in sparse_layers(text, shape, routing)]
    return assemble(config, layers, Body(num_experts=count))


def granite_moe(config: Config) -> ModelFacts:
    """Mixtral's layer with scaled branches; a shared MLP where the config gives it a width."""
    text = text_config(config)
    count = required(text, "num_local_experts")
    routing = Routing(
        required(text, "intermediate_size"), count, required(text, "num_experts_per_tok"), "block_sparse_moe"
    )
    shared = _granite_shared(text)
    layers = [replace(layer, modules=layer.modules + shared) for layer in sparse_layers(text, Shape(), routing)]
    return assemble(config, layers, everywhere(count))


def granite_moe_swa(config: Config) -> ModelFacts:
    """The same with windows, sinks and rope frequencies by layer; layer_types default to three windows to one full."""
    text = text_config(config)
    size, count = required(text, "hidden_size"), required(text, "num_local_experts")
    kinds = ["sliding_attention" if index % 4 else "full_attention" for index in range(text["num_hidden_layers"])]
    text = {"layer_types": kinds, "sliding_window": GRANITE_WINDOW, "head_dim": None, **text, "attention_bias": False}
    routing = Routing(
        required(text, "intermediate_size"), count, required(text, "num_experts_per_tok"), "block_sparse_moe"
    )
    layers = granite_layers(text, (*moe_block(size, routing), *_granite_shared(text)))
    body = everywhere(count, engine_added_in="0.29.0")
    return assemble(config, layers, body)


def _granite_shared(text: Config) -> Modules:
    width = optional(text, "shared_intermediate_size", default=0)
    names = ("input_linear", "output_linear")
    return gated_mlp(required(text, "hidden_size"), width, "shared_mlp", names=names) if width else ()


def ernie4_5_moe(config: Config) -> ModelFacts:
    """A router in fp32, shared experts, leading dense layers; refuses more ranks than experts."""
    text = {"head_dim": ERNIE_HEAD_DIM, **text_config(config)}
    size, heads = required(text, "hidden_size"), read_heads(text)
    count, width = required(text, "moe_num_experts"), required(text, "moe_intermediate_size")
    shared = optional(text, "moe_num_shared_experts", default=0)
    biased = bool(text.get("use_bias"))
    routing = Routing(
        width,
        count,
        required(text, "moe_k"),
        gate_dtype="float32",
        correction_bias=True,
        shared_width=width * shared,
    )
    sparse, dense = moe_block(size, routing), gated_mlp(size, required(text, "intermediate_size"), bias=biased)
    block = attention_block(text, Shape(qkv_bias=biased, out_bias=biased)) + norms_of(text, Shape())
    layers = [
        Layer((*block, *(sparse if is_sparse else dense)), (attention_cache(heads),))
        for is_sparse in _ernie_sparse(text)
    ]
    body = Body(tied=True, num_experts=count, head_dim=heads.head_dim, flags={"max_experts_tp": count})
    facts = assemble(config, layers, body)
    # a tied head is looked up on stages that have no embedding (ernie45_moe.py __init__), which fails
    return replace(facts, supports_pp=not facts.tied_embedding)


def _ernie_sparse(text: Config) -> list[bool]:
    """moe_layer_start_index, moe_layer_end_index and moe_layer_interval (ernie45_moe.py)."""
    count = required(text, "num_hidden_layers")
    first = optional(text, "moe_layer_start_index", default=0)
    last = optional(text, "moe_layer_end_index", default=count - 1)
    last = count - 1 if last < 0 else last
    interval = optional(text, "moe_layer_interval", default=1)
    return [first <= index <= last and (index + 1) % interval == 0 for index in range(count)]


def exaone_moe(config: Config) -> ModelFacts:
    """EXAONE 4's heads before experts with a correction bias, shared experts and leading dense layers."""
    text = text_config(config)
    size, heads = required(text, "hidden_size"), read_heads(text)
    count, width = required(text, "num_experts"), required(text, "moe_intermediate_size")
    sparse = (
        *router(size, count, correction_bias="mlp.e_score_correction_bias"),
        *experts(size, width, count, required(text, "num_experts_per_tok")),
        *gated_mlp(size, width * optional(text, "num_shared_experts", default=1), "mlp.shared_experts"),
    )
    dense = gated_mlp(size, required(text, "intermediate_size"))
    block = (*attention(heads, qk_norm=True), *rope_of(text, heads), *norms_of(text, Shape()))
    layers = [
        Layer((*block, *(sparse if is_sparse else dense)), (attention_cache(heads, window.kind, window.tokens),))
        for is_sparse, window in zip(_exaone_sparse(text), layer_windows(text), strict=True)
    ]
    return assemble(config, layers, Body(num_experts=count, flags={"max_experts_tp": count}))


def _exaone_sparse(text: Config) -> list[bool]:
    """is_moe_layer where it is published, else all but the first_k_dense_replace leading layers."""
    count = required(text, "num_hidden_layers")
    if published := text.get("is_moe_layer"):
        return [bool(flag) for flag in published[:count]]
    return [index >= optional(text, "first_k_dense_replace", default=1) for index in range(count)]


def dbrx(config: Config) -> ModelFacts:
    """Wide experts under keys of their own; LayerNorms whose biases the class takes away; no head tied.

    vLLM finds no count of experts in these keys, so expert parallelism is refused (num_experts 0).
    """
    text = text_config(config)
    size, num_heads = required(text, "d_model"), required(text, "n_heads")
    attn, ffn = required(text, "attn_config"), required(text, "ffn_config")
    heads = Heads(size, num_heads, required(attn, "kv_n_heads"), size // num_heads)
    rope = {"rope_type": "default", "rope_theta": required(attn, "rope_theta")}
    count = required(ffn, "moe_num_experts")
    prefix = "norm_attn_norm.attn"
    modules = (
        *attention(heads, prefix=prefix, qkv="Wqkv", out="out_proj"),
        rope_cache(heads.head_dim, required(text, "max_seq_len"), rope),
        *norm("norm_attn_norm.norm_1", size),
        *norm("norm_attn_norm.norm_2", size),
        *router(size, count, "ffn.router.layer"),
        *experts(size, required(ffn, "ffn_hidden_size"), count, required(ffn, "moe_top_k"), "ffn.experts"),
    )
    body = Body(
        final=norm("transformer.norm_f", size),
        heads=num_heads,
        kv_heads=heads.num_kv_heads,
        head_dim=heads.head_dim,
        embedding_name="transformer.wte",
        flags={"layers_prefix": "transformer.blocks", "tables_everywhere": True},
    )
    layers = (Layer(modules, (attention_cache(heads),)),) * required(text, "n_layers")
    return replace(assemble(config, layers, body), intermediate_size=required(ffn, "ffn_hidden_size"))


def hunyuan_moe(config: Config) -> ModelFacts:
    """Hunyuan-A13B: head norms and one shared expert as wide as the routed ones, through the Transformers backend.

    Raises ModelError for use_cla: layers that share keys with others are not described here.
    """
    text = text_config(config)
    if text.get("use_cla"):
        raise ModelError(
            "config.json of HunYuanMoEV1ForCausalLM: use_cla is true. Layers that take their keys from others are not "
            "described, so the KV cache cannot be counted. Use a checkpoint without cross-layer attention."
        )
    count, width = required(text, "num_experts"), required(text, "intermediate_size")
    top_k = required(text, "moe_topk")
    head_dim = optional(text, "head_dim", "attention_head_dim")
    routing = Routing(
        width,
        count,
        max(top_k) if isinstance(top_k, list) else top_k,
        shared_width=width,
        shared_name="shared_mlp",
    )
    shape = Shape(qk_norm=True, by_transformers=True)
    layers = sparse_layers({**text, "head_dim": head_dim}, shape, routing)
    return assemble(config, layers, Body(num_experts=count, head_dim=head_dim))


def deepseek_moe(config: Config) -> ModelFacts:
    """DeepSeek-MoE, before V2: plain attention, shared experts, leading dense layers, a router without a bias."""
    text = text_config(config)
    count, width = required(text, "n_routed_experts"), required(text, "moe_intermediate_size")
    shared = optional(text, "n_shared_experts", default=0)
    routing = Routing(width, count, required(text, "num_experts_per_tok"), shared_width=width * shared)
    layers = sparse_layers({**text, "attention_bias": False}, Shape(), routing, leading_dense(text))
    return replace(assemble(config, layers, Body(num_experts=count)), needs_trust_remote_code=True)
