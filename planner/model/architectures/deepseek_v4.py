"""DeepSeek V4: attention over a window and over compressed rows, hyper-connections, experts in FP4.

vllm/models/deepseek_v4: nvidia/model.py, attention.py, compressor.py, common/rope.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.errors import ModelError
from planner.model.architectures.assemble import Body, assemble
from planner.model.architectures.blocks import experts, norm, replicated, router
from planner.model.architectures.reading import optional, required
from planner.model.architectures.rope import rope_cache, rope_parameters
from planner.model.facts import Cache, Layer, Linear, Output, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

MODEL_TYPE = "deepseek_v4"  # the class reads layer_types of transformers' config of this name
INDEXED = 4  # tokens per compressed row of the layers that have an indexer
RATIOS = (0, 1, INDEXED, 128)  # sparse_swa.py _layer_type_for; 0 and 1: the window alone
OVERLAP = 2  # compressor.py coff: windows of the indexed layers overlap by half
BLOCK_TOKENS = 256  # DeepseekSparseSWABackend.get_preferred_block_size
WINDOW_BLOCK_TOKENS = 64  # DeepseekV4SWACache block_size
STATE_BLOCK_TOKENS = {INDEXED: 4, 128: 8}  # CompressorStateCache block_size
ROW_BYTES = 584  # fp8_ds_mla: 448 values in fp8, 64 rotated ones in bf16, 8 bytes of scales
PAGE_BYTES = 576  # pages are rounded up to FlashMLA's rows
FP32_BYTES = 4
INDEX_SCALE_VALUES = 128  # one fp32 scale per so many fp8 values of an indexer's row


def deepseek_v4(config: Config) -> ModelFacts:
    """DeepSeek V4 Flash and Pro; the MTP layer is not loaded."""
    _refuse_what_vllm_cannot_read(config)
    size, streams = required(config, "hidden_size"), required(config, "hc_mult")
    count, head_dim = required(config, "n_routed_experts"), required(config, "head_dim")
    body = Body(
        num_experts=count,
        kv_heads=1,
        head_dim=head_dim,
        flags={
            "is_mla": True,
            "packed_kv_cache": True,
            "index_topk": required(config, "index_topk"),
            "residual_streams": streams,
            "everywhere": (
                Parameter("model.hc_head_fn", (streams, streams * size), dtype="float32"),
                Parameter("model.hc_head_base", (streams,), dtype="float32"),
                Parameter("model.hc_head_scale", (1,), dtype="float32"),
            ),
            "first_only": (
                # DeepseekV4Model.finalize_mhc_broadcast_weights: the streams start as copies of the embedding
                Parameter("hc_attn_fn_broadcast", (_mixes(streams), size), dtype="float32", buffer=True, loaded=False),
            ),
            "kv_cache_format": "fp8_ds_mla",
            "counted_from": "0.33.0",
        },
    )
    return assemble(config, _layers(config), body)


def _refuse_what_vllm_cannot_read(config: Config) -> None:
    model_type = config.get("model_type")
    if model_type != MODEL_TYPE:
        raise ModelError(
            f"config.json: model_type {model_type} of DeepseekV4ForCausalLM is not understood. transformers knows no "
            f"such type, so no version of vLLM starts the checkpoint as it is. Use one whose model_type is "
            f"{MODEL_TYPE}."
        )
    if optional(config, "vision_n_layers", default=0):
        raise ModelError(
            "config.json: DeepSeek V4 with vision_n_layers is not understood. Its tower is not counted here. "
            "Use a checkpoint without a tower."
        )


def _layers(config: Config) -> list[Layer]:
    size, hashed = required(config, "hidden_size"), optional(config, "num_hash_layers", default=0)
    ratios = required(config, "compress_ratios")[: required(config, "num_hidden_layers")]
    if unknown := sorted({ratio for ratio in ratios if ratio not in RATIOS}):
        raise ModelError(
            f"config.json: compress_ratios {unknown} are not understood. vLLM compresses 4 or 128 tokens into a row. "
            "Use the config.json of the published checkpoint."
        )
    streams, norms = _streams(config), (*norm("attn_norm", size), *norm("ffn_norm", size))
    return [
        Layer(
            (*_attention(config, ratio), *_mixture(config, hashed=index < hashed), *norms, *streams),
            _caches(config, ratio),
        )
        for index, ratio in enumerate(ratios)
    ]


def _attention(config: Config, ratio: int) -> Modules:
    """Query through a low rank, one latent that is key and value at once, output through groups of low rank."""
    size, heads = required(config, "hidden_size"), required(config, "num_attention_heads")
    head_dim, q_rank = required(config, "head_dim"), required(config, "q_lora_rank")
    groups, o_rank = required(config, "o_groups"), required(config, "o_lora_rank")
    latents = (Output(q_rank, name="wq_a"), Output(head_dim, name="wkv"))
    return (
        # padded to 64 or 128 heads on every rank (DeepseekV4FlashMLAAttention.get_padded_num_q_heads): one block
        Parameter("attn.attn_sink", (heads,), dtype="float32"),
        Linear("attn.fused_wqa_wkv", size, latents, "replicated"),
        *norm("attn.q_norm", q_rank),
        Linear("attn.wq_b", q_rank, (Output(heads * head_dim, heads),), "column"),
        *norm("attn.kv_norm", head_dim),
        Linear("attn.wo_a", heads * head_dim // groups, (Output(groups * o_rank, groups),), "column"),
        Linear("attn.wo_b", groups * o_rank, (Output(size),), "row", in_heads=groups),
        _rope(config, ratio),
        *(_indexer(config) if ratio == INDEXED else ()),
        *(_compressor(size, head_dim, ratio, "attn.compressor") if ratio > 1 else ()),
    )


def _rope(config: Config, ratio: int) -> Parameter:
    """YaRN at a base of its own where rows are compressed, plain elsewhere (common/rope.py)."""
    positions = required(config, "max_position_embeddings")
    rope = {**rope_parameters(config), "rope_dim": required(config, "qk_rope_head_dim")}
    if ratio > 1:
        rope["rope_theta"] = required(config, "compress_rope_theta")
    else:
        rope |= {"factor": 1.0, "original_max_position_embeddings": positions}
    if ratio <= 1 or rope["rope_type"] != "default":
        rope["rope_type"] = "deepseek_yarn"
    return rope_cache(
        required(config, "head_dim"), positions, rope, dtype="float32", name="attn.rotary_emb.cos_sin_cache"
    )


def _indexer(config: Config) -> Modules:
    """What picks index_topk compressed rows for each token."""
    size, heads = required(config, "hidden_size"), required(config, "index_n_heads")
    dim = required(config, "index_head_dim")
    return (
        replicated("attn.indexer.wq_b", required(config, "q_lora_rank"), heads * dim),
        replicated("attn.indexer.weights_proj", size, heads, quantizable=False),
        *_compressor(size, dim, INDEXED, "attn.indexer.compressor"),
    )


def _compressor(size: int, head_dim: int, ratio: int, prefix: str) -> Modules:
    """What makes one row of ``ratio`` tokens: values, gates, and an embedding of each token's place in the row."""
    width = _overlaps(ratio) * head_dim
    parts = (Output(width, name="wkv"), Output(width, name="wgate"))
    return (
        Parameter(f"{prefix}.ape", (ratio, width), dtype="float32"),
        Linear(f"{prefix}.fused_wkv_wgate", size, parts, "replicated", quantizable=False),
        *norm(f"{prefix}.norm", head_dim),
    )


def _overlaps(ratio: int) -> int:
    return OVERLAP if ratio == INDEXED else 1


def _mixture(config: Config, *, hashed: bool) -> Modules:
    """Routed experts and a shared one; the first layers route by a table of the vocabulary."""
    size, count = required(config, "hidden_size"), required(config, "n_routed_experts")
    width, top_k = required(config, "moe_intermediate_size"), required(config, "num_experts_per_tok")
    shared = width * (optional(config, "n_shared_experts", default=0) or 0)
    biased = optional(config, "topk_method", default="") == "noaux_tc" and not hashed
    table = Parameter("ffn.gate.tid2eid", (required(config, "vocab_size"), top_k), dtype="int32")
    return (
        *router(size, count, "ffn.gate", correction_bias="ffn.gate.e_score_correction_bias" if biased else None),
        *((table,) if hashed else ()),
        *(_shared_expert(size, shared) if shared else ()),
        *experts(size, width, count, top_k, "ffn.experts"),
    )


def _shared_expert(size: int, width: int) -> Modules:
    gate_up = (Output(width, name="w1"), Output(width, name="w3"))
    return (
        Linear("ffn.shared_experts.gate_up_proj", size, gate_up, "column"),
        Linear("ffn.shared_experts.down_proj", width, (Output(size),), "row"),
    )


def _streams(config: Config) -> Modules:
    """Hyper-connections: what mixes hc_mult residual streams before attention and before the experts."""
    count, size = required(config, "hc_mult"), required(config, "hidden_size")
    shapes = {"fn": (_mixes(count), count * size), "base": (_mixes(count),), "scale": (3,)}
    return tuple(
        Parameter(f"hc_{place}_{name}", shape, dtype="float32")
        for name, shape in shapes.items()
        for place in ("attn", "ffn")
    )


def _mixes(streams: int) -> int:
    return (2 + streams) * streams


def _caches(config: Config, ratio: int) -> tuple[Cache, ...]:
    """A window of tokens; beside it compressed rows, an indexer's rows, and the states of both compressors."""
    heads, head_dim = required(config, "num_attention_heads"), required(config, "head_dim")
    window = Cache(
        "mla",
        1,
        head_dim,
        window_tokens=required(config, "sliding_window"),
        num_query_heads=heads,
        block_tokens=WINDOW_BLOCK_TOKENS,
        state_bytes=ROW_BYTES,
        page_multiple_bytes=PAGE_BYTES,
    )
    if ratio <= 1:
        return (window,)
    own = (window, _rows(head_dim, ROW_BYTES, ratio, heads), _states(head_dim, ratio))
    if ratio != INDEXED:
        return own
    dim = required(config, "index_head_dim")
    row_bytes = dim + dim // INDEX_SCALE_VALUES * FP32_BYTES
    return (*own, _rows(row_bytes, row_bytes, ratio, required(config, "index_n_heads")), _states(dim, ratio))


def _rows(head_size: int, row_bytes: int, ratio: int, query_heads: int) -> Cache:
    """One row per ``ratio`` tokens, in blocks of the model's own kernels."""
    return Cache(
        "mla",
        1,
        head_size,
        num_query_heads=query_heads,
        kernel_block_tokens=BLOCK_TOKENS,
        tokens_per_state=ratio,
        state_bytes=row_bytes,
        page_multiple_bytes=PAGE_BYTES,
    )


def _states(head_dim: int, ratio: int) -> Cache:
    """Values and gates, in fp32, of the tokens that wait for their row to be full."""
    width = 2 * _overlaps(ratio) * head_dim
    return Cache(
        "mla",
        1,
        width,
        window_tokens=_overlaps(ratio) * ratio,
        block_tokens=STATE_BLOCK_TOKENS[ratio],
        state_bytes=width * FP32_BYTES,
        page_multiple_bytes=PAGE_BYTES,
    )
