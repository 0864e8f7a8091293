"""The engine as it will run: vLLM's version and settings, resolved for one model on one GPU.

Follows vllm/engine/arg_utils.py (get_batch_defaults and the _set_default_* functions, API-server context) and
vllm/config of the documented versions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from planner.engine_dtypes import layers_alone_name_it, resolve_dtype, resolve_kv_cache_dtype
from planner.engine_flags import flag_value, gib_flag, number_flag, switched
from planner.memory.cache_layers import cache_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from planner.catalog import Gpu
    from planner.model.facts import ModelFacts
    from planner.spec import Spec

Version = tuple[int, int, int]

V0_25: Version = (0, 25, 0)
V0_26: Version = (0, 26, 0)
V0_33: Version = (0, 33, 0)
DOCUMENTED = (V0_25, V0_33)  # versions whose rules were read in source; between two, the older one's apply

GIB = 2**30
LARGEST_TIER_BYTES = 160 * GIB  # get_batch_defaults: B200 and larger; from 0.33.0
BLACKWELL_FAMILY = 10  # compute capability 10.x: B200, B300
LARGE_TIER_BYTES = 70 * GIB  # get_batch_defaults: H100, H200; not A100, whatever its size


class EngineConfig(Struct, frozen=True):
    """Settings after vLLM's own defaults for the GPU have been applied. Lengths in tokens."""

    version: Version  # as asked, e.g. (0, 33, 0)
    rules: Version  # the documented version whose rules apply
    dtype: str  # "bfloat16", "float16", "float32"
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_dtype: str  # "auto" resolved: the model dtype's name, or a quantized one such as "fp8", "fp8_e4m3"
    gpu_memory_utilization: float = 0.92
    enforce_eager: bool = False
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = True
    enable_expert_parallel: bool = False
    quantization: str | None = None  # at load: "fp8"; None: as the checkpoint is
    language_model_only: bool = False
    trust_remote_code: bool = False
    flashinfer: bool = True  # the image carries FlashInfer (wheels and cubins)
    extra_args: Mapping[str, Any] = field(default_factory=dict)
    asked_dtype: str = "auto"  # as the spec has it; an explicit one is never replaced
    layers_name_kv_dtype: bool = False  # kv_cache_dtype is the layers' own choice, vLLM's cache_dtype stayed "auto"
    block_size: int | None = None  # --block-size; None: the attention backend's choice
    mamba_cache_mode: str = "none"  # "align", "all": how states are kept for prefix caching
    max_concurrent_batches: int = 1  # batches in flight: pipeline stages, and one more under async scheduling
    kv_cache_memory_bytes: int | None = None  # --kv-cache-memory-bytes: in place of what profiling leaves
    num_gpu_blocks_override: int | None = None  # --num-gpu-blocks-override: in place of what those bytes hold
    cpu_offload_bytes: int = 0  # --cpu-offload-gb: parameters of the layers that move to CPU memory
    decode_context_parallel_size: int = 1  # ranks of a TP group that share a sequence's KV cache
    most_captured_seqs: int | None = None  # --max-cudagraph-capture-size

    @property
    def max_in_flight_tokens(self) -> int:
        """Tokens scheduled but not yet settled, whose blocks a sliding window still holds.

        vllm/config/vllm.py max_in_flight_tokens, from 0.26.0; 0.25.0 counts one batch.
        """
        batches = self.max_concurrent_batches if self.version >= V0_26 else 1
        return batches * self.max_num_batched_tokens

    def flag(self, name: str) -> Any:
        """A flag of extra_args by its name with dashes, however it is written there; None where it is absent."""
        return flag_value(self.extra_args, name) if self.extra_args else None


def resolve_engine(spec: Spec, facts: ModelFacts, gpu: Gpu, tp: int, pp: int) -> EngineConfig:  # noqa: ARG001 - tp is part of the fixed signature; no default of these versions depends on it
    """The settings vLLM runs with: the spec's where it has them, else vLLM's for this model and GPU."""
    asked = spec.engine
    version = parse_version(asked.version)
    rules = rules_of(version)
    dtype = resolve_dtype(spec.model.dtype, facts, gpu)
    max_model_len = asked.max_model_len if isinstance(asked.max_model_len, int) else unset_max_model_len(facts, rules)
    flags = asked.extra_args
    chunked_prefill = switched(flags, "enable-chunked-prefill", default=True)
    text_only = switched(flags, "language-model-only", default=False)
    max_num_batched_tokens, max_num_seqs = batch_limits(
        rules,
        gpu,
        max_model_len,
        asked.max_num_batched_tokens,
        asked.max_num_seqs,
        chunked_prefill=chunked_prefill,
        item_tokens=0 if text_only else facts.mm_item_tokens,
    )
    prefix_caching = uses_prefix_caching(asked.enable_prefix_caching, facts, rules)
    return EngineConfig(
        version=version,
        rules=rules,
        dtype=dtype,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        kv_cache_dtype=resolve_kv_cache_dtype(asked.kv_cache_dtype, dtype, facts, _on_blackwell(facts, gpu, rules)),
        gpu_memory_utilization=asked.gpu_memory_utilization,
        enforce_eager=asked.enforce_eager,
        enable_chunked_prefill=chunked_prefill,
        enable_prefix_caching=prefix_caching,
        enable_expert_parallel=asked.enable_expert_parallel,
        quantization=None if spec.model.quantization == "auto" else spec.model.quantization,
        language_model_only=text_only,
        trust_remote_code=spec.model.trust_remote_code,
        extra_args=flags,
        asked_dtype=spec.model.dtype,
        layers_name_kv_dtype=layers_alone_name_it(asked.kv_cache_dtype, facts),
        block_size=number_flag(flags, "block-size"),
        mamba_cache_mode=mamba_cache_mode(facts, rules, prefix_caching),
        max_concurrent_batches=batches_in_flight(flags, pp),
        kv_cache_memory_bytes=number_flag(flags, "kv-cache-memory-bytes"),
        num_gpu_blocks_override=number_flag(flags, "num-gpu-blocks-override"),
        cpu_offload_bytes=gib_flag(flags, "cpu-offload-gb"),
        decode_context_parallel_size=number_flag(flags, "decode-context-parallel-size") or 1,
        most_captured_seqs=number_flag(flags, "max-cudagraph-capture-size"),
    )


def in_stages(engine: EngineConfig, pp: int) -> EngineConfig:
    """The same engine in ``pp`` pipeline stages: nothing else of it depends on their number."""
    return replace(engine, max_concurrent_batches=batches_in_flight(engine.extra_args, pp))


def batches_in_flight(flags: Mapping[str, Any], pp: int) -> int:
    """One per pipeline stage, and one more under async scheduling (config/vllm.py max_concurrent_batches)."""
    return pp + 1 if switched(flags, "async-scheduling", default=True) else pp


@lru_cache(maxsize=64)
def parse_version(text: str) -> Version:
    """ "0.33.0" -> (0, 33, 0). The spec has checked the form."""
    major, minor, patch = (int(part) for part in text.split("."))
    return (major, minor, patch)


@lru_cache(maxsize=64)
def rules_of(version: Version) -> Version:
    """The newest documented version that is not newer than ``version``; the oldest where all are newer."""
    return max((known for known in DOCUMENTED if known <= version), default=DOCUMENTED[0])


def version_warnings(version: str) -> Iterator[str]:
    """What a person should know about the rules a plan for this version follows."""
    asked = parse_version(version)
    if asked < DOCUMENTED[0]:
        oldest = ".".join(map(str, DOCUMENTED[0]))
        yield (
            f"engine.version: memory and validity rules are documented from {oldest} on; {version} is planned "
            f'with those of {oldest}. Type engine.version: "{oldest}" or later for rules of its own.'
        )
    if asked > DOCUMENTED[-1]:
        newest = ".".join(map(str, DOCUMENTED[-1]))
        yield (
            f"engine.version: {version} is newer than the newest vLLM whose rules are known here, and is planned with "
            f'those of {newest}. Type engine.version: "{newest}", or `gpuplan measure` it.'
        )


def unset_max_model_len(facts: ModelFacts, rules: Version) -> int:
    """What vLLM takes when max_model_len is left out or auto (config/model.py _get_and_verify_max_len)."""
    if rules < V0_33 and facts.max_model_len_before_0_33:
        return facts.max_model_len_before_0_33
    return facts.default_max_model_len or facts.max_model_len


def model_limit(facts: ModelFacts, rules: Version) -> int:
    """The longest max_model_len that this version accepts for the model, in tokens."""
    before = facts.max_model_len_before_0_33 if rules < V0_33 else None
    return before or facts.max_model_len


def batch_limits(
    rules: Version,
    gpu: Gpu,
    max_model_len: int,
    asked_tokens: int | None,
    asked_seqs: int | None,
    *,
    chunked_prefill: bool = True,
    item_tokens: int = 0,
) -> tuple[int, int]:
    """max_num_batched_tokens and max_num_seqs (_set_default_max_num_seqs_and_batched_tokens_args)."""
    default_tokens, default_seqs = batch_defaults(rules, gpu)
    if not chunked_prefill:  # the longest prompt must go into one step
        default_tokens = max(max_model_len, default_tokens)
    default_tokens = max(item_tokens, default_tokens)
    seqs = asked_seqs or default_seqs
    tokens = asked_tokens or min(seqs * max_model_len, default_tokens)
    return tokens, asked_seqs or min(seqs, tokens)


def batch_defaults(rules: Version, gpu: Gpu) -> tuple[int, int]:
    """max_num_batched_tokens and max_num_seqs by GPU, for a server (get_batch_defaults)."""
    if rules >= V0_33 and gpu.total_bytes >= LARGEST_TIER_BYTES:
        return 16384, 1024
    if gpu.total_bytes >= LARGE_TIER_BYTES and "a100" not in gpu.device_name.lower():
        return 8192, 1024
    return 2048, 256


def uses_prefix_caching(asked: bool | None, facts: ModelFacts, rules: Version) -> bool:
    """As asked, else vLLM's default for the kind of model (config/model.py is_prefix_caching_supported).

    By default off for classes without attention; for hybrids, whatever their layers, on from 0.33.0; never on for
    encoder-decoders.
    """
    kinds = cache_kinds(facts)
    if "cross" in kinds:
        return False
    if asked is not None:
        return asked
    if facts.attention_free:
        return False
    return rules >= V0_33 or "mamba" not in kinds


def mamba_cache_mode(facts: ModelFacts, rules: Version, prefix_caching: bool) -> str:
    """How Mamba states are kept for reuse (models/config.py MambaModelConfig)."""
    if not prefix_caching or "mamba" not in cache_kinds(facts):
        return "none"
    return "all" if rules < V0_33 and facts.mamba_prefix_caching else "align"


def _on_blackwell(facts: ModelFacts, gpu: Gpu, rules: Version) -> str | None:
    is_datacenter = gpu.compute_capability // 10 == BLACKWELL_FAMILY
    return facts.blackwell_kv_cache_dtype if rules >= V0_33 and is_datacenter else None
