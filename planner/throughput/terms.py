"""Terms: the seconds of one decode step and of one prompt on one configuration, as coefficients."""

from __future__ import annotations

from math import log, log2, sqrt
from typing import TYPE_CHECKING

from msgspec import Struct

from planner.model.facts import ITEMSIZE_BYTES
from planner.throughput.constants import CONSTANTS, FULL_GRAPHS
from planner.throughput.rates import (
    BLACKWELL,
    arithmetic,
    bandwidth,
    kv_bandwidth,
    read_s_per_byte,
    unfused,
    widening_s,
)
from planner.throughput.work import NARROW, count_work

if TYPE_CHECKING:
    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts
    from planner.throughput.constants import Constants, Era
    from planner.throughput.work import CacheLayers, Work

GIGA = 1e9


class ExpertTerm(Struct, frozen=True):
    """``read_s`` to read every expert of these layers once; a batch touches 1 - (1 - k/E)^B of them.

    ``ranks`` hold whole experts each (expert parallelism), and all wait for the one of which most are touched.
    """

    read_s: float
    missed_by_one: float  # 1 - top_k / count
    count: int = 1
    ranks: int = 1

    def touched_s(self, tokens: float) -> float:
        """Seconds to read what ``tokens`` tokens touch.

        Of n experts drawn from all, R ranks have n / R each on average, and the largest has sqrt(ln R) standard
        deviations more.
        """
        share = float(1 - self.missed_by_one ** max(1.0, tokens))
        if self.ranks == 1 or not share:
            return self.read_s * share
        spread = sqrt(log(self.ranks) * (self.ranks - 1) * (1 - share) / (self.count * share))
        return self.read_s * share * min(float(self.ranks), 1 + spread)


class CacheTerm(Struct, frozen=True):
    """Caches of alike layers on one GPU: seconds and bytes per cached token, seconds per pair of prompt tokens."""

    token_s: float
    token_bytes: float
    pair_s: float
    window_tokens: int | None

    def tokens(self, context: float) -> float:
        return context if self.window_tokens is None else min(context, self.window_tokens)


class Terms(Struct, frozen=True):
    """One configuration, in seconds unless named otherwise."""

    weights_s: float  # read once per step
    token_s: float  # arithmetic of one decoded token
    overlap_norm: float
    layers_s: float  # kernels that take their time whatever the batch, and the latency of all-reduces
    reduce_token_s: float
    launch_s: float  # the host's launches where no CUDA graph replays them; they run beside the GPU
    prompt_launch_s: float  # likewise in passes that prefill
    step_s: float
    sequence_s: float
    cached_token_s: float
    prompt_token_s: float
    state_s: float  # reading and writing a request's states (mamba, linear attention)
    state_bytes: float
    experts: tuple[ExpertTerm, ...]
    caches: tuple[CacheTerm, ...]
    outside_bytes: float  # of the KV cache that the engine's generation loses on each GPU
    stages: int
    separate_prefill: bool
    overlap: bool
    host_norm: float


def step_s(terms: Terms, batch: float, context: float, prompt_tokens: float = 0.0, attention: float = 0.0) -> float:
    """Seconds until every one of ``batch`` sequences with ``context`` cached tokens has its next token.

    ``prompt_tokens`` join the step, with ``attention`` seconds of their own: it reads the weights anyway, and the
    prompts' arithmetic hides behind that reading as far as it can. Pipeline stages each work on batch / stages
    sequences at once, so a token meets every stage's weights in turn, and so do the prompts.
    """
    share = max(min(batch, 1.0), batch / terms.stages)  # a lone sequence keeps one stage busy at a time
    multiply = terms.token_s * share + terms.prompt_token_s * prompt_tokens
    gpu = _overlapped(terms, read_s(terms, share + prompt_tokens), multiply)
    gpu += terms.layers_s + terms.reduce_token_s * (share + prompt_tokens) + terms.state_s * share + attention
    for cache in terms.caches:
        gpu += cache.token_s * cache.tokens(context) * share
    return with_host_s(terms, gpu, terms.launch_s, batch) + terms.cached_token_s * batch * context


def with_host_s(terms: Terms, gpu: float, launch: float, sequences: float) -> float:
    """A step of the engine: the GPU's work, the host's launches beside it, and the host's own work."""
    device, host = max(gpu, launch), host_s(terms, sequences)
    if not terms.overlap:
        return device + host
    norm = terms.host_norm
    return float((device**norm + host**norm) ** (1 / norm))


def host_s(terms: Terms, sequences: float) -> float:
    """The host's own work for one step; one process does it, whatever the stages."""
    return terms.step_s + terms.sequence_s * sequences


def read_s(terms: Terms, tokens: float) -> float:
    """Seconds to read the weights that ``tokens`` tokens of one pass touch."""
    read = terms.weights_s
    for expert in terms.experts:
        read += expert.touched_s(tokens)
    return read


def _overlapped(terms: Terms, read: float, multiply: float) -> float:
    norm = terms.overlap_norm
    return float((read**norm + multiply**norm) ** (1 / norm))


def prefill_pass_s(terms: Terms, tokens: float, prompts: float) -> float:
    """Seconds of a pass that only prefills: ``tokens`` in all, ``prompts`` of equal length (a part of one counts)."""
    gpu = _overlapped(terms, read_s(terms, tokens), tokens * terms.prompt_token_s)
    gpu += terms.layers_s + tokens * terms.reduce_token_s + prompts * attention_s(terms, tokens / prompts)
    return with_host_s(terms, gpu, terms.prompt_launch_s, prompts)


def attention_s(terms: Terms, tokens: float) -> float:
    """Seconds of a prompt's attention: every token looks back on half the prompt, or on its window."""
    return tokens * sum(cache.tokens(tokens / 2) * cache.pair_s for cache in terms.caches)


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
        token_s += 2 * matrices.elements / ranks / (flops * constants.compute_efficiency)
        if matrices is not work.head:  # only a prompt's last token reaches the head
            prompt_token_s += 2 * matrices.elements / ranks / (flops * constants.compute_efficiency)
    experts = []
    for layers in work.experts:
        flops = arithmetic(layers.format, gpu, engine.dtype, constants) * constants.expert_compute_efficiency
        per_token = 2 * layers.layers * layers.top_k * layers.elements / tp / flops
        token_s += per_token
        prompt_token_s += per_token
        read_s = layers.layers * layers.count * layers.nbytes / tp * read_s_per_byte(layers.format, gpu, constants)
        ranks = tp if engine.enable_expert_parallel else 1
        experts.append(ExpertTerm(read_s, 1 - layers.top_k / layers.count, layers.count, ranks))
    reduce_s, reduce_token_s = _reductions(work, candidate, constants)
    layers_s = (
        work.layers * constants.layer_of(gpu)
        + _expert_layers_s(work, candidate, constants)
        + work.narrow_layers * constants.narrow_layer_s
    )
    launch_s = work.layers * era.launch_s
    attention_launch_s = work.layers * constants.attention_launch_s if _piecewise(era, engine) else 0.0
    state_bytes = sum(c.layers * c.state_elements for c in work.caches) * work.itemsize_bytes / tp
    return Terms(
        weights_s=weights_s,
        token_s=token_s,
        layers_s=layers_s + reduce_s,
        reduce_token_s=reduce_token_s,
        launch_s=launch_s if eager else attention_launch_s,
        prompt_launch_s=launch_s if eager or era.separate_prefill else attention_launch_s,
        step_s=era.step_s + era.straggler_s * work.reductions * (1 - 1 / tp),
        sequence_s=era.sequence_s,
        cached_token_s=era.cached_token_s,
        prompt_token_s=prompt_token_s,
        state_s=2 * state_bytes / read,
        state_bytes=state_bytes / pp,
        experts=tuple(experts),
        caches=tuple(
            _cache_term(c, candidate, engine, constants)
            for c in work.caches
            if c.elements_per_token or c.extra_bytes_per_token
        ),
        outside_bytes=era.outside_bytes * (1 if tp * pp == 1 else 2),
        stages=pp,
        separate_prefill=era.separate_prefill,
        overlap=_overlaps(era, engine),
        overlap_norm=constants.overlap_norm,
        host_norm=constants.host_norm,
    )


def _expert_layers_s(work: Work, candidate: Candidate, constants: Constants) -> float:
    """Seconds of routing, which is a row of kernels of its own; FlashInfer's TRT-LLM kernels of Blackwell contain it.

    Where activations are quantized for the experts, sorting them into blocks takes kernels before both products.
    """
    fused = candidate.gpu.compute_capability // 10 == BLACKWELL // 10
    seconds = 0.0
    for layers in work.experts:
        if fused and layers.format in {"mxfp4", "nvfp4", "fp8"}:
            continue
        narrow = constants.narrow_expert_layer_s if layers.format in NARROW else 0.0
        seconds += layers.layers * (constants.expert_layer_s + narrow)
    return seconds


def _overlaps(era: Era, engine: EngineConfig) -> bool:
    asked = engine.flag("async-scheduling")
    return era.overlap if asked is None or era.separate_prefill else bool(asked)


def _piecewise(era: Era, engine: EngineConfig) -> bool:
    return not era.separate_prefill and engine.version < FULL_GRAPHS


def _cache_term(layers: CacheLayers, candidate: Candidate, engine: EngineConfig, constants: Constants) -> CacheTerm:
    gpu, tp = candidate.gpu, candidate.tensor_parallel_size
    itemsize = 1 if engine.kv_cache_dtype.startswith("fp8") else ITEMSIZE_BYTES.get(engine.kv_cache_dtype, 2)
    share = 1.0 if layers.kv_heads == 0 else max(1, -(-layers.kv_heads // tp)) / layers.kv_heads
    nbytes = layers.layers * (layers.elements_per_token * itemsize * share + layers.extra_bytes_per_token)
    flops = arithmetic("dense", gpu, engine.dtype, constants) * constants.attention_efficiency
    return CacheTerm(
        token_s=nbytes / kv_bandwidth(gpu, itemsize, constants),
        token_bytes=nbytes / candidate.pipeline_parallel_size,
        pair_s=2 * layers.layers * layers.score_width / tp / flops,
        window_tokens=layers.window_tokens,
    )


def _reductions(work: Work, candidate: Candidate, constants: Constants) -> tuple[float, float]:
    """Latency of a pass's all-reduces, and seconds per token of each pass: a ring moves 2 (n - 1) / n of the data."""
    tp, gpu = candidate.tensor_parallel_size, candidate.gpu
    if tp == 1:
        return 0.0, 0.0
    times = work.reductions + work.norm_reductions
    moved = work.reductions * work.hidden_size * work.itemsize_bytes * 2 * (tp - 1) / tp
    rate = gpu.link_gbps_per_direction * GIGA
    if gpu.link == "nvlink":
        return times * constants.nvlink_s, moved / (rate * constants.nvlink_efficiency)
    hop_s = constants.pcie_s if gpu.peer_to_peer else constants.no_peer_s
    return times * hop_s * log2(tp), moved / (rate * constants.pcie_efficiency)
