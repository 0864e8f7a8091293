"""What must hold for the memory of any shipped model, on any GPU, at any setting: never fitted, only ordered."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.checks import CHECKS
from planner.make_plan import make_plan
from planner.memory.account import make_memory
from planner.memory.blocks import stage_block_bytes
from planner.memory.cache_layers import cache_kinds
from planner.memory.kv_cache import needed_bytes, plan_kv_cache, stage_layouts
from planner.memory.weights import Rank, module_storages, padded_vocab, parameter_elements
from planner.model.facts import ITEMSIZE_BYTES, Embedding, Experts, Linear, Parameter
from planner.model.quantization import engine_quantization, layer_kinds
from planner.spec import parse_spec
from tests.made_facts import catalog, engine_of, facts_of, gpu_of

if TYPE_CHECKING:
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts, Module
    from planner.plan import Plan

SHIPPED = sorted(catalog().model_names())
PLAIN = [repo for repo in SHIPPED if not facts_of(repo).quantization]
MODELS = st.sampled_from(SHIPPED)
GPUS = st.sampled_from(["T4", "L4", "A10", "L40S", "A100-40GB", "A100-80GB", "RTX-PRO-6000", "H100", "H200", "B200"])
VERSIONS = st.sampled_from(["0.25.0", "0.26.0", "0.33.0"])
SPLITS = st.sampled_from([(1, 1), (2, 1), (4, 1), (1, 2), (2, 2)])
SEQS = st.sampled_from([1, 16, 64, 256, 700, 1024])
TOKENS = st.sampled_from([1024, 2048, 5000, 8192, 16384, 32768])
LENGTHS = st.sampled_from([128, 1024, 2048, 4096, 8192, 30000])


def settings_of(repo: str, gpu: str, split: tuple[int, int], version: str, **engine: Any) -> EngineConfig:
    tp, pp = split
    return engine_of(repo, gpu, tp=tp, pp=pp, version=version, **engine)


def starts(facts: ModelFacts, gpu: str, engine: EngineConfig, split: tuple[int, int]) -> bool:
    """Whether vLLM would build the model at all."""
    tp, pp = split
    candidate = Candidate(gpu_of(gpu), None, tp * pp, tp, pp)
    if any(check(facts, candidate, engine) for check in CHECKS):
        return False
    return stage_layouts(facts, gpu_of(gpu), engine, tp, pp)[0].ungroupable is None


def needs(facts: ModelFacts, gpu: str, engine: EngineConfig, split: tuple[int, int]) -> int:
    """Bytes of the neediest stage with room for one request of max_model_len; what lies outside vLLM's account not."""
    memories = make_memory(facts, gpu_of(gpu), engine, *split)
    layouts = stage_layouts(facts, gpu_of(gpu), engine, *split)
    stages = zip(memories, layouts, strict=True)
    return max(memory.held_bytes - memory.outside_bytes + needed_bytes(one, engine) for memory, one in stages)


@pytest.mark.parametrize("grown", ["max_model_len", "max_num_seqs", "max_num_batched_tokens"])
@settings(max_examples=60, deadline=None)
@given(MODELS, GPUS, SPLITS, VERSIONS, LENGTHS, SEQS, TOKENS, st.integers(1, 40000), st.booleans())
def test_more_context_sequences_or_batched_tokens_never_need_less(
    grown: str,
    repo: str,
    gpu: str,
    split: tuple[int, int],
    version: str,
    length: int,
    seqs: int,
    tokens: int,
    more: int,
    eager: bool,
) -> None:
    facts = facts_of(repo)
    few = settings_of(
        repo,
        gpu,
        split,
        version,
        max_model_len=length,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        enforce_eager=eager,
    )
    assume(starts(facts, gpu, few, split))
    many = replace(few, **{grown: getattr(few, grown) + more})
    assert needs(facts, gpu, few, split) <= needs(facts, gpu, many, split)


@settings(max_examples=150, deadline=None)
@given(MODELS, GPUS, SPLITS, VERSIONS, LENGTHS, st.booleans())
def test_more_gpus_never_need_more_on_each(
    repo: str, gpu: str, split: tuple[int, int], version: str, length: int, deeper: bool
) -> None:
    """But for the logits, which every rank of a tensor-parallel group gathers from the others."""
    facts = facts_of(repo)
    tp, pp = split
    wider = (tp, pp * 2) if deeper else (tp * 2, pp)
    few = settings_of(repo, gpu, split, version, max_model_len=length)
    many = settings_of(repo, gpu, wider, version, max_model_len=length)
    assume(starts(facts, gpu, few, split) and starts(facts, gpu, many, wider))
    gathered = 2 * few.max_num_seqs * facts.vocab_size * ITEMSIZE_BYTES[few.dtype] if not deeper else 0
    assert needs(facts, gpu, many, wider) <= needs(facts, gpu, few, split) + gathered
    blocks = [max(stage_block_bytes(facts, gpu_of(gpu), one, *at)) for one, at in ((few, split), (many, wider))]
    assert blocks[1] <= blocks[0]


@settings(max_examples=100, deadline=None)
@given(MODELS, GPUS, SPLITS, VERSIONS, LENGTHS, st.integers(1, 60))
def test_tokens_never_rise_with_a_larger_dtype(
    repo: str, gpu: str, split: tuple[int, int], version: str, length: int, gib: int
) -> None:
    facts = facts_of(repo)
    reported = []
    for dtype in ("fp8", "bfloat16", "float32"):
        engine = settings_of(repo, gpu, split, version, max_model_len=length, kv_cache_dtype=dtype)
        layouts = stage_layouts(facts, gpu_of(gpu), engine, *split)
        if layouts[0].ungroupable is None:
            available = [gib * 2**30] * split[1]
            reported.append(plan_kv_cache(layouts, available, engine))
    for smaller, larger in pairwise(reported):
        if "mamba" in cache_kinds(facts):
            # A block holds one state, and as many keys as fill it, in steps of 16 tokens: the step may tip the number.
            steps = max(1.0, smaller.bytes_per_block / larger.bytes_per_block)
            assert larger.num_blocks <= smaller.num_blocks * steps + 1
        else:
            assert larger.tokens <= smaller.tokens


def whole_and_copies(module: Module, tp: int, dtype: str) -> tuple[int, int]:
    """Bytes of an unquantized module as the checkpoint has it, and what ``tp`` ranks hold beyond that."""
    itemsize = ITEMSIZE_BYTES[getattr(module, "dtype", None) or dtype]
    if isinstance(module, Embedding):
        padding = padded_vocab(module) - module.vocab_size
        width = module.hidden_size + int(module.bias)
        return module.vocab_size * width * itemsize, padding * width * itemsize
    if isinstance(module, Experts):
        gates = 3 if module.gated else 2
        weights = module.count * gates * module.intermediate_size * module.hidden_size
        width = module.count * (gates - 1) * module.intermediate_size * int(module.bias)
        hidden = module.count * module.hidden_size * int(module.bias)
        return (weights + width + hidden) * itemsize, (tp - 1) * hidden * itemsize
    if isinstance(module, Parameter):
        size = itemsize
        for length in module.shape:
            size *= length
        split = min(tp, module.heads) if module.heads else tp
        return size, size * (tp - 1 if module.split_dim is None else tp // split - 1)
    rows = module.in_features + int(module.bias)
    if module.split == "replicated":
        return module.out_features * rows * itemsize, (tp - 1) * module.out_features * rows * itemsize
    if module.split == "row":
        biases = module.out_features * int(module.bias)
        return module.out_features * rows * itemsize, (tp - 1) * biases * itemsize
    copied = sum(
        output.features * (tp // output.heads - 1)
        for output in module.outputs
        if output.replicable and output.heads and tp > output.heads
    )
    return module.out_features * rows * itemsize, copied * rows * itemsize


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PLAIN), st.sampled_from([1, 2, 4, 8]))
@example("meta-llama/Llama-3.1-8B-Instruct", 8)
@example("Qwen/Qwen2.5-0.5B-Instruct", 2)
@example("deepseek-ai/DeepSeek-V2-Lite-Chat", 4)
def test_ranks_sum_to_the_checkpoint_and_what_is_copied_and_padded(repo: str, tp: int) -> None:
    facts, gpu = facts_of(repo), "H100"
    engine = settings_of(repo, gpu, (tp, 1), "0.33.0", max_model_len=1024)
    assume(starts(facts, gpu, engine, (tp, 1)))
    rank, quantization = Rank(facts, gpu_of(gpu), engine, tp), engine_quantization(facts)
    kinds, _ = layer_kinds(facts, quantization)
    outside = (*facts.embedding, *facts.lm_head, *facts.final, *facts.everywhere, *facts.first_only)
    for module in (*outside, *(module for layer, _ in kinds for module in layer.modules)):
        if is_plain(module):
            whole, more = whole_and_copies(module, tp, engine.dtype)
            assert tp * held_bytes(rank, module) == whole + more, module


def held_bytes(rank: Rank, module: Module) -> int:
    """Of one rank, before the allocator rounds."""
    if isinstance(module, Parameter):
        return parameter_elements(module, rank.tp) * ITEMSIZE_BYTES[module.dtype or rank.dtype]
    return sum(module_storages(rank, module, None))


def is_plain(module: Module) -> bool:
    """Cut as its shape says: neither padded by a kernel nor kept whole or in another format by its class."""
    if isinstance(module, Linear):
        return not module.fp32_router
    return not isinstance(module, Experts) or module.least_rows == 1


TODAY = date(2026, 11, 23)
ORDER = """\
name: order
model: {{repo: Qwen/Qwen3-8B}}
engine: {{max_model_len: 8192}}
gpu: {{types: [{types}], counts: [{counts}]}}
"""
TYPES = ("L4", "A10", "A100-80GB", "H100")


@settings(max_examples=15, deadline=None)
@given(st.permutations(TYPES), st.permutations((1, 2, 4)), st.randoms(use_true_random=False))
def test_the_order_of_rows_never_changes_a_plan(types: list[str], counts: list[int], shuffle: Any) -> None:
    checkpoint = catalog().find_model("Qwen/Qwen3-8B")
    assert checkpoint is not None
    plans = []
    for names, numbers, rows in ((TYPES, (1, 2, 4), catalog()), (types, counts, shuffled(shuffle))):
        text = ORDER.format(types=", ".join(names), counts=", ".join(map(str, numbers)))
        plans.append(make_plan(parse_spec(text, "a test"), checkpoint, rows, today=TODAY))
    assert plans[0].options == plans[1].options
    assert set(plans[0].rejections) == set(plans[1].rejections)


def shuffled(shuffle: Any) -> Any:
    """The catalogue with its GPUs and offers in another order."""
    gpus, offers = list(catalog().gpus.items()), list(catalog().offers.items())
    shuffle.shuffle(gpus)
    shuffle.shuffle(offers)
    return replace(catalog(), gpus=dict(gpus), offers=dict(offers))


LENGTH = """\
name: longest
model: {{repo: {repo}, trust_remote_code: true}}
engine: {{max_model_len: {length}, gpu_memory_utilization: {share}}}
gpu: {{types: [{gpu}], counts: [{count}]}}
"""
TIGHT = [  # one model of each kind of cache, where its memory and not its own limit decides
    ("meta-llama/Llama-3.1-8B-Instruct", "L4", 1),
    ("google/gemma-3-12b-it", "L4", 2),  # windows and a tower
    ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "H100", 4),  # chunks
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "L4", 8),  # delta nets
    ("zai-org/GLM-4.7-Flash", "T4", 5),  # latent attention, whose workspace grows with the context
    ("moonshotai/Kimi-K2.5", "A100-80GB", 8),
]


@pytest.mark.parametrize("asked", ["auto", 2048])
@pytest.mark.parametrize(("repo", "gpu", "count"), TIGHT)
def test_the_longest_context_said_is_valid_when_typed_and_a_block_more_is_not(
    repo: str, gpu: str, count: int, asked: str | int
) -> None:
    for option in plan_at(repo, gpu, count, asked).options:
        longest, split = option.longest_context_tokens, split_of(option.candidate)
        typed = {split_of(one.candidate): one for one in plan_at(repo, gpu, count, longest).options}
        assert typed[split].longest_context_tokens == longest
        if asked == "auto":
            assert (option.engine.max_model_len, option.kv_cache) == (longest, typed[split].kv_cache)
        if longest < facts_of(repo).max_model_len:
            longer = plan_at(repo, gpu, count, longest + option.kv_cache.block_size)
            assert split not in {split_of(one.candidate) for one in longer.options}


@pytest.mark.parametrize(("gpu", "count", "share"), [("T4", 5, 0.9), ("L4", 4, 0.7)])
def test_auto_starts_where_a_typed_length_leaves_the_workspace_small_enough(gpu: str, count: int, share: float) -> None:
    splits = [
        {split_of(option.candidate) for option in plan_at("zai-org/GLM-4.7-Flash", gpu, count, asked, share).options}
        for asked in ("auto", 2048)
    ]
    assert splits[0] == splits[1] != set()


def plan_at(repo: str, gpu: str, count: int, length: str | int, share: float = 0.9) -> Plan:
    checkpoint = catalog().find_model(repo)
    assert checkpoint is not None, repo
    text = LENGTH.format(repo=repo, gpu=gpu, count=count, length=length, share=share)
    return make_plan(parse_spec(text, "a test"), checkpoint, catalog(), today=TODAY)


def split_of(candidate: Candidate) -> tuple[int, int]:
    return candidate.tensor_parallel_size, candidate.pipeline_parallel_size
