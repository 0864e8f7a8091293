"""Terms: the seconds of one decode step and of one prompt on one configuration, as coefficients, and what follows."""

from __future__ import annotations

from math import log, sqrt

from msgspec import Struct


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
