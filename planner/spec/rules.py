"""Rules that more than one key takes part in; each is asked only where its own keys were read without a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.spec.problems import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from planner.spec.schema import Spec

    Found = Iterator[tuple[str, str]]  # key, message

OLDEST_VERSION = (0, 1, 2)  # the first vLLM with tensor parallelism as planned here
MOST_GPUS = 8


def check_version(spec: Spec) -> Found:
    """No vLLM before 0.1.2."""
    if tuple(int(part) for part in spec.engine.version.split(".")) < OLDEST_VERSION:
        yield "engine.version", f'"{spec.engine.version}" is older than any vLLM planned here; type "0.1.2" or later'


def check_splits(spec: Spec) -> Found:
    """tensor x pipeline parallel = count, for one of the counts at least."""
    gpu = spec.gpu
    tp, pp = gpu.tensor_parallel_size, gpu.pipeline_parallel_size
    if tp is None and pp is None:
        return
    pinned = (tp or 1) * (pp or 1)
    key = "gpu.tensor_parallel_size" if tp is not None else "gpu.pipeline_parallel_size"
    if pinned > MOST_GPUS:
        yield key, f"{tp} × {pp} = {pinned} GPUs, and a container has at most {MOST_GPUS}; type smaller sizes"
    elif gpu.counts is not None:
        fixed = tp is not None and pp is not None
        if not any(count == pinned if fixed else count % pinned == 0 for count in gpu.counts):
            counts = ", ".join(map(str, gpu.counts))
            wanted = f"{tp} × {pp} = {pinned} GPUs" if fixed else f"needs a multiple of {pinned} GPUs"
            yield key, f"{wanted}, and gpu.counts has only {counts}; type counts: [{pinned}]"


def check_scaling(spec: Spec) -> Found:
    """min_containers <= max_containers."""
    scaling = spec.scaling
    if scaling.min_containers > scaling.max_containers:
        yield (
            "scaling.min_containers",
            f"{scaling.min_containers} is more than max_containers {scaling.max_containers}; "
            f"type max_containers: {scaling.min_containers} or more",
        )


def check_lengths(spec: Spec) -> Found:
    """The mean request fits the longest context."""
    workload, limit = spec.workload, spec.engine.max_model_len
    if workload is None or not isinstance(limit, int):
        return
    lengths = {"input_tokens": workload.input_tokens, "output_tokens": workload.output_tokens}
    written = {name: tokens for name, tokens in lengths.items() if tokens is not None}
    needed = sum(tokens or 1 for tokens in lengths.values())  # a length that is left out takes what is left
    if written and needed > limit:
        first, *others = written
        words = "".join(f" and {name} {written[name]}" for name in others) or " and one token of the other"
        yield (
            f"workload.{first}",
            f"{written[first]}{words} are {needed} tokens, more than engine.max_model_len {limit}; "
            f"type shorter lengths or max_model_len: {needed}",
        )


RULES: tuple[tuple[tuple[str, ...], Callable[[Spec], Found]], ...] = (
    (("engine.version",), check_version),
    (("gpu.tensor_parallel_size", "gpu.pipeline_parallel_size", "gpu.counts"), check_splits),
    (("scaling.min_containers", "scaling.max_containers"), check_scaling),
    (("workload.input_tokens", "workload.output_tokens", "engine.max_model_len"), check_lengths),
)


def unknown_gpus(types: tuple[str | None, ...], known: Collection[str]) -> Found:
    """GPU types that no row of the catalogue names."""
    for index, name in enumerate(types):
        if name is not None and name not in known:
            yield f"gpu.types[{index}]", _unknown_gpu(name, known)


def _unknown_gpu(name: str, known: Collection[str]) -> str:
    if near := did_you_mean(name, known):
        return f"unknown GPU {quoted(name)}, did you mean {near}?"
    return f"unknown GPU {quoted(name)}; type one of {', '.join(known)}"
