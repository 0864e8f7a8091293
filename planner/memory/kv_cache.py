"""The KV cache as vLLM lays it out and reports it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KvCache:
    """What vLLM logs. bytes_per_block is the largest and num_blocks the smallest over pipeline stages."""

    bytes_per_block: int
    block_size: int  # tokens
    num_blocks: int
    tokens: int  # "GPU KV cache size"
    max_concurrency: float  # "Maximum concurrency for max_model_len tokens per request"
    blocks_per_request: int  # at max_model_len
