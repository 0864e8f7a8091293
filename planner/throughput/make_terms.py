"""make_terms: what the model, the GPUs and the engine cost in seconds and bytes, as coefficients."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.facts import ITEMSIZE_BYTES
from planner.throughput.constants import CONSTANTS, FULL_GRAPHS, LARGE_GRAPHS, UNSORTED_EXPERTS
from planner.throughput.rates import (
    BLACKWELL,
    arithmetic,
    bandwidth,
    kv_bandwidth,
    read_s_per_byte,
    unfused,
    widening_s,
)
from planner.throughput.terms import CacheTerm, ExpertTerm, ReduceTerm, Terms
from planner.throughput.work import NARROW, count_work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.candidates import Candidate
    from planner.catalog import Gpu
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts
    from planner.throughput.constants import Constants, Era
    from planner.throughput.work import CacheLayers, Work

GIGA = 1e9

# Times that a token's hidden state is read or written for each of its experts: gathered, quantized, multiplied, summed.
# What the ranks of tensor parallelism do not divide of the time of vLLM's fused experts (0.14 to 0.24, 8,192 and 16,384
# tokens, 1 to 32 ranks): 2 to 5 on A100, H100, L40S, RTX PRO 6000 and B200, 5 to 7 on H200 (ai-dynamo/aiconfigurator,
# moe_perf of each GPU).
EXPERT_MOVES = 4
# Of one logit: written in 16 bits, read, widened to 32, read twice by the sampler (v1/sample/sampler.py).
LOGIT_BYTES = 2 + 2 + 4 + 4


def make_terms(
    facts: ModelFacts, candidate: Candidate, engine: EngineConfig, constants: Constants = CONSTANTS
) -> Terms:
    """The coefficients of one configuration."""
    return terms_in_stages(one_stage(facts, candidate, engine, constants), candidate)


def terms_in_stages(terms: Terms, candidate: Candidate) -> Terms:
    """``terms`` of one stage for all of the candidate's: each holds its part of every request's cache."""
    pp = candidate.pipeline_parallel_size
    if pp == 1:
        return terms
    return replace(
        terms,
        state_bytes=terms.state_bytes / pp,
        caches=tuple(replace(cache, token_bytes=cache.token_bytes / pp) for cache in terms.caches),
        outside_bytes=terms.outside_bytes * (2 if candidate.tensor_parallel_size == 1 else 1),
        stages=pp,
    )


def one_stage(facts: ModelFacts, candidate: Candidate, engine: EngineConfig, constants: Constants = CONSTANTS) -> Terms:
    """The coefficients of as many GPUs as one pipeline stage has, were it the only one."""
    gpu, tp = candidate.gpu, candidate.tensor_parallel_size
    work = count_work(facts, engine.dtype, engine.quantization)
    era = constants.era(engine.version)
    eager = engine.enforce_eager or era.eager
    read = bandwidth(gpu, constants)
    unpacked = unfused(gpu, engine)
    weights_s = token_s = prompt_token_s = 0.0
    for matrices in (*work.matrices, work.head):
        ranks = 1 if matrices.copied else tp
        if unpacked and matrices.format == "int4_weight":
            moved = matrices.nbytes + 2 * work.itemsize_bytes * matrices.elements
            weights_s += (moved / read + matrices.elements * widening_s(gpu, constants)) / ranks
        else:
            weights_s += matrices.nbytes / ranks * read_s_per_byte(matrices.format, gpu, constants)
        flops = arithmetic(matrices.format, gpu, engine.dtype, constants)
        per_token = 2 * matrices.elements / ranks / (flops * constants.compute_efficiency)
        token_s += per_token
        if matrices is not work.head:  # only a prompt's last token reaches the head
            prompt_token_s += per_token
    experts = []
    for layers in work.experts:
        flops = arithmetic(layers.format, gpu, engine.dtype, constants) * constants.expert_compute_efficiency
        per_token = 2 * layers.layers * layers.top_k * layers.elements / tp / flops
        moved = EXPERT_MOVES * layers.layers * layers.top_k * work.hidden_size * work.itemsize_bytes
        per_token += moved / read
        token_s += per_token
        prompt_token_s += per_token
        read_s = layers.layers * layers.count * layers.nbytes / tp * read_s_per_byte(layers.format, gpu, constants)
        ranks = tp if engine.enable_expert_parallel else 1
        experts.append(ExpertTerm(read_s, 1 - layers.top_k / layers.count, layers.count, ranks))
    layers_s = (
        work.layers * constants.layer_of(gpu)
        + _expert_layers_s(work, candidate, engine, constants)
        + work.narrow_layers * constants.narrow_layer_s
        + work.block_layers * constants.block_layer_s
        + min(work.layers, sum(c.layers for c in work.caches if not c.kv_heads)) * constants.latent_layer_s
    )
    launch_s = work.layers * era.launch_s
    attention_launch_s = work.layers * constants.attention_launch_s
    state_bytes = sum(c.layers * c.state_elements for c in work.caches) * work.itemsize_bytes / tp
    return Terms(
        weights_s=weights_s,
        token_s=token_s,
        layers_s=layers_s,
        reductions=_reductions(work, candidate, constants),
        launch_s=launch_s if eager else attention_launch_s if _piecewise(era, engine) else 0.0,
        piece_launch_s=0.0 if eager or era.separate_prefill else attention_launch_s,
        prompt_launch_s=launch_s if eager or era.separate_prefill else _compiled_launch_s(work, constants),
        captured_tokens=0 if eager or era.separate_prefill else captured_tokens(gpu, engine),
        step_s=era.step_s + era.straggler_s * work.reductions * (1 - 1 / tp),
        sequence_s=era.sequence_s,
        cached_token_s=era.cached_token_s,
        prompt_token_s=prompt_token_s,
        sample_s=LOGIT_BYTES * facts.vocab_size / read,
        state_s=2 * state_bytes / read,
        state_bytes=state_bytes,
        experts=tuple(experts),
        caches=tuple(
            term
            for c in work.caches
            if c.elements_per_token or c.extra_bytes_per_token
            for term in _cache_terms(c, candidate, engine, constants)
        ),
        outside_bytes=era.outside_bytes * (1 if tp == 1 else 2),
        stages=1,
        separate_prefill=era.separate_prefill,
        overlap=_overlaps(era, engine),
        overlap_norm=constants.overlap_norm,
        host_norm=constants.host_norm,
    )


def _expert_layers_s(work: Work, candidate: Candidate, engine: EngineConfig, constants: Constants) -> float:
    """Seconds of routing, which is a row of kernels of its own; FlashInfer's TRT-LLM kernels of Blackwell contain it.

    Where activations are quantized for the experts, sorting them into blocks takes kernels before both products; not
    for FP8 since 0.17.0, where Triton's kernel comes first on Hopper (fused_moe/oracle/fp8.py _get_priority_backends).
    """
    fused = candidate.gpu.compute_capability // 10 == BLACKWELL // 10
    seconds = 0.0
    for layers in work.experts:
        if fused and layers.format in {"mxfp4", "nvfp4", "fp8"}:
            continue
        sorts = layers.format in NARROW and (layers.format != "fp8" or engine.version < UNSORTED_EXPERTS)
        seconds += layers.layers * (constants.expert_layer_s + (constants.narrow_expert_layer_s if sorts else 0.0))
    return seconds


def captured_tokens(gpu: Gpu, engine: EngineConfig) -> int:
    """Tokens of the largest CUDA graph (vllm/config/vllm.py _set_cudagraph_sizes); passes of more run without one."""
    if engine.most_captured_seqs is not None:
        return engine.most_captured_seqs
    large = engine.version >= LARGE_GRAPHS and gpu.compute_capability // 10 == BLACKWELL // 10
    return min(2 * engine.max_num_seqs, 1024 if large else 512)


def _compiled_launch_s(work: Work, constants: Constants) -> float:
    """Seconds of the host to launch what torch.compile made of all layers, kernel by kernel."""
    experts = sum(layers.layers for layers in work.experts)
    return (
        work.layers * constants.compiled_launch_s
        + work.narrow_layers * constants.narrow_launch_s
        + experts * constants.expert_launch_s
    )


def _overlaps(era: Era, engine: EngineConfig) -> bool:
    asked = engine.flag("async-scheduling")
    return era.overlap if asked is None or era.separate_prefill else bool(asked)


def _piecewise(era: Era, engine: EngineConfig) -> bool:
    return not era.separate_prefill and engine.version < FULL_GRAPHS


def _cache_terms(
    layers: CacheLayers, candidate: Candidate, engine: EngineConfig, constants: Constants
) -> Iterator[CacheTerm]:
    """One term; with an indexer two, what it looks through and what it picks."""
    gpu, tp = candidate.gpu, candidate.tensor_parallel_size
    itemsize = 1 if engine.kv_cache_dtype.startswith("fp8") else ITEMSIZE_BYTES.get(engine.kv_cache_dtype, 2)
    share = 1.0 if layers.kv_heads == 0 else max(1, -(-layers.kv_heads // tp)) / layers.kv_heads
    elements = layers.layers * layers.elements_per_token * itemsize * share
    extra = float(layers.layers * layers.extra_bytes_per_token)
    flops = arithmetic("dense", gpu, engine.dtype, constants) * constants.attention_efficiency
    read = kv_bandwidth(gpu, itemsize, constants)
    held = elements + extra
    pair_s = 2 * layers.layers * layers.score_width / tp / flops
    if layers.picked_tokens is None:
        yield CacheTerm(held / read, held, pair_s, layers.window_tokens)
        return
    index_flops = arithmetic("fp8", gpu, engine.dtype, constants) * constants.attention_efficiency
    yield CacheTerm(extra / read, held, 2 * layers.layers * layers.index_width / index_flops, layers.window_tokens)
    yield CacheTerm(elements / read, 0.0, pair_s, layers.picked_tokens)


def _reductions(work: Work, candidate: Candidate, constants: Constants) -> tuple[ReduceTerm, ...]:
    """How a pass's all-reduces may go; none on one rank.

    Over NVLink vLLM's own kernel reads all others' data at once, or reduces a share of it on each rank and gathers the
    shares, which moves less and waits twice (csrc/custom_all_reduce.cuh, one shot and two shots). Over PCIe it is a
    ring, 2 (n - 1) / n of the data.
    """
    tp, gpu = candidate.tensor_parallel_size, candidate.gpu
    if tp == 1:
        return ()
    nbytes = work.reductions * work.hidden_size * work.itemsize_bytes
    ring = nbytes * 2 * (tp - 1) / tp
    rate = gpu.link_gbps_per_direction * GIGA
    times = work.reductions + work.norm_reductions
    if gpu.link == "nvlink":
        rate *= constants.nvlink_efficiency
        wait_s = constants.nvlink5_s if gpu.compute_capability >= BLACKWELL else constants.nvlink_s
        once, twice = times * wait_s, (times + work.reductions) * wait_s
        return ReduceTerm(once, nbytes * (tp - 1) / rate), ReduceTerm(twice, ring / rate)
    hop_s = constants.pcie_s if gpu.peer_to_peer else constants.no_peer_s
    return (ReduceTerm(times * hop_s * log2(tp), ring / (rate * constants.pcie_efficiency)),)
