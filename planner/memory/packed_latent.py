"""What DeepSeek V4's attention holds in the profile run, where no token is cached yet: read in source, not measured.

vllm/models/deepseek_v4/nvidia/flashmla.py forward_mqa and attention.py; layers/sparse_attn_indexer.py; 0.33.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.memory.cache_layers import cache_layers
from planner.memory.kv_specs import ceil_div, round_up
from planner.model.facts import ITEMSIZE_BYTES

if TYPE_CHECKING:
    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts

MIB = 2**20
FLASHMLA_HEADS = (64, 128)  # query heads are padded up to one of these (get_padded_num_q_heads)
FLASHINFER_HEADS = (8, 16, 32, *FLASHMLA_HEADS)  # nvidia/flashinfer_sparse.py, compute capability 12.x
FLASHINFER_FAMILY = 12
PREFILL_CHUNK = 4  # DeepseekV4Attention.PREFILL_CHUNK_SIZE: requests whose rows are gathered at once
PICKED_MULTIPLE = 128  # picked rows and the window together
INDEX_BYTES = 4  # int32
INDEXER_LENGTHS = 576 * 2 // 132  # mla/indexer.py get_max_prefill_buffer_size
LONG_CONTEXT, LONG_FACTOR, SHORT_FACTOR = 256 * 1024, 2, 5  # config/vllm.py sparse_mla_prefill_workspace_factor
TOPK_WORKSPACE_BYTES = MIB  # layers/indexer_topk.py RADIX_TOPK_WORKSPACE_SIZE
LOGITS_BYTES = 512 * MIB  # VLLM_SPARSE_INDEXER_MAX_LOGITS_MB: what scores may take later


def packed_workspace_bytes(facts: ModelFacts, gpu: Gpu, engine: EngineConfig) -> int:
    """The workspace that layers share, rows gathered for a prefill or the indexer's; 0 without such layers."""
    if not facts.kv_cache_format:
        return 0
    rows = [cache for cache, _ in cache_layers(facts) if cache.tokens_per_state > 1]
    if not rows:
        return 0
    tokens, length = engine.max_num_batched_tokens, engine.max_model_len
    indexed = min(rows, key=lambda cache: (cache.tokens_per_state, cache.state_bytes or 0))
    factor = SHORT_FACTOR if length <= LONG_CONTEXT else LONG_FACTOR
    scored = length * INDEXER_LENGTHS * factor // indexed.tokens_per_state
    index = scored * (indexed.state_bytes or 0) + TOPK_WORKSPACE_BYTES
    if gpu.compute_capability // 10 == FLASHINFER_FAMILY:
        return index
    window = max(cache.window_tokens or 0 for cache, _ in cache_layers(facts))
    gathered = PREFILL_CHUNK * (ceil_div(length, indexed.tokens_per_state) + window + tokens)
    picked = tokens * (round_up(facts.index_topk + window, PICKED_MULTIPLE) + 1) * INDEX_BYTES
    return max(index, gathered * facts.head_dim * ITEMSIZE_BYTES["bfloat16"] + picked)


def packed_attention_bytes(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int) -> int:
    """An indexed layer beside that workspace: residual streams, input, padded queries and outputs, scores."""
    local = facts.num_attention_heads // tp
    steps = FLASHINFER_HEADS if gpu.compute_capability // 10 == FLASHINFER_FAMILY else FLASHMLA_HEADS
    padded = next((step for step in steps if step >= local), local)
    width = (facts.residual_streams + 1) * facts.hidden_size + 2 * padded * facts.head_dim
    return engine.max_num_batched_tokens * width * ITEMSIZE_BYTES[engine.dtype] + LOGITS_BYTES
