"""Models, GPUs and engines made by hand: shapes of real ones where a figure is compared, small ones elsewhere."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.catalog import load_catalog
from planner.engine import resolve_engine
from planner.model.facts import Cache, Layer, LayerRun, ModelFacts, StateTensor
from planner.spec.schema import EngineSpec, ModelSpec, Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.catalog import Gpu
    from planner.engine import EngineConfig

LONGEST = 131072
GIB = 2**30


@cache
def gpu(name: str) -> Gpu:
    return load_catalog().gpus[name]


def facts_of(pattern: Sequence[Cache | None], repeats: int = 1, **changes: Any) -> ModelFacts:
    """Layers that keep the caches of ``pattern``, ``repeats`` times over; only what the KV cache depends on is real."""
    runs = tuple(LayerRun(Layer((), (kept,) if kept else ()), 1) for kept in pattern) * repeats
    made = ModelFacts(
        architecture="HandMadeForCausalLM",
        model_type="hand_made",
        dtype="bfloat16",
        hidden_size=4096,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=14336,
        vocab_size=128256,
        max_model_len=LONGEST,
        layers=runs,
        embedding=(),
        lm_head=(),
    )
    return replace(made, **changes)


FULL = Cache("full", num_kv_heads=8, head_size=128)
WINDOW = Cache("sliding_window", num_kv_heads=8, head_size=128, window_tokens=1024)
CHUNK = Cache("chunked_local", num_kv_heads=8, head_size=128, window_tokens=8192)
LATENT = Cache("mla", num_kv_heads=1, head_size=576, qk_nope_head_dim=128, qk_rope_head_dim=64)
SPARSE = replace(LATENT, sparse=True, extra_bytes_per_token=132)

LLAMA_3_8B = facts_of([FULL], 32)
DEEPSEEK_V3 = facts_of([LATENT], 61, num_attention_heads=128, is_mla=True)
GPT_OSS_120B = facts_of(
    [replace(WINDOW, head_size=64, window_tokens=128, sinks=True), replace(FULL, head_size=64, sinks=True)],
    18,
    num_attention_heads=64,
    head_dim=64,
)


def gated_delta_net(key_heads: int, value_heads: int, ssm_dtype: str | None = None) -> Cache:
    """The states of one gated-delta-net layer with heads of 128 and a convolution over four tokens."""
    width = 128 * (2 * key_heads + value_heads)
    return Cache(
        "mamba",
        head_size=128,
        mamba_type="gdn",
        checkpoint_blocks=True,
        states=(
            StateTensor((3, width), 1, role="conv"),
            StateTensor((value_heads, 128, 128), 0, dtype=ssm_dtype),
        ),
    )


QWEN_ATTENTION = Cache("full", num_kv_heads=2, head_size=256)
QWEN3_NEXT = facts_of([*[gated_delta_net(16, 32)] * 3, QWEN_ATTENTION], 12, max_model_len=262144)
QWEN3_6_35B = facts_of([*[gated_delta_net(16, 32, "float32")] * 3, QWEN_ATTENTION], 10, max_model_len=262144)


def engine_of(
    facts: ModelFacts, gpu_name: str = "H100", tp: int = 1, pp: int = 1, version: str = "0.33.0", **keys: Any
) -> EngineConfig:
    """The engine resolved for a spec with these engine keys (dtype belongs to the model)."""
    model = ModelSpec(repo="hand/made", dtype=keys.pop("dtype", "auto"))
    spec = Spec(name="hand-made", model=model, engine=EngineSpec(version=version, **keys))
    return resolve_engine(spec, facts, gpu(gpu_name), tp, pp)
