"""The engine's settings: defaults by GPU, number formats, versions."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.checks.shards import check_engine_support, check_max_model_len
from planner.engine import parse_version, rules_of, version_warnings
from planner.engine_dtypes import checkpoint_kv_cache_dtype
from planner.memory.kv_cache import stage_layouts
from planner.model.architectures import make_facts
from planner.model.identity import Checkpoint
from tests.checkpoints import LLAMA
from tests.hand_made import FULL, LLAMA_3_8B, QWEN3_NEXT, engine_of, facts_of, gpu
from tests.made_facts import facts_of as shipped_facts


@pytest.mark.parametrize(
    ("version", "gpu", "tokens", "seqs"),
    [
        ("0.33.0", "H100", 8192, 1024),
        ("0.25.0", "H100", 8192, 1024),
        ("0.33.0", "A100-80GB", 2048, 256),  # the name decides, not the size
        ("0.33.0", "L4", 2048, 256),
        ("0.33.0", "B200", 16384, 1024),  # 160 GiB and more, from 0.33.0
        ("0.25.0", "B200", 8192, 1024),
        ("0.33.0", "H200", 8192, 1024),
        ("0.33.0", "RTX-PRO-6000", 8192, 1024),
    ],
)
def test_batch_defaults_follow_the_gpu(version: str, gpu: str, tokens: int, seqs: int) -> None:
    engine = engine_of(LLAMA_3_8B, gpu, version=version, max_model_len=8192)
    assert (engine.max_num_batched_tokens, engine.max_num_seqs) == (tokens, seqs)


@pytest.mark.parametrize(
    ("keys", "tokens", "seqs"),
    [
        ({"max_num_seqs": 4, "max_model_len": 512}, 2048, 4),  # seqs x length caps the default batch
        ({"max_num_batched_tokens": 512}, 512, 512),  # and the batch caps the default seqs
        ({"max_num_batched_tokens": 512, "max_num_seqs": 600}, 512, 600),  # what is asked for stands
    ],
)
def test_batch_limits_hold_each_other(keys: dict[str, Any], tokens: int, seqs: int) -> None:
    engine = engine_of(LLAMA_3_8B, **keys)
    assert (engine.max_num_batched_tokens, engine.max_num_seqs) == (tokens, seqs)


@pytest.mark.parametrize("version", ["0.25.0", "0.33.0"])
def test_a_video_of_gemma_4_goes_into_one_batch(version: str) -> None:
    """engine/arg_utils.py _get_min_mm_batched_tokens raises the default; a smaller one is refused."""
    facts = shipped_facts("nvidia/Gemma-4-31B-IT-NVFP4")
    l40s = Candidate(gpu("L40S"), None, 1, 1, 1)
    default = engine_of(facts, "L40S", version=version, max_model_len=8192)
    assert default.max_num_batched_tokens == 2496
    assert check_engine_support(facts, l40s, default) is None
    asked = engine_of(facts, "L40S", version=version, max_num_batched_tokens=2048)
    refusal = check_engine_support(facts, l40s, asked)
    assert refusal
    assert "max_tokens_per_mm_item (2496) is larger than max_num_batched_tokens (2048)" in refusal.reason
    text = engine_of(facts, "L40S", version=version, max_model_len=8192, extra_args={"language-model-only": True})
    assert text.max_num_batched_tokens == 2048
    assert check_engine_support(facts, l40s, text) is None


@pytest.mark.parametrize(
    ("published", "model_type", "gpu", "asked", "resolved"),
    [
        ("bfloat16", "llama", "H100", "auto", "bfloat16"),
        ("float32", "llama", "H100", "auto", "bfloat16"),
        ("float32", "llama", "T4", "auto", "float16"),
        ("bfloat16", "llama", "T4", "auto", "float16"),
        ("bfloat16", "gemma2", "T4", "auto", "float32"),  # float16 is unstable there
        ("float16", "gemma2", "H100", "auto", "bfloat16"),
        ("float16", "llama", "H100", "auto", "float16"),
        ("bfloat16", "llama", "T4", "bfloat16", "bfloat16"),  # explicit: kept, and refused by a check
    ],
)
def test_dtype_auto(published: str, model_type: str, gpu: str, asked: str, resolved: str) -> None:
    facts = replace(LLAMA_3_8B, dtype=published, model_type=model_type)
    assert engine_of(facts, gpu, dtype=asked).dtype == resolved


@pytest.mark.parametrize(
    ("quantization", "resolved"),
    [
        (None, None),
        ({"quant_method": "fp8"}, None),
        (
            {"quant_method": "modelopt", "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}},
            "fp8_e4m3",
        ),
        ({"quant_method": "modelopt", "kv_cache_scheme": {"num_bits": 4, "type": "float"}}, "nvfp4"),
        ({"quant_method": "modelopt", "kv_cache_scheme": {"num_bits": 8, "type": "int"}}, None),
        (
            {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}},
            "fp8_e4m3",
        ),
        (
            {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": None}},
            None,
        ),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, None),
        # without quant_method vLLM reads none of it
        ({"quant_algo": "FP8", "kv_cache_scheme": "FP8", "producer": {"name": "modelopt"}}, None),
    ],
)
def test_checkpoints_name_their_kv_cache_dtype(quantization: dict[str, object] | None, resolved: str | None) -> None:
    assert checkpoint_kv_cache_dtype(quantization) == resolved
    engine = engine_of(replace(LLAMA_3_8B, quantization=quantization))
    assert engine.kv_cache_dtype == (resolved or "bfloat16")
    assert engine_of(replace(LLAMA_3_8B, quantization=quantization), kv_cache_dtype="fp8").kv_cache_dtype == "fp8"


@pytest.mark.parametrize(
    ("asked", "rules"),
    [
        ("0.33.0", (0, 33, 0)),
        ("0.34.2", (0, 33, 0)),
        ("0.32.9", (0, 25, 0)),
        ("0.25.1", (0, 25, 0)),
        ("0.6.4", (0, 25, 0)),
    ],
)
def test_rules_are_the_older_documented_versions(asked: str, rules: tuple[int, int, int]) -> None:
    assert rules_of(parse_version(asked)) == rules


def test_only_versions_before_the_oldest_documented_one_warn() -> None:
    assert list(version_warnings("0.25.0")) == []
    assert list(version_warnings("0.33.0")) == []
    (warning,) = version_warnings("0.11.2")
    assert warning.startswith("engine.version: ")
    assert "0.11.2" in warning
    assert "0.25.0" in warning


def test_unset_length_is_the_models_own() -> None:
    long_rope = replace(LLAMA_3_8B, default_max_model_len=4096)
    assert engine_of(LLAMA_3_8B).max_model_len == LLAMA_3_8B.max_model_len
    assert engine_of(long_rope).max_model_len == 4096
    assert engine_of(long_rope, max_model_len="auto").max_model_len == 4096
    assert engine_of(long_rope, max_model_len=9000).max_model_len == 9000


@pytest.mark.parametrize(("version", "longest"), [("0.25.0", 131072), ("0.32.0", 131072), ("0.33.0", 32768)])
def test_yarn_lengthens_a_config_until_0_33(version: str, longest: int) -> None:
    rope = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    config = {**LLAMA, "max_position_embeddings": 32768, "rope_scaling": rope}
    facts = make_facts(Checkpoint("acme/yarn", "path", config))
    assert engine_of(facts, version=version).max_model_len == longest
    (layout,) = stage_layouts(facts, gpu("H100"), engine_of(facts, version=version), 1, 1)
    assert layout.longest_model_len == longest
    candidate = Candidate(gpu("H100"), None, 1, 1, 1)
    assert check_max_model_len(facts, candidate, engine_of(facts, version=version, max_model_len=longest)) is None
    assert check_max_model_len(facts, candidate, engine_of(facts, version=version, max_model_len=longest + 1))


@pytest.mark.parametrize(
    ("version", "pp", "in_flight"),
    [("0.25.0", 1, 8192), ("0.26.0", 1, 16384), ("0.33.0", 1, 16384), ("0.33.0", 4, 40960)],
)
def test_batches_in_flight(version: str, pp: int, in_flight: int) -> None:
    assert engine_of(LLAMA_3_8B, version=version, pp=pp).max_in_flight_tokens == in_flight


def test_async_scheduling_adds_a_batch() -> None:
    engine = engine_of(LLAMA_3_8B, extra_args={"no-async-scheduling": True})
    assert engine.max_in_flight_tokens == 8192


@pytest.mark.parametrize(("version", "mode", "caching"), [("0.33.0", "align", True), ("0.25.0", "none", False)])
def test_hybrids_cache_prefixes_from_0_33(version: str, mode: str, caching: bool) -> None:
    engine = engine_of(QWEN3_NEXT, version=version)
    assert (engine.mamba_cache_mode, engine.enable_prefix_caching) == (mode, caching)
    off = engine_of(QWEN3_NEXT, version=version, enable_prefix_caching=False)
    assert (off.mamba_cache_mode, off.enable_prefix_caching) == ("none", False)


def test_classes_without_attention_or_with_an_encoder_cache_no_prefixes() -> None:
    """A hybrid that was cut to layers without attention is a hybrid."""
    states_only = facts_of([QWEN3_NEXT.layers[0].layer.caches[0]], 4)
    assert engine_of(states_only).mamba_cache_mode == "align"
    assert not engine_of(replace(states_only, attention_free=True)).enable_prefix_caching
    encoder_decoder = facts_of([FULL, replace(FULL, kind="cross")], 4)
    assert not engine_of(encoder_decoder).enable_prefix_caching


@pytest.mark.parametrize(
    ("repo", "most"),
    [
        ("Qwen/Qwen1.5-MoE-A2.7B-Chat", 60),
        ("Qwen/Qwen3-30B-A3B", 128),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", 128),
        ("MiniMaxAI/MiniMax-M2.5", 256),
        ("XiaomiMiMo/MiMo-V2-Flash", 256),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 512),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", None),
        ("zai-org/GLM-4.5-Air", None),
    ],
)
def test_classes_that_refuse_more_ranks_than_experts(repo: str, most: int | None) -> None:
    assert shipped_facts(repo).max_experts_tp == most


def test_flags_are_read_with_dashes_or_underscores() -> None:
    engine = engine_of(LLAMA_3_8B, extra_args={"block_size": 32, "language-model-only": True})
    assert engine.block_size == 32
    assert engine.language_model_only
    assert engine.flag("block-size") == 32


def test_a_batch_below_max_num_seqs_is_refused_in_vllms_words() -> None:
    engine = engine_of(LLAMA_3_8B, max_num_batched_tokens=128, max_num_seqs=256)
    refusal = check_engine_support(LLAMA_3_8B, Candidate(gpu("H100"), None, 1, 1, 1), engine)
    assert refusal is not None
    assert (refusal.code, refusal.needed, refusal.available) == ("engine_support", 256, 128)
    assert "max_num_batched_tokens (128) must be greater than or equal to max_num_seqs (256)" in refusal.reason
