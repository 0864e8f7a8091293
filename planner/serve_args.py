"""The arguments of `vllm serve`: every setting the plan was made with is said aloud, none is left to a default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.candidates import Candidate
    from planner.engine import EngineConfig
    from planner.spec import Spec

Arg = tuple[str, ...]


def serve_args(spec: Spec, candidate: Candidate, engine: EngineConfig) -> tuple[Arg, ...]:
    """Flags after `vllm serve MODEL --served-model-name ..`, in order: parallelism, lengths, memory, formats, extra.

    Names as in vllm/engine/arg_utils.py (EngineArgs.add_cli_args) of 0.25.0 and 0.33.0.
    """
    args: list[Arg] = [
        ("--tensor-parallel-size", str(candidate.tensor_parallel_size)),
        ("--pipeline-parallel-size", str(candidate.pipeline_parallel_size)),
        ("--max-model-len", str(engine.max_model_len)),
        ("--max-num-seqs", str(engine.max_num_seqs)),
        ("--max-num-batched-tokens", str(engine.max_num_batched_tokens)),
        ("--gpu-memory-utilization", f"{engine.gpu_memory_utilization:g}"),
        ("--dtype", engine.dtype),
        ("--kv-cache-dtype", "fp8" if engine.kv_cache_dtype.startswith("fp8") else "auto"),
        ("--enable-prefix-caching",) if engine.enable_prefix_caching else ("--no-enable-prefix-caching",),
        ("--enforce-eager",) if engine.enforce_eager else ("--no-enforce-eager",),
    ]
    if engine.quantization:
        args.append(("--quantization", engine.quantization))
    if engine.enable_expert_parallel:
        args.append(("--enable-expert-parallel",))
    if engine.trust_remote_code:
        args.append(("--trust-remote-code",))
    if candidate.tensor_parallel_size > 1 and candidate.gpu.link == "pcie":
        args.append(("--disable-custom-all-reduce",))  # hangs over PCIe have been reported: vllm#8410, #14449
    extra = [flag_args(flag, value) for flag, value in spec.engine.extra_args.items()]
    named = {arg[0] for arg in extra}
    return (*(arg for arg in args if arg[0] not in named), *extra)


def flag_args(flag: str, value: Any) -> Arg:
    """One of the spec's extra_args: true is a bare flag, false its --no- form, a list gives several values."""
    if value is True:
        return (f"--{flag}",)
    if value is False:
        return (f"--no-{flag}",)
    if isinstance(value, list | tuple):
        return (f"--{flag}", *map(str, value))
    return (f"--{flag}", str(value))
