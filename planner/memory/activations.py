"""The activation peak of vLLM's profile run: what the torch allocator holds at once beside the weights.

The run (v1/worker/gpu/model_runner.py and gpu_model_runner.py, profile_run) passes max_num_batched_tokens tokens
through the model without attention, then samples min(tokens, max_num_seqs) rows. Torch's peak is the largest of a
few moments; each is a sum of tensors that are alive together. The sums were read off vLLM 0.26.0 on H100 and H200
and meet its peaks to the byte for dense models at five batch sizes, eager and compiled, at TP 1 and 2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from planner.memory.allocator import block_bytes
from planner.memory.packed_latent import packed_attention_bytes, packed_workspace_bytes
from planner.memory.runner import uses_v2_runner
from planner.memory.stages import stage_runs
from planner.memory.weights import padded_vocab
from planner.memory.widths import layer_widths
from planner.model.facts import ITEMSIZE_BYTES, Embedding
from planner.model.quantization import engine_quantization

if TYPE_CHECKING:
    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.memory.widths import LayerWidths
    from planner.model.facts import ModelFacts

MIB = 2**20
CUBLAS_WORKSPACE_BYTES = {9: 32 * MIB}  # torch CUDABlas.cpp parseChosenWorkspaceSize: Hopper; others 8,519,680 bytes
OTHER_CUBLAS_WORKSPACE_BYTES = 8_519_680
MLA_CONTEXT_TOKENS = 64 * 1024  # MLACommonMetadataBuilder.determine_chunked_prefill_workspace_size: at most
FP32_BYTES = 4
HOPPER = 9


def peak_activation_bytes(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int, pp: int, stage: int = 0) -> int:
    """Bytes on one GPU of pipeline ``stage``; the largest of the moments below."""
    ep_size = tp if engine.enable_expert_parallel else 1
    quantized = facts.quantization is not None or engine.quantization is not None
    tokens, itemsize = engine.max_num_batched_tokens, ITEMSIZE_BYTES[engine.dtype]
    widths = _stage_widths(facts, tp, ep_size, quantized, pp, stage)
    moments = [0]
    workspace = packed_workspace_bytes(facts, gpu, engine)  # made by the first layer that has some, and stays
    for one in widths:
        if one.workspace and not _uses_triton_mxfp4(facts, gpu, engine):
            workspace = max(workspace, one.workspace * tokens * itemsize)
        moments.append(_forward(facts, gpu, engine, one, workspace, tokens * itemsize))
    if facts.kv_cache_format:
        moments.append(packed_attention_bytes(facts, gpu, engine, tp) + workspace)
    if stage == 0 and not engine.enforce_eager:
        moments.append(_embedding_benchmark(facts, tokens, itemsize, tp))
    if stage == pp - 1:
        moments.append(_sampling(facts, gpu, engine, tp) + workspace)
    return max(moments) + _encoder_output(facts, engine, stage)


@lru_cache(maxsize=4096)
def _stage_widths(
    facts: ModelFacts, tp: int, ep_size: int, quantized: bool, pp: int, stage: int
) -> tuple[LayerWidths, ...]:
    """The different widths of a stage's layers, in the order in which they first run."""
    layers = dict.fromkeys(run.layer for run in stage_runs(facts, pp)[stage])
    return tuple(dict.fromkeys(layer_widths(layer, tp, ep_size, quantized) for layer in layers))


def _uses_triton_mxfp4(facts: ModelFacts, gpu: Gpu, engine: EngineConfig) -> bool:
    """Whether MXFP4 experts run on Triton's own kernels, which keep no workspace (fused_moe/oracle/mxfp4.py)."""
    scheme = engine_quantization(facts, engine.quantization).schemes.get("experts")
    triton = scheme is not None and scheme.storage == "mxfp4" and scheme.method != "deepseek_v4_fp8"
    return triton and gpu.compute_capability // 10 == HOPPER


def _forward(
    facts: ModelFacts, gpu: Gpu, engine: EngineConfig, widths: LayerWidths, workspace: int, bytes_per_width: int
) -> int:
    """The largest moment inside one layer: MLP, projections, experts or MLA's context."""
    hidden = facts.hidden_size
    if engine.enforce_eager:
        # three hidden states: the caller's, the residual, the layer's own; attention's output is already freed
        mlp = 3 * hidden + widths.mlp_in + widths.mlp_out
        projections = 3 * hidden + widths.qkv + widths.query + widths.key
        experts = 5 * hidden if workspace else 0
        latent = 3 * hidden + widths.query + 2 * widths.latent
        benchmark = 0
    else:
        # a compiled piece keeps its inputs: attention's output and the residual, and what o_proj gave
        mlp = widths.attention_in + 2 * hidden + widths.mlp_in + widths.mlp_out
        projections = widths.attention_in + 3 * hidden + widths.qkv + widths.query + widths.key
        experts = widths.attention_in + 5 * hidden if workspace else 0
        latent = 2 * hidden + widths.query + widths.latent
        benchmark = _l2_flush_bytes(gpu)
    mixer = 3 * hidden + 3 * widths.mixer if widths.mixer else 0
    cublas = cublas_workspace_bytes(gpu) if widths.dense_gemm else 0
    streams = (facts.residual_streams - 1) * hidden  # of the residual, beside the one that is counted above
    tensors = (max(mlp, projections, experts, mixer) + streams) * bytes_per_width + workspace + cublas + benchmark
    if not widths.context:
        return tensors
    context = mla_context_tokens(engine) * widths.context * ITEMSIZE_BYTES[engine.dtype]
    return max(tensors, latent * bytes_per_width + context + workspace + cublas)


def _l2_flush_bytes(gpu: Gpu) -> int:
    """torch/_inductor/runtime/benchmarking.py: a buffer as large as the L2 cache while kernels are tuned."""
    return round((gpu.l2_mb or 0) * MIB)


def cublas_workspace_bytes(gpu: Gpu) -> int:
    """Made by the first GEMM, in torch's own allocator."""
    return CUBLAS_WORKSPACE_BYTES.get(gpu.compute_capability // 10, OTHER_CUBLAS_WORKSPACE_BYTES)


def mla_context_tokens(engine: EngineConfig) -> int:
    """Tokens of chunked context that MLA reserves room for in the profile run.

    v1/attention/backends/mla/common.py determine_chunked_prefill_workspace_size; forward_impl allocates kv_b_proj's
    output for them.
    """
    wanted = max(8 * engine.max_model_len, 4 * engine.max_num_seqs * (engine.block_size or 16))
    return min(wanted, MLA_CONTEXT_TOKENS)


def _embedding_benchmark(facts: ModelFacts, tokens: int, itemsize: int, tp: int) -> int:
    """Inductor times the first piece on copies of its inputs: the embedding table once more, and two outputs."""
    table = block_bytes(_most_rows(facts) // tp * facts.hidden_size * itemsize, whole_from=None)
    return table + 2 * tokens * facts.hidden_size * itemsize


@lru_cache(maxsize=64)
def _most_rows(facts: ModelFacts) -> int:
    return max((padded_vocab(module) for module in facts.embedding if isinstance(module, Embedding)), default=0)


def _sampling(facts: ModelFacts, gpu: Gpu, engine: EngineConfig, tp: int) -> int:
    """Logits of min(tokens, max_num_seqs) rows, with what the runner's sampler makes of them."""
    itemsize = ITEMSIZE_BYTES[engine.dtype]
    rows = min(engine.max_num_batched_tokens, engine.max_num_seqs)
    hidden = facts.hidden_size * itemsize * (engine.max_num_batched_tokens + rows)
    logits = rows * facts.vocab_size * itemsize
    # gathered over TP: this rank's part, all parts, and the parts side by side
    gathered = logits if tp == 1 else logits // tp + 2 * logits
    base = hidden + cublas_workspace_bytes(gpu)
    if uses_v2_runner(facts, engine):
        return base + gathered
    # v1/sample/sampler.py: fp32 logits, probabilities and exponential noise, and one row per program of
    # apply_top_k_top_p_triton; the dummy hidden states are copied once (rand_like)
    in_fp32 = rows * facts.vocab_size * FP32_BYTES
    programs = min(gpu.sms or rows, rows) * facts.vocab_size * FP32_BYTES
    copied = rows * facts.hidden_size * itemsize
    return base + copied + max(gathered, logits + 3 * block_bytes(in_fp32, whole_from=None) + programs)


def _encoder_output(facts: ModelFacts, engine: EngineConfig, stage: int) -> int:
    """Embeddings of the largest multimodal batch, which wait in the encoder cache during the pass.

    Features of several depths lie beside them (qwen3_vl.py, out_hidden_size "is enlarged due to deepstack").
    """
    if stage or not facts.tower or engine.language_model_only:
        return 0
    width = facts.hidden_size * (1 + facts.deepstack_levels)
    return engine.max_num_batched_tokens * width * ITEMSIZE_BYTES[engine.dtype]
