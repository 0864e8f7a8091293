"""Terms: the seconds of one decode step and of one prompt on one configuration, as coefficients."""

from __future__ import annotations

from math import log, log2, sqrt
from typing import TYPE_CHECKING

from msgspec import Struct
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


class ReduceTerm(Struct, frozen=True):
    """All all-reduces of a pass in one way: seconds whatever the batch, and for each of its tokens."""

    fixed_s: float
    token_s: float


class Terms(Struct, frozen=True):
    """One configuration, in seconds unless named otherwise."""

    weights_s: float  # read once per step
    token_s: float  # arithmetic of one decoded token
    overlap_norm: float
    layers_s: float  # kernels that take their time whatever the batch
    reductions: tuple[ReduceTerm, ...]  # ways to all-reduce a pass, two at most; the quicker is taken
    launch_s: float  # the host's launches where no CUDA graph replays them; they run beside the GPU
    piece_launch_s: float  # likewise in passes that prefill: of what stands between two pieces of a graph
    prompt_launch_s: float  # of everything, where more tokens than the largest graph takes prefill
    captured_tokens: int  # what the largest graph takes
    step_s: float
    sequence_s: float
    cached_token_s: float
    prompt_token_s: float
    sample_s: float  # reading and writing one sequence's logits
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
    gpu += (
        terms.layers_s + reduce_s(terms, share + prompt_tokens) + (terms.state_s + terms.sample_s) * share + attention
    )
    for cache in terms.caches:
        gpu += cache.token_s * cache.tokens(context) * share
    launch = prefill_launch_s(terms, prompt_tokens) if prompt_tokens else terms.launch_s
    return with_host_s(terms, gpu, launch, batch) + terms.cached_token_s * batch * context


def prefill_launch_s(terms: Terms, tokens: float) -> float:
    """The host's launches for a pass that prefills so many tokens.

    Lengths differ: of passes with fewer than a graph takes on average, some have more.
    """
    beyond = min(1.0, tokens / terms.captured_tokens) if terms.captured_tokens else 1.0
    return max(terms.launch_s, terms.piece_launch_s, terms.prompt_launch_s * beyond)


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


def reduce_s(terms: Terms, tokens: float) -> float:
    """Seconds of a pass's all-reduces over ``tokens`` tokens."""
    if not terms.reductions:
        return 0.0
    first, last = terms.reductions[0], terms.reductions[-1]
    return min(first.fixed_s + first.token_s * tokens, last.fixed_s + last.token_s * tokens)


def _overlapped(terms: Terms, read: float, multiply: float) -> float:
    norm = terms.overlap_norm
    return float((read**norm + multiply**norm) ** (1 / norm))


def prefill_pass_s(terms: Terms, tokens: float, prompts: float) -> float:
    """Seconds of a pass that only prefills: ``tokens`` in all, ``prompts`` of equal length (a part of one counts)."""
    gpu = _overlapped(terms, read_s(terms, tokens), tokens * terms.prompt_token_s)
    gpu += terms.layers_s + reduce_s(terms, tokens) + prompts * attention_s(terms, tokens / prompts)
    return with_host_s(terms, gpu, prefill_launch_s(terms, tokens), prompts)


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
        token_s += 2 * matrices.elements / ranks / (flops * constants.compute_efficiency)
        if matrices is not work.head:  # only a prompt's last token reaches the head
            prompt_token_s += 2 * matrices.elements / ranks / (flops * constants.compute_efficiency)
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
        yield CacheTerm((elements + extra) / read, held, pair_s, layers.window_tokens)
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
