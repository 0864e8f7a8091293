"""Multi-head latent attention: DeepSeek V2 and V3, Kimi K2, GLM-5, MiniCPM3; with and without the sparse indexer.

vllm/model_executor/models/deepseek_v2.py (DeepseekV2MLAAttention, Indexer) and minicpm3.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import attention_scales, gated_mlp, norm, replicated
from planner.model.architectures.dense import Shape, norms_of
from planner.model.architectures.moe import Routing, leading_dense, moe_block
from planner.model.architectures.reading import optional, required, text_config
from planner.model.architectures.rope import rope_cache, rope_parameters
from planner.model.facts import Cache, Layer, Linear, Output

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts, Module, Parameter

INDEXER_SCALE_BYTES = 4  # one fp32 scale per 128 fp8 values (v1/attention/backends/mla/indexer.py)
INDEXER_BLOCK = 128


def mla_attention(text: Config, *, indexed: bool = False) -> Modules:
    """Projections of one layer; ``indexed``: with an indexer of its own."""
    size, heads = required(text, "hidden_size"), required(text, "num_attention_heads")
    nope, rope_dim = required(text, "qk_nope_head_dim"), required(text, "qk_rope_head_dim")
    value, kv_rank = value_dim(text), required(text, "kv_lora_rank")
    q_rank = text.get("q_lora_rank")
    query = (Output(heads * (nope + rope_dim), heads),)
    down_kv = Output(kv_rank + rope_dim, name="kv_a_proj_with_mqa")
    if q_rank:
        parts = (Output(q_rank, name="q_a_proj"), down_kv)
        projections: Modules = (
            Linear("self_attn.fused_qkv_a_proj", size, parts, "replicated"),
            *norm("self_attn.q_a_layernorm", q_rank),
            Linear("self_attn.q_b_proj", q_rank, query, "column"),
        )
    else:
        projections = (
            Linear("self_attn.q_proj", size, query, "column"),
            replicated("self_attn.kv_a_proj_with_mqa", size, kv_rank + rope_dim),
        )
    up_kv = (Output(heads * (nope + value), heads),)
    return (
        *projections,
        *norm("self_attn.kv_a_layernorm", kv_rank),
        Linear("self_attn.kv_b_proj", kv_rank, up_kv, "column", absorbed=True),
        Linear("self_attn.o_proj", heads * value, (Output(size),), "row", in_heads=heads),
        mla_rope(text),
        *attention_scales("self_attn.mla_attn"),
        *(indexer(text) if indexed else ()),
    )


def value_dim(text: Config) -> int:
    """v_head_dim; MiniCPM3 derives it from hidden_size."""
    default = required(text, "hidden_size") // required(text, "num_attention_heads")
    width: int = optional(text, "v_head_dim", default=default)
    return width


def mla_rope(text: Config) -> Parameter:
    """The rope cache over qk_rope_head_dim."""
    rope = rope_parameters(text)
    if rope["rope_type"] == "yarn":
        rope = {**rope, "rope_type": "deepseek_yarn"}
    return rope_cache(required(text, "qk_rope_head_dim"), required(text, "max_position_embeddings"), rope)


def indexer(text: Config) -> Modules:
    """What picks the tokens that sparse attention reads."""
    size, heads, dim = required(text, "hidden_size"), required(text, "index_n_heads"), required(text, "index_head_dim")
    return (
        replicated("self_attn.indexer.wq_b", required(text, "q_lora_rank"), heads * dim),
        Linear(
            "self_attn.indexer.wk_weights_proj",
            size,
            (Output(dim, name="wk"), Output(heads, name="weights_proj")),
            "replicated",
            quantizable=False,
        ),
        *norm("self_attn.indexer.k_norm", dim, bias=True, dtype="float32"),
    )


def mla_cache(text: Config, *, sparse: bool = False, indexed: bool = False) -> Cache:
    """The latent and the rotated key of one layer: the same on every rank."""
    index_dim = optional(text, "index_head_dim", default=0)
    return Cache(
        "mla",
        num_kv_heads=1,
        head_size=required(text, "kv_lora_rank") + required(text, "qk_rope_head_dim"),
        num_query_heads=required(text, "num_attention_heads"),
        qk_nope_head_dim=required(text, "qk_nope_head_dim"),
        qk_rope_head_dim=required(text, "qk_rope_head_dim"),
        sparse=sparse,
        extra_bytes_per_token=index_dim + index_dim // INDEXER_BLOCK * INDEXER_SCALE_BYTES if indexed else 0,
    )


def deepseek_layers(text: Config, gate_dtype: str | None = None) -> list[Layer]:
    """Latent attention with DeepSeek's experts; the first layers dense; an indexer where the config has one."""
    size = required(text, "hidden_size")
    width = required(text, "moe_intermediate_size")
    routing = Routing(
        width,
        required(text, "n_routed_experts"),
        required(text, "num_experts_per_tok"),
        gate_dtype=gate_dtype,
        correction_bias=optional(text, "topk_method", default="noaux_tc") == "noaux_tc",
        shared_width=width * (optional(text, "n_shared_experts", default=0) or 0),
    )
    sparse = bool(text.get("index_topk"))
    shared_indexers = text.get("indexer_types") or ()
    dense = leading_dense(text)
    sparse_mlp, dense_mlp = moe_block(size, routing), gated_mlp(size, required(text, "intermediate_size"))
    norms = norms_of(text, Shape())
    layers = []
    for index in range(required(text, "num_hidden_layers")):
        indexed = sparse and (index >= len(shared_indexers) or shared_indexers[index] != "shared")
        modules = (*mla_attention(text, indexed=indexed), *(dense_mlp if index in dense else sparse_mlp), *norms)
        layers.append(Layer(modules, (mla_cache(text, sparse=sparse, indexed=indexed),)))
    return layers


def deepseek(config: Config) -> ModelFacts:
    """DeepSeek V2 and V3, Kimi K2, GLM-5: MTP layers are not loaded."""
    text = text_config(config)
    body = Body(
        num_experts=required(text, "n_routed_experts"),
        kv_heads=1,
        head_dim=required(text, "kv_lora_rank") + required(text, "qk_rope_head_dim"),
        flags={
            "is_mla": True,
            "index_topk": optional(text, "index_topk", default=0),
            "blackwell_kv_cache_dtype": "fp8_e4m3" if text.get("model_type") == "glm_moe_dsa" else None,
        },
    )
    gate_dtype = "float32" if text.get("model_type") == "glm4_moe_lite" else None  # GLM's router computes in fp32
    return assemble(config, deepseek_layers(text, gate_dtype), body)


def axk1(config: Config) -> ModelFacts:
    """A.X K1: DeepSeek V3 with a norm behind each MLP; a head that is never tied."""
    facts = deepseek({**config, "tie_word_embeddings": False})
    extra = norm("post_mlp_layernorm", facts.hidden_size)
    runs = [replace(run, layer=replace(run.layer, modules=(*run.layer.modules, *extra))) for run in facts.layers]
    return replace(facts, layers=tuple(runs))


def sarvam(config: Config) -> ModelFacts:
    """Sarvam: DeepSeek's attention before Ling's experts, its query's first projection apart from the keys'."""
    text = text_config(config)
    size, count, width = (required(text, key) for key in ("hidden_size", "num_experts", "moe_intermediate_size"))
    shared = optional(text, "num_shared_experts", default=1)
    routing = Routing(
        width,
        count,
        required(text, "num_experts_per_tok"),
        correction_bias=bool(optional(text, "moe_router_enable_expert_bias", default=True)),
        shared_width=shared * optional(text, "moe_shared_expert_intermediate_size", default=width),
    )
    sparse = moe_block(size, routing)
    dense = gated_mlp(size, optional(text, "intermediate_size", default=16_384))
    block = (*(part for module in mla_attention(text) for part in _apart(module)), *norms_of(text, Shape()))
    first, freq = optional(text, "first_k_dense_replace", default=1), optional(text, "moe_layer_freq", default=1)
    layers = [
        Layer((*block, *(sparse if index >= first and not (index - first) % freq else dense)), (mla_cache(text),))
        for index in range(required(text, "num_hidden_layers"))
    ]
    head_dim = required(text, "kv_lora_rank") + required(text, "qk_rope_head_dim")
    body = Body(num_experts=count, kv_heads=1, head_dim=head_dim, flags={"is_mla": True})
    return replace(assemble(config, layers, body), needs_trust_remote_code=True)


def _apart(module: Module) -> Modules:
    """fused_qkv_a_proj as the two projections that it is made of."""
    if not isinstance(module, Linear) or not module.name.endswith("fused_qkv_a_proj"):
        return (module,)
    return tuple(
        replicated(f"self_attn.{output.name}", module.in_features, output.features) for output in module.outputs
    )


def minicpm3(config: Config) -> ModelFacts:
    """Latent projections in a small dense model; vLLM expands them and keeps whole heads in the cache, tied head."""
    text = text_config(config)
    size, heads = required(text, "hidden_size"), required(text, "num_attention_heads")
    head_dim = required(text, "qk_nope_head_dim") + required(text, "qk_rope_head_dim")
    attention = tuple(
        replace(module, absorbed=False) if isinstance(module, Linear) else module for module in mla_attention(text)
    )
    modules = (*attention, *gated_mlp(size, required(text, "intermediate_size")), *norms_of(text, Shape()))
    cache = Cache("full", num_kv_heads=heads, head_size=head_dim, num_query_heads=heads)
    layers = [Layer(modules, (cache,))] * required(text, "num_hidden_layers")
    return assemble(config, layers, Body(tied=True, kv_heads=heads, head_dim=head_dim))
