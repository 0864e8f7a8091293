"""What must hold for the KV cache of any model, whatever its layers keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from planner.checks.kv_cache import check_kv_cache
from planner.memory.kv_cache import longest_context, needed_bytes, plan_kv_cache, stage_layouts
from planner.model.facts import Cache
from tests.hand_made import FULL, GIB, LATENT, SPARSE, engine_of, facts_of, gated_delta_net, gpu

if TYPE_CHECKING:
    from planner.model.facts import ModelFacts

ATTENTION = st.builds(
    Cache,
    kind=st.sampled_from(["full", "sliding_window", "chunked_local"]),
    num_kv_heads=st.sampled_from([1, 2, 4, 8]),
    head_size=st.sampled_from([64, 128, 256]),
    window_tokens=st.sampled_from([128, 1024, 4096]),
).map(lambda cache: replace(cache, window_tokens=None) if cache.kind == "full" else cache)
STATES = st.builds(gated_delta_net, st.sampled_from([8, 16]), st.sampled_from([16, 32]))
PATTERNS = st.one_of(
    st.lists(ATTENTION, min_size=1, max_size=4),
    st.tuples(STATES, st.just(FULL)).map(list),
    st.just([LATENT]),
    st.just([SPARSE]),
)
MODELS = st.builds(facts_of, PATTERNS, st.integers(1, 8))
LENGTHS = st.integers(1, 1024).map(lambda blocks: blocks * 128)  # whole blocks of every backend
VERSIONS = st.sampled_from(["0.25.0", "0.33.0"])
GPUS = st.sampled_from(["H100", "A100-80GB", "L4", "B200"])


def needs(facts: ModelFacts, gpu_name: str, tp: int, pp: int, version: str, **keys: Any) -> int | None:
    """The start-up need of the neediest stage; None where vLLM cannot group the caches."""
    engine = engine_of(facts, gpu_name, tp, pp, version, **keys)
    layouts = stage_layouts(facts, gpu(gpu_name), engine, tp, pp)
    return None if layouts[0].ungroupable else max(needed_bytes(layout, engine) for layout in layouts)


@given(MODELS, GPUS, VERSIONS, LENGTHS, LENGTHS)
def test_a_longer_context_never_needs_less(
    facts: ModelFacts, gpu_name: str, version: str, one: int, other: int
) -> None:
    short = needs(facts, gpu_name, 1, 1, version, max_model_len=min(one, other), max_num_batched_tokens=2048)
    long = needs(facts, gpu_name, 1, 1, version, max_model_len=max(one, other), max_num_batched_tokens=2048)
    assert (short or 0) <= (long or 0)


@given(MODELS, GPUS, VERSIONS, LENGTHS, LENGTHS)
def test_more_batched_tokens_never_need_less(
    facts: ModelFacts, gpu_name: str, version: str, one: int, other: int
) -> None:
    few = needs(facts, gpu_name, 1, 1, version, max_num_batched_tokens=min(one, other))
    many = needs(facts, gpu_name, 1, 1, version, max_num_batched_tokens=max(one, other))
    assert (few or 0) <= (many or 0)


@given(MODELS, GPUS, VERSIONS, st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_more_gpus_never_need_more_on_each(facts: ModelFacts, gpu_name: str, version: str, tp: int, pp: int) -> None:
    keys = {"max_model_len": 32768}
    alone = needs(facts, gpu_name, tp, pp, version, **keys)
    assert (needs(facts, gpu_name, tp * 2, pp, version, **keys) or 0) <= (alone or 0)


@given(MODELS, GPUS, VERSIONS, LENGTHS, st.integers(1, 60))
def test_tokens_never_rise_with_a_larger_dtype(
    facts: ModelFacts, gpu_name: str, version: str, max_model_len: int, gib: int
) -> None:
    tokens = []
    for dtype in ("fp8", "auto"):
        engine = engine_of(facts, gpu_name, version=version, kv_cache_dtype=dtype, max_model_len=max_model_len)
        layouts = stage_layouts(facts, gpu(gpu_name), engine, 1, 1)
        if layouts[0].ungroupable:
            return
        tokens.append(plan_kv_cache(layouts, [gib * GIB], engine).tokens)
    assert tokens[1] <= tokens[0]


@given(MODELS, GPUS, VERSIONS, st.integers(0, 8 * GIB))
def test_the_longest_context_fits_and_one_more_token_does_not(
    facts: ModelFacts, gpu_name: str, version: str, available: int
) -> None:
    engine = engine_of(facts, gpu_name, version=version)
    layouts = stage_layouts(facts, gpu(gpu_name), engine, 1, 1)
    if layouts[0].ungroupable:
        return
    longest = longest_context(layouts, [available], engine)
    if longest:
        assert needed_bytes(layouts[0], replace(engine, max_model_len=longest)) <= available
    if longest < facts.max_model_len:
        assert needed_bytes(layouts[0], replace(engine, max_model_len=longest + 1)) > available


@given(MODELS, GPUS, VERSIONS, st.integers(1, 5))
def test_what_a_refusal_says_is_needed_is_exactly_enough_on_every_stage(
    facts: ModelFacts, gpu_name: str, version: str, pp: int
) -> None:
    pp = min(pp, facts.num_hidden_layers)
    engine = engine_of(facts, gpu_name, version=version)
    layouts = stage_layouts(facts, gpu(gpu_name), engine, 1, pp)
    refusal = check_kv_cache(layouts, [1] * pp, engine, 0)
    if refusal is None or refusal.code != "kv_cache":
        return
    needed = refusal.needed
    assert isinstance(needed, int)
    assert check_kv_cache(layouts, [needed] * pp, engine, 0) is None
    short = check_kv_cache(layouts, [needed - 1] * pp, engine, 0)
    assert short
    assert (short.needed, short.available) == (needed, needed - 1)
