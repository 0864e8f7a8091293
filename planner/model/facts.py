"""What a model is, in one neutral shape. Later stages see these values and never a model's name.

A model is a list of layers; a layer is a list of modules as the engine builds them (projections that vLLM
fuses are one ``Linear``) and of the caches that it keeps. Memory, checks and throughput walk these values.
Sizes are whole-model sizes: what one GPU holds under tensor, pipeline and expert parallelism is computed in
``planner.memory.weights``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

ITEMSIZE_BYTES: dict[str, int] = {
    "float64": 8,
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "float8_e4m3fn": 1,
    "float8_e8m0fnu": 1,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "int32": 4,
    "int64": 8,
}

Split = Literal["column", "row", "replicated"]
CacheKind = Literal["full", "sliding_window", "chunked_local", "mla", "mamba", "cross", "none"]


class Output(Struct, frozen=True):
    """One of the projections fused into a Linear.

    ``heads``: the projection is cut only between heads. ``replicable``: with more ranks than heads each head is
    stored on ``tp / heads`` ranks (vLLM's QKVParallelLinear for K and V); otherwise heads must divide.
    """

    features: int
    heads: int | None = None
    replicable: bool = False
    name: str = ""  # the checkpoint's name of this part, e.g. "q_proj"; "" = the Linear's own last name
    copied: bool = False  # loaded with another part's weights: memory of its own, but no parameter of the checkpoint


class Linear(Struct, frozen=True):
    """One linear layer as the engine builds it: weight [sum(out), in] (and bias), split over TP as ``split`` says."""

    name: str  # the engine's prefix below the layer, e.g. "self_attn.qkv_proj"
    in_features: int
    outputs: tuple[Output, ...]
    split: Split
    bias: bool = False
    quantizable: bool = True  # the engine hands the checkpoint's quantization to this module
    dtype: str | None = None  # None: the engine's
    in_heads: int | None = None  # row-parallel inputs that are cut between heads
    absorbed: bool = False  # MLA's kv_b_proj: unpacked copies stay beside a quantized weight
    whole_unless: int | None = None  # where tp does not divide it, the layer is whole on every rank (disable_tp)
    kv_chunks: tuple[int, int] | None = None  # K and V stored in so many chunks: their count, a chunk's padded rows
    fp32_router: bool = False  # kept in fp32 on GPUs without kernels of vLLM's router (GateLinear)

    @property
    def out_features(self) -> int:
        return sum(output.features for output in self.outputs)


class Experts(Struct, frozen=True):
    """A FusedMoE: ``count`` experts of w13 [(1 + gated) * intermediate, hidden] and w2 [hidden, intermediate]."""

    name: str
    count: int
    top_k: int
    hidden_size: int
    intermediate_size: int
    gated: bool = True
    bias: bool = False
    quantizable: bool = True
    mapped: bool = True  # under expert parallelism the engine keeps an expert map (int32) on the GPU
    least_rows: int = 1  # a rank's slice of the width is padded up to so many rows, from 0.33.0


class Embedding(Struct, frozen=True):
    """A vocabulary table [vocab_size, hidden_size]: rows padded to ``pad_to`` and divided over TP.

    ``quantizable``: an lm_head to which the engine hands the checkpoint's quantization (kept only where the
    quantization itself names the head).
    """

    name: str
    vocab_size: int
    hidden_size: int
    bias: bool = False
    pad_to: int = 64  # vllm/model_executor/layers/vocab_parallel_embedding.py DEFAULT_VOCAB_PADDING_SIZE
    quantizable: bool = False


class Parameter(Struct, frozen=True):
    """Any other tensor: norms, gates, convolutions, state matrices. ``split_dim`` is divided over TP, else copied.

    ``heads``: the split is between so many heads, each stored on ``tp / heads`` ranks once TP exceeds them.
    """

    name: str
    shape: tuple[int, ...]
    split_dim: int | None = None
    heads: int | None = None
    dtype: str | None = None  # None: the engine's
    buffer: bool = False  # counts as memory, not as a parameter (rope caches, masks)
    shared_key: str | None = None  # tensors with one key exist once per pipeline stage (rope caches)
    loaded: bool = True  # False: made by the engine, absent from the checkpoint and from its parameter count
    shape_before_0_33: tuple[int, ...] | None = None  # where versions before 0.33.0 hold another; None: the same


Module = Linear | Experts | Embedding | Parameter


class StateTensor(Struct, frozen=True):
    """One state of a Mamba / linear-attention layer per request: ``split_dim`` is divided over TP."""

    shape: tuple[int, ...]
    split_dim: int | None
    dtype: str | None = None  # None: the KV cache's / the model's as the engine resolves it
    role: Literal["conv", "ssm"] = "ssm"
    groups: int | None = None  # the split is between so many groups, one per rank where TP does not divide them


class Cache(Struct, frozen=True):
    """What one layer keeps per token (attention) or per request (mamba).

    full, sliding_window, chunked_local, cross: K of ``num_kv_heads * head_size`` and V of
    ``num_kv_heads * head_size_v`` values per token. mla: ``head_size`` values per token, the same on every rank.
    mamba: ``states`` per request.
    """

    kind: CacheKind
    num_kv_heads: int = 0
    head_size: int = 0
    head_size_v: int | None = None  # None: equal to head_size
    window_tokens: int | None = None  # sliding window or attention chunk
    states: tuple[StateTensor, ...] = ()
    mamba_type: str | None = None
    extra_bytes_per_token: int = 0  # fixed-format side caches, such as the sparse-attention indexer's keys
    num_query_heads: int = 0
    sinks: bool = False
    qk_nope_head_dim: int = 0  # mla: attention kernels exist for some sizes only
    qk_rope_head_dim: int = 0  # mla
    sparse: bool = False  # mla: attends only to what an indexer picks
    checkpoint_blocks: bool = False  # mamba: a prefill can export a state from its middle (Mamba2; GDN, KDA by GPU)
    kernel_block_tokens: int | None = None  # the layer's own attention kernels take blocks of just so many tokens
    block_tokens: int | None = None  # a block size of its own, apart from the model's
    tokens_per_state: int = 1  # mla: tokens compressed into one stored row
    state_bytes: int | None = None  # mla: one stored row, whatever the KV cache's format
    page_multiple_bytes: int = 1  # the page is rounded up to this


class Layer(Struct, frozen=True):
    """One decoder layer: its modules and what it caches (empty where it shares another layer's cache)."""

    modules: tuple[Module, ...]
    caches: tuple[Cache, ...] = ()
    kind: str = "decoder"

    def __hash__(self) -> int:
        # layers are keys of many caches: a deep hash at each look-up would cost more than what it finds
        return hash((self.kind, len(self.modules), len(self.caches)))


class LayerRun(Struct, frozen=True):
    """``count`` consecutive layers that are alike."""

    layer: Layer
    count: int


class ModelFacts(Struct, frozen=True, eq=False):
    """Everything that memory, validity and speed depend on; made by one function of ``model.architectures``.

    Equal only to itself, so that what is computed from it can be cached by it.
    """

    architecture: str  # architectures[0]
    model_type: str
    dtype: str  # the checkpoint's dtype, e.g. "bfloat16"
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_model_len: int  # the longest the engine accepts, derived as vLLM derives it
    layers: tuple[LayerRun, ...]
    embedding: tuple[Module, ...]  # first pipeline stage
    lm_head: tuple[Module, ...]  # last pipeline stage; empty when tied to the embedding
    final: tuple[Module, ...] = ()  # last pipeline stage: final norm
    everywhere: tuple[Module, ...] = ()  # every pipeline stage (towers the engine builds on each)
    first_only: tuple[Module, ...] = ()  # first stage only
    tied_embedding: bool = False
    supports_pp: bool = True
    is_multimodal: bool = False
    is_mla: bool = False
    attention_free: bool = False  # the class, not its layers: no rule about heads, no prefix caching by default
    num_experts: int = 0
    quantization: Mapping[str, Any] | None = None  # quantization_config / hf_quant_config as published
    needs_trust_remote_code: bool = False
    engine_has_class: bool = True  # False: no documented version has it; the model is counted and refused
    engine_last_version: str | None = None  # the last version with the class; None: the newest documented has it
    engine_added_in: str | None = None  # None: the oldest documented version has the class
    counted_from: str | None = None  # earlier versions have the class, but lay out its KV cache as nobody counts here
    notes: tuple[str, ...] = ()
    default_max_model_len: int | None = None  # what an unset max_model_len becomes; None: max_model_len
    any_max_model_len: bool = False  # config.json names no length: max_model_len is the default, no limit
    max_model_len_before_0_33: int | None = None  # where versions before 0.33.0 derive another; None: the same
    layers_prefix: str = "model.layers"  # the engine's name of the layer list; layer i is f"{layers_prefix}.{i}"
    name_prefixes: tuple[tuple[str, str], ...] = ()  # checkpoint name prefix -> the engine's, in this order
    tower: tuple[Module, ...] = ()  # encoders and projectors, first stage; language_model_only drops them
    tower_heads: int | None = None  # where tp does not divide them the whole tower is on every rank; None: it must
    norm_groups: int | None = None  # of linear attention's norm: tensor_parallel_size must divide them
    max_experts_tp: int | None = None  # the class refuses a tensor_parallel_size above its number of experts
    index_topk: int = 0  # sparse attention: tokens an indexer picks; their int32 indices have a buffer per stage
    index_heads: int | None = None  # that buffer holds so many heads, divided over TP; None: one for all
    deepstack_levels: int = 0  # vision features added to early layers: one buffer of hidden states per level
    token_buffer_width: int = 0  # values that the class keeps for each token of a batch
    tables_everywhere: bool = False  # the class builds embedding, final norm and head on every pipeline stage
    embedding_everywhere: bool = False  # the class builds the embedding alone on every pipeline stage
    head_replicated: bool = False  # the lm_head is built whole on every rank
    mm_prefix: bool = False  # image tokens attend to each other in both directions (vLLM's is_mm_prefix_lm)
    mm_item_tokens: int = 0  # with mm_prefix: of the largest image or video, which one batch has to hold whole
    attn_logit_softcapping: bool = False
    flash_attn_version: int | None = None  # the class asks for one version in all layers, else for Triton
    packed_kv_cache: bool = False  # all layers' pages of one block lie together (vLLM's block-outermost layouts)
    kv_cache_format: str | None = None  # the class's own, packed in fp8: what kv_cache_dtype "auto" is with it
    residual_streams: int = 1  # copies of the hidden state between layers (hyper-connections)
    blackwell_kv_cache_dtype: str | None = None  # what kv_cache_dtype "auto" is on B200 and B300, from 0.33.0
    mamba_prefix_caching: bool = False  # vLLM's SupportsMambaPrefixCaching: mamba_cache_mode "all" before 0.33.0
    mamba_chunk_size: int | None = None  # config.json's mamba_chunk_size or chunk_size

    @property
    @lru_cache(maxsize=64)  # noqa: B019 - asked for hundreds of times in a plan
    def num_hidden_layers(self) -> int:
        return sum(run.count for run in self.layers)

    def tower_ranks(self, tensor_parallel_size: int) -> int:
        """Over how many ranks the tower is cut (models/vision.py is_vit_use_data_parallel); 1: all have it whole."""
        whole = self.tower_heads and self.tower_heads % tensor_parallel_size
        return 1 if whole else tensor_parallel_size
