"""Whether a model divides over the GPUs: heads, KV heads, widths, vocabulary, stages, and the longest context.

Each rule quotes what vLLM would say (vllm/config/model.py, distributed/utils.py, layers/linear.py).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from planner.checks.refusal import Refusal
from planner.engine import model_limit
from planner.memory.stages import stage_ranges
from planner.memory.weights import padded_vocab
from planner.model.facts import Embedding, Experts, Linear, Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts, Module

FED_IN_FIRST_STAGE = ("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration")


def check_attention_heads(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:  # noqa: ARG001 - one signature for all checks
    """verify_with_parallel_config: num_attention_heads % tp == 0."""
    tp, heads = candidate.tensor_parallel_size, facts.num_attention_heads
    if facts.attention_free or heads % tp == 0:
        return None
    return Refusal(
        "attention_heads",
        f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({tp}).",
        heads,
        tp,
    )


def check_kv_heads(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:  # noqa: ARG001
    """QKVParallelLinear: KV heads divide over the ranks, or the ranks over the KV heads."""
    tp = candidate.tensor_parallel_size
    for heads in _kv_heads(facts):
        if heads % tp and tp % heads:
            reason = f"{heads} KV heads cannot be shared out over {tp} GPUs: neither number divides the other."
            return Refusal("kv_heads", reason, heads, tp)
    return None


def check_dimensions(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """distributed/utils.py divide: every width that is cut must divide by tp.

    The tower's too under --language-model-only, which makes it without memory (models/utils.py no_init_weights).
    """
    tp = candidate.tensor_parallel_size
    whole_experts = engine.enable_expert_parallel
    whole_tower = facts.tower_ranks(tp) < tp
    for name, width in _cut_widths(facts, tp, whole_experts, whole_tower):
        if width % tp:
            return Refusal("dimension", f"{name}: {width} is not divisible by {tp}.", width, tp)
    if facts.norm_groups and facts.norm_groups % tp:  # layers/mamba/linear/bailing_linear_attn.py
        return Refusal("dimension", "group_norm_size must be divisible by tp_size", facts.norm_groups, tp)
    return None


def check_pipeline(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:  # noqa: ARG001
    """The class must implement SupportsPP, and every stage needs a layer.

    models/qwen3_vl.py Qwen3VLForConditionalGeneration: the first stage has every layer that an image encoder feeds.
    """
    pp = candidate.pipeline_parallel_size
    if pp == 1:
        return None
    if not facts.supports_pp:
        return Refusal(
            "pipeline_unsupported",
            f"Pipeline parallelism is not supported for this model: {facts.architecture} does not implement it.",
            pp,
            1,
        )
    if facts.num_hidden_layers < pp:
        layers = facts.num_hidden_layers
        return Refusal("pipeline_unsupported", f"{layers} layers do not fill {pp} pipeline stages.", pp, layers)
    first, levels = len(stage_ranges(facts.num_hidden_layers, pp)[0]), facts.deepstack_levels
    if first < levels and facts.architecture in FED_IN_FIRST_STAGE:
        return Refusal(
            "pipeline_unsupported",
            f"start_layer should be greater than or equal to len(deepstack_visual_indexes): the first of {pp} stages "
            f"has {first} layers, and the image encoder feeds the first {levels}.",
            levels,
            first,
        )
    return None


def check_architecture(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:  # noqa: ARG001
    """registry.py _raise_for_unsupported: classes that a version no longer has, or does not have yet."""
    version, last = ".".join(map(str, engine.version)), facts.engine_last_version
    if not facts.engine_has_class:
        return Refusal("engine_support", f"Model architectures ['{facts.architecture}'] are not supported for now.")
    # rules too: below the oldest documented version the class may exist, but nothing is known of its memory
    if last and max(engine.version, engine.rules) > _version(last):
        return Refusal(
            "engine_support",
            f"Model architecture {facts.architecture} was supported in vLLM until v{last}, and is not supported "
            "anymore. Please use an older version of vLLM if you want to use this model architecture.",
        )
    if facts.engine_added_in and engine.version < _version(facts.engine_added_in):
        return Refusal(
            "engine_support",
            f"Model architectures ['{facts.architecture}'] are not supported for now: vLLM {version} does not have the "
            f'class. Type engine.version: "{facts.engine_added_in}" or later.',
        )
    if facts.counted_from and engine.rules < _version(facts.counted_from):
        return Refusal(
            "engine_support",
            f"The KV cache of {facts.architecture} is not counted as vLLM {version} lays it out. "
            f'Type engine.version: "{facts.counted_from}" or later.',
        )
    return None


def check_engine_support(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:
    """Classes with rules of their own, and settings a dense model has no use for."""
    if facts.needs_trust_remote_code and not engine.trust_remote_code:
        return Refusal(
            "engine_support",
            f"{facts.architecture} is configured by Python code of its repository; vLLM asks for --trust-remote-code. "
            "Type model.trust_remote_code: true.",
        )
    if engine.enable_expert_parallel and not facts.num_experts:
        reason = "Number of experts in the model must be greater than 0 when expert parallelism is enabled."
        return Refusal("engine_support", reason, 1, 0)
    if engine.max_num_batched_tokens < engine.max_num_seqs:
        tokens, seqs = engine.max_num_batched_tokens, engine.max_num_seqs
        reason = f"max_num_batched_tokens ({tokens}) must be greater than or equal to max_num_seqs ({seqs})."
        return Refusal("engine_support", reason, seqs, tokens)
    if refusal := _check_whole_items(facts, engine):
        return refusal
    if facts.max_experts_tp and candidate.tensor_parallel_size > facts.max_experts_tp:
        tp, most = candidate.tensor_parallel_size, facts.max_experts_tp
        reason = f"Tensor parallel size {tp} is greater than the number of experts {most}."
        return Refusal("engine_support", reason, tp, most)
    return None


def _check_whole_items(facts: ModelFacts, engine: EngineConfig) -> Refusal | None:
    """v1/core/encoder_cache_manager.py compute_mm_encoder_budget: attention in both directions takes an item whole."""
    item, tokens = facts.mm_item_tokens, engine.max_num_batched_tokens
    if engine.language_model_only or engine.flag("limit-mm-per-prompt") is not None or item <= tokens:
        return None
    reason = f"Chunked MM input disabled but max_tokens_per_mm_item ({item}) is larger than max_num_batched_tokens "
    reason += f"({tokens}). Set engine.max_num_batched_tokens: {item}, or engine.extra_args.language-model-only: true."
    return Refusal("engine_support", reason, item, tokens)


def check_max_model_len(facts: ModelFacts, candidate: Candidate, engine: EngineConfig) -> Refusal | None:  # noqa: ARG001
    """_get_and_verify_max_len: not above what the checkpoint derives."""
    asked, limit = engine.max_model_len, model_limit(facts, engine.rules)
    if asked <= limit or facts.any_max_model_len:
        return None
    return Refusal(
        "max_model_len",
        f"User-specified max_model_len ({asked:,}) is greater than the derived max_model_len ({limit:,}).",
        asked,
        limit,
    )


@lru_cache(maxsize=512)
def _kv_heads(facts: ModelFacts) -> tuple[int, ...]:
    linears = _linears(facts)
    found = {output.heads for linear in linears for output in linear.outputs if output.replicable and output.heads}
    return tuple(sorted(found))


@lru_cache(maxsize=512)
def _cut_widths(facts: ModelFacts, tp: int, whole_experts: bool, whole_tower: bool) -> tuple[tuple[str, int], ...]:
    """Every width that tensor parallelism over ``tp`` cuts, each once: vocabulary, projections, experts, towers."""
    modules = [*facts.embedding, *facts.lm_head, *facts.everywhere, *facts.first_only]
    modules += [] if whole_tower else facts.tower
    modules += [module for run in facts.layers for module in run.layer.modules]
    cut = [module for module in modules if not (isinstance(module, Linear) and (module.whole_unless or tp) % tp)]
    widths = {width: name for module in cut for name, width in _module_widths(module, whole_experts)}
    return tuple((name, width) for width, name in widths.items())


def _module_widths(module: Module, whole_experts: bool) -> Iterator[tuple[str, int]]:
    if isinstance(module, Embedding):
        yield "padded vocabulary", padded_vocab(module)
    elif isinstance(module, Experts):
        if not whole_experts:
            yield f"{module.name} width", module.intermediate_size
    elif isinstance(module, Parameter):
        if module.split_dim is not None and not module.heads:
            yield module.name, module.shape[module.split_dim]
    elif module.split == "row":
        yield f"{module.name} input", module.in_heads or module.in_features
    elif module.split == "column":
        for output in module.outputs:
            if not output.replicable:
                yield f"{module.name} output", output.heads or output.features


def _linears(facts: ModelFacts) -> list[Linear]:
    return [module for run in facts.layers for module in run.layer.modules if isinstance(module, Linear)]


@lru_cache(maxsize=64)
def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
