"""Families beyond the shipped catalogue: loading bytes of small configs, as vLLM's own classes allocate them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.checks.quantization_shard import check_quantization_shard
from planner.checks.shards import check_pipeline
from planner.engine import resolve_engine
from planner.errors import ModelError, UnknownArchitectureError
from planner.memory.kv_cache import plan_kv_cache, stage_layouts
from planner.memory.weights import stage_loading_bytes
from planner.model.architectures import make_facts
from planner.model.facts import Linear
from planner.model.identity import Checkpoint
from planner.spec import parse_spec
from tests.made_facts import catalog, engine_of, gpu_of

if TYPE_CHECKING:
    from planner.checks.refusal import Refusal
    from planner.model.facts import Layer, ModelFacts

FAMILIES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "family_configs.json").read_text(encoding="utf-8")
)["families"]
SPLITS = [
    (family, split, tuple(stages)) for family, row in FAMILIES.items() for split, stages in row["loading_bytes"].items()
]


KV_CACHES = [
    (family, split, *sizes) for family, row in FAMILIES.items() for split, sizes in row.get("kv_cache", {}).items()
]
KV_POOL_BYTES = 2**40


def facts_of_family(family: str) -> ModelFacts:
    return make_facts(Checkpoint(repo=f"made/{family}", source="path", config=FAMILIES[family]["config"]))


@pytest.mark.parametrize(("family", "split", "stages"), SPLITS, ids=[f"{row[0]} {row[1]}" for row in SPLITS])
def test_a_family_loads_what_the_engine_allocates(family: str, split: str, stages: tuple[int, ...]) -> None:
    tp, pp = (int(part[2:]) for part in split.split()[:2])
    engine = engine_of("Qwen/Qwen3-0.6B", "H100", tp=tp, pp=pp, enable_expert_parallel=split.endswith("ep"))
    assert stage_loading_bytes(facts_of_family(family), gpu_of("H100"), engine, tp, pp) == stages


@pytest.mark.parametrize(
    ("family", "split", "blocks", "tokens"), KV_CACHES, ids=[f"{row[0]} {row[1]}" for row in KV_CACHES]
)
def test_a_family_caches_what_the_engine_plans(family: str, split: str, blocks: int, tokens: int) -> None:
    facts, gpu, tp = facts_of_family(family), gpu_of("H100"), int(split.split(maxsplit=1)[0][2:])
    spec = parse_spec(
        '{name: t, model: {repo: made/x}, engine: {version: "0.33.0", max_num_batched_tokens: 8192}}', "t"
    )
    engine = resolve_engine(spec, facts, gpu, tp, 1)
    kv_cache = plan_kv_cache(stage_layouts(facts, gpu, engine, tp, 1), [KV_POOL_BYTES], engine)
    assert (kv_cache.num_blocks, kv_cache.tokens) == (blocks, tokens)


def attends(layer: Layer) -> bool:
    """Whether a search has left the layer its attention; other layers have Linears of an MLP alone."""
    return any(output.replicable for module in layer.modules for output in getattr(module, "outputs", ()))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_of_a_family_that_attends_keeps_a_cache(family: str) -> None:
    facts = facts_of_family(family)
    assert facts.num_hidden_layers > 0
    assert all(run.layer.caches for run in facts.layers if attends(run.layer))
    assert facts.max_model_len > 0


def test_ernie_with_a_tied_head_cannot_be_cut_into_stages() -> None:
    tied = FAMILIES["ernie4_5_moe"]["config"]
    untied = Checkpoint(repo="made/untied", source="path", config={**tied, "tie_word_embeddings": False})
    assert not facts_of_family("ernie4_5_moe").supports_pp
    assert make_facts(untied).supports_pp


TEXT_ALONE = [  # family, what its language model alone allocates with --language-model-only on one GPU
    ("ministral3_3b", 6_925_174_784),
    ("llava16_mistral", 14_492_966_912),  # without the line break too
    ("internvl3_8b_hf", 15_234_173_952),
]


@pytest.mark.parametrize(("family", "nbytes"), TEXT_ALONE)
def test_language_model_only_leaves_the_encoder_out(family: str, nbytes: int) -> None:
    engine = engine_of("Qwen/Qwen3-0.6B", "H100", language_model_only=True)
    assert stage_loading_bytes(facts_of_family(family), gpu_of("H100"), engine, 1, 1) == (nbytes,)


def changed(family: str, **keys: Any) -> Checkpoint:
    return Checkpoint(repo=f"made/{family}", source="path", config={**FAMILIES[family]["config"], **keys})


UNKNOWN_PARTS = [
    ("internvl3_8b", {"llm_config": {"architectures": ["NewForCausalLM"], "model_type": "new"}}, "NewForCausalLM"),
    ("llava15_7b", {"text_config": {"model_type": "new"}}, "model_type new"),
    ("llava15_7b", {"vision_config": {"model_type": "new_vision"}}, "new_vision"),
    ("mistral_small_3_1", {"vision_config": {"model_type": "new_vision"}}, "new_vision"),
]


@pytest.mark.parametrize(("family", "keys", "named"), UNKNOWN_PARTS)
def test_an_unknown_part_of_a_known_model_is_refused_by_name(family: str, keys: dict[str, Any], named: str) -> None:
    with pytest.raises(UnknownArchitectureError, match=named):
        make_facts(changed(family, **keys))


def test_layers_that_share_keys_are_refused() -> None:
    with pytest.raises(ModelError, match="use_cla"):
        make_facts(changed("hunyuan_a13b", use_cla=True))


def test_awq_of_the_language_model_alone_leaves_intern_vit_whole() -> None:
    """InternVLChatModel._patch_quant_config."""
    text = FAMILIES["internvl3_8b"]["config"]["llm_config"]
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
    facts = make_facts(changed("internvl3_8b", llm_config={**text, "quantization_config": awq}))
    assert facts.quantization == awq
    assert not any(module.quantizable for module in facts.tower if isinstance(module, Linear))


def test_layers_made_unlike_each_other_keep_what_they_need() -> None:
    """Nemotron NAS: KV heads by layer, and nothing where a layer has lost its attention."""
    facts = facts_of_family("nemotron_51b")
    caches = [run.layer.caches for run in facts.layers for _ in range(run.count)]
    assert [cache[0].num_kv_heads if cache else 0 for cache in caches] == [8, 4, 2, 8, 0, 1, 0, 8, 4, 8]


@pytest.mark.parametrize(
    ("tp", "pp", "length", "kv_cache_dtype", "stages", "blocks", "tokens"),
    [
        (8, 1, 65_536, "bfloat16", [98_304], 10_172_526_041, 91_738_911_053),
        (4, 2, 32_768, "fp8", [49_152, 49_152], 20_345_052_083, 98_692_326_669),
    ],
)
def test_step_groups_its_windows_beside_the_full_layers(
    tp: int, pp: int, length: int, kv_cache_dtype: str, stages: list[int], blocks: int, tokens: int
) -> None:
    engine = engine_of("Qwen/Qwen3-0.6B", "H100", tp=tp, pp=pp, max_model_len=length, kv_cache_dtype=kv_cache_dtype)
    engine = replace(engine, max_num_batched_tokens=8192)
    layouts = stage_layouts(facts_of_family("step3p5"), gpu_of("H100"), engine, tp, pp)
    kv_cache = plan_kv_cache(layouts, [10**15] * pp, engine)
    assert [layout.bytes_per_block for layout in layouts] == stages
    assert (kv_cache.num_blocks, kv_cache.tokens) == (blocks, tokens)


SCOUT, NEXT = "meta-llama/Llama-4-Scout-17B-16E-Instruct", "Qwen/Qwen3-Next-80B-A3B-Instruct"
FP8_BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


def shipped(repo: str, **changes: Any) -> ModelFacts:
    """A model of the catalogue under a config.json with other keys."""
    checkpoint = catalog().find_model(repo)
    assert checkpoint
    return make_facts(replace(checkpoint, config={**checkpoint.config, **changes}))


def test_llama_4_leaves_its_tower_unquantized_whatever_the_checkpoint_names() -> None:
    facts = shipped(SCOUT, quantization_config=FP8_BLOCKS)
    linears = [module for module in facts.tower if isinstance(module, Linear)]
    assert linears
    assert not any(linear.quantizable for linear in linears)


def test_an_outer_config_that_is_silent_overrides_a_tied_text_config() -> None:
    checkpoint = catalog().find_model(SCOUT)
    assert checkpoint
    text = {**checkpoint.config["text_config"], "tie_word_embeddings": True}
    assert not shipped(SCOUT, text_config=text).tied_embedding
    assert shipped(SCOUT, text_config=text, tie_word_embeddings=True).tied_embedding


def test_qwen3_5_asks_its_text_config_first() -> None:
    repo = "Qwen/Qwen3.5-27B"
    checkpoint = catalog().find_model(repo)
    assert checkpoint
    text = {**checkpoint.config["text_config"], "tie_word_embeddings": True}
    assert shipped(repo, text_config=text, tie_word_embeddings=False).tied_embedding


def test_interleaved_gates_of_a_delta_net_are_one_part_that_blocks_must_divide() -> None:
    facts, gpu = shipped(NEXT, quantization_config=FP8_BLOCKS), gpu_of("H100")
    refusals = {
        tp: check_quantization_shard(facts, Candidate(gpu, None, tp, tp, 1), engine_of(NEXT, "H100", tp=tp))
        for tp in (1, 4)
    }
    assert refusals[1] is None
    assert refusals[4]
    assert "output_partition_size = 16 is not divisible by weight quantization block_n = 128" in refusals[4].reason


def test_a_version_of_minicpm_v_with_another_encoder_is_refused_by_name() -> None:
    with pytest.raises(UnknownArchitectureError, match=r"version 2\.0"):
        make_facts(changed("minicpmv_llama", hidden_size=2304, query_num=64))


def test_exaone_3_is_configured_by_its_repositorys_code() -> None:
    assert shipped("LGAI-EXAONE/EXAONE-3.0-7.8B").needs_trust_remote_code


@pytest.mark.parametrize(
    "repo", ["deepseek-ai/DeepSeek-V2-Lite-Chat", "zai-org/GLM-4.5-Air", "microsoft/Phi-3.5-MoE-instruct", NEXT]
)
def test_classes_that_never_tie_keep_a_head_of_their_own(repo: str) -> None:
    facts, published = shipped(repo, tie_word_embeddings=True), shipped(repo, tie_word_embeddings=False)
    assert (facts.lm_head, facts.tied_embedding) == (published.lm_head, False)
    assert facts.lm_head


def test_the_last_layer_of_gemma_4_is_full_whatever_is_published() -> None:
    """A config that was cut short, or that names no types: five windowed layers before each full one."""
    repo = "google/gemma-4-26B-A4B"
    checkpoint = catalog().find_model(repo)
    assert checkpoint
    text = checkpoint.config["text_config"]

    def windows(**changes: Any) -> list[int | None]:
        facts = shipped(repo, text_config={**text, **changes})
        return [run.layer.caches[0].window_tokens for run in facts.layers for _ in range(run.count)]

    assert windows(num_hidden_layers=3, layer_types=["sliding_attention"] * 3) == [1024, 1024, None]
    assert windows(layer_types=None) == windows() == [*[1024] * 5, None] * 5


def test_layers_that_qwen3_vls_encoder_feeds_are_all_of_the_first_stage() -> None:
    repo = "Qwen/Qwen3-VL-32B-Instruct"
    checkpoint = catalog().find_model(repo)
    assert checkpoint

    def refusal(layers: int, pp: int) -> Refusal | None:
        facts = shipped(repo, text_config={**checkpoint.config["text_config"], "num_hidden_layers": layers})
        return check_pipeline(facts, Candidate(gpu_of("H100"), None, pp, 1, pp), engine_of(repo, "H100"))

    assert refusal(6, 2) is None
    short = refusal(4, 2)
    assert short is not None
    assert (short.code, short.needed, short.available) == ("pipeline_unsupported", 3, 2)


def test_the_router_of_qwen3_is_quantized_where_nothing_leaves_it_out() -> None:
    """qwen3_moe.py hands its gate the format; four layers under --quantization fp8, as vLLM 0.33.0 loads them."""
    repo = "Qwen/Qwen3-30B-A3B"
    engine = engine_of(repo, "H100", quantization="fp8")
    assert stage_loading_bytes(shipped(repo, num_hidden_layers=4), gpu_of("H100"), engine, 1, 1) == (3_747_670_016,)
