"""Terms: the seconds of one decode step and of one prompt on one configuration, as coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

from planner.model.facts import ITEMSIZE_BYTES
from planner.throughput.constants import CONSTANTS
from planner.throughput.rates import arithmetic, bandwidth, link_of, unfused
from planner.throughput.work import count_work

if TYPE_CHECKING:
    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts
    from planner.throughput.constants import Constants
    from planner.throughput.work import CacheLayers, Work

GIGA = 1e9


@dataclass(frozen=True, slots=True)
class ExpertTerm:
    """``read_s`` to read every expert of these layers once; a batch touches 1 - (1 - k/E)^B of them."""

    read_s: float
    missed_by_one: float  # 1 - top_k / count


@dataclass(frozen=True, slots=True)
class CacheTerm:
    """Caches of alike layers on one GPU: seconds and bytes per cached token, seconds per pair of prompt tokens."""

    token_s: float
    token_bytes: float
    pair_s: float
    window_tokens: int | None

    def tokens(self, context: float) -> float:
        return context if self.window_tokens is None else min(context, self.window_tokens)


@dataclass(frozen=True, slots=True)
class Terms:
    """One configuration, in seconds unless named otherwise."""

    weights_s: float  # read once per step
    token_s: float  # arithmetic of one decoded token
    layers_s: float  # kernels that take their time whatever the batch, and the latency of all-reduces
    reduce_token_s: float
    launch_s: float  # the host's launches where no CUDA graph replays them; they run beside the GPU
    step_s: float
    sequence_s: float
    prompt_token_s: float
    prompt_pass_s: float  # a pass that only prefills
    prompt_s: float
    state_s: float  # reading and writing a request's states (mamba, linear attention)
    state_bytes: float
    experts: tuple[ExpertTerm, ...]
    caches: tuple[CacheTerm, ...]
    stages: int
    separate_prefill: bool


def decode_step_s(terms: Terms, batch: float, context: float) -> float:
    """Seconds until every one of ``batch`` sequences with ``context`` cached tokens has its next token.

    Pipeline stages each work on batch / stages sequences at once, so a token meets every stage's weights in turn.
    """
    share = batch / terms.stages
    gpu = terms.weights_s + terms.layers_s + (terms.token_s + terms.reduce_token_s + terms.state_s) * share
    for expert in terms.experts:
        gpu += expert.read_s * (1 - expert.missed_by_one ** max(1.0, share))
    for cache in terms.caches:
        gpu += cache.token_s * cache.tokens(context) * share
    return max(gpu, terms.launch_s) + terms.step_s + terms.sequence_s * batch


def prompt_work_s(terms: Terms, tokens: float) -> float:
    """Seconds of the GPU's work that one prompt adds, without the passes it needs."""
    seconds = tokens * terms.prompt_token_s + terms.prompt_s
    for cache in terms.caches:
        seconds += tokens * cache.tokens(tokens / 2) * cache.pair_s
    return seconds


def request_bytes(terms: Terms, tokens: float) -> float:
    """KV cache that one request of ``tokens`` tokens takes on one GPU."""
    return terms.state_bytes + sum(cache.token_bytes * cache.tokens(tokens) for cache in terms.caches)


def make_terms(
    facts: ModelFacts, candidate: Candidate, engine: EngineConfig, constants: Constants = CONSTANTS
) -> Terms:
    """The coefficients of one configuration."""
    gpu, tp, pp = candidate.gpu, candidate.tensor_parallel_size, candidate.pipeline_parallel_size
    work = count_work(facts, engine.dtype, engine.quantization)
    era = constants.era(engine.version)
    eager = era.eager or engine.enforce_eager
    read = bandwidth(gpu, constants)
    unpacked = unfused(gpu, engine)
    weights_s = token_s = prompt_token_s = 0.0
    for matrices in (*work.matrices, work.head):
        ranks = 1 if matrices.copied else tp
        extra = 2 * work.itemsize_bytes * matrices.elements if unpacked and matrices.format == "int4_weight" else 0
        weights_s += (matrices.nbytes + extra) / ranks / read
        flops = arithmetic(matrices.format, gpu, engine.dtype, constants)
        token_s += 2 * matrices.elements / ranks / (flops * constants.compute_efficiency)
        if matrices is not work.head:  # only a prompt's last token reaches the head
            prompt_token_s += 2 * matrices.elements / ranks / (flops * constants.prefill_efficiency)
    experts = []
    for layers in work.experts:
        flops = arithmetic(layers.format, gpu, engine.dtype, constants) * constants.expert_compute_efficiency
        per_token = 2 * layers.layers * layers.top_k * layers.elements / tp / flops
        token_s += per_token
        prompt_token_s += per_token
        read_s = layers.layers * layers.count * layers.nbytes / tp / (read * constants.expert_efficiency)
        experts.append(ExpertTerm(read_s, 1 - layers.top_k / layers.count))
    reduce_s, reduce_token_s = _reductions(work, candidate, constants)
    layers_s = (
        work.layers * constants.layer_of(gpu)
        + work.expert_layers * constants.expert_layer_s
        + work.narrow_layers * constants.narrow_layer_s
    )
    launch_s = work.layers * constants.launch_s
    host_s = era.step_s + era.rank_s * log2(tp)
    state_bytes = sum(c.layers * c.state_elements for c in work.caches) * work.itemsize_bytes / tp
    pass_s = max(weights_s, launch_s if era.separate_prefill or eager else 0.0) + layers_s + host_s
    return Terms(
        weights_s=weights_s,
        token_s=token_s,
        layers_s=layers_s + reduce_s,
        reduce_token_s=reduce_token_s,
        launch_s=launch_s if eager else 0.0,
        step_s=host_s,
        sequence_s=era.sequence_s,
        prompt_token_s=prompt_token_s + reduce_token_s,
        prompt_pass_s=pass_s + reduce_s,
        prompt_s=era.prompt_s,
        state_s=2 * state_bytes / read,
        state_bytes=state_bytes / pp,
        experts=tuple(experts),
        caches=tuple(_cache_term(c, work, candidate, engine, constants) for c in work.caches if c.elements_per_token),
        stages=pp,
        separate_prefill=era.separate_prefill,
    )


def _cache_term(
    layers: CacheLayers, work: Work, candidate: Candidate, engine: EngineConfig, constants: Constants
) -> CacheTerm:
    gpu, tp = candidate.gpu, candidate.tensor_parallel_size
    itemsize = 1 if engine.kv_cache_dtype.startswith("fp8") else ITEMSIZE_BYTES.get(engine.kv_cache_dtype, 2)
    share = 1.0 if layers.kv_heads == 0 else max(1, -(-layers.kv_heads // tp)) / layers.kv_heads
    nbytes = layers.layers * (layers.elements_per_token * itemsize * share + layers.extra_bytes_per_token)
    flops = arithmetic("dense", gpu, engine.dtype, constants) * constants.attention_efficiency
    return CacheTerm(
        token_s=nbytes / (bandwidth(gpu, constants) * constants.kv_efficiency),
        token_bytes=nbytes / candidate.pipeline_parallel_size,
        pair_s=2 * layers.layers * layers.score_width / tp / flops,
        window_tokens=layers.window_tokens,
    )


def _reductions(work: Work, candidate: Candidate, constants: Constants) -> tuple[float, float]:
    """Latency of a pass's all-reduces, and seconds per token of each pass: a ring moves 2 (n - 1) / n of the data."""
    tp, gpu = candidate.tensor_parallel_size, candidate.gpu
    if tp == 1:
        return 0.0, 0.0
    link = link_of(gpu)
    moved = work.reductions * work.hidden_size * work.itemsize_bytes * 2 * (tp - 1) / tp
    rate = gpu.link_gbps_per_direction * GIGA * constants.link_efficiency[link]
    return work.reductions * constants.link_s[link] * constants.link_growth(link, tp), moved / rate
