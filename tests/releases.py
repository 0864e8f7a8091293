"""Hand-made releases for tests of rendering, launching and proving."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.release import Release

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "e9149a12809580e8602995856f8098ce973d1080"
OTHER_COMMIT = "c1b0db933684edbfe29a06fa47eb19cc48025e93"
GIB = 2**30
LLAMA_70B = Release(
    name="llama",
    target="modal",
    environment=None,
    region=None,
    repo="meta-llama/Llama-2-70b-chat-hf",
    asked_revision="main",
    revision=COMMIT,
    weights_bytes=137_953_325_056,
    startup_timeout_s=1520,
    engine_version="0.33.0",
    engine_args=(
        ("--tensor-parallel-size", "2"),
        ("--max-model-len", "4096"),
        ("--gpu-memory-utilization", "0.92"),
        ("--enable-prefix-caching",),
    ),
    max_model_len=4096,
    gpu="A100-80GB",
    gpu_count=2,
    tensor_parallel_size=2,
    pipeline_parallel_size=1,
    cpu_cores=4.0,
    memory_gib=32.0,
    min_containers=0,
    max_containers=1,
    scaledown_window_s=300,
    target_concurrency=59,
    max_concurrency=512,
    secret_huggingface="huggingface-secret",
    secret_api_key="vllm-api-key",
    secret_wandb=None,
    usd_per_hour="5.4440",
    prices_as_of="2026-10-08",
    spec_path="specs/70b.yaml",
    spec_sha256="ab" * 32,
    total_bytes=79 * GIB,
    model_loading_bytes=64 * GIB,
    available_kv_bytes=7 * GIB,
)
LLAMA_7B = replace(
    LLAMA_70B,
    repo="meta-llama/Llama-2-7b-chat-hf",
    revision=OTHER_COMMIT,
    weights_bytes=13_476_850_112,
    gpu="L40S",
    gpu_count=1,
    tensor_parallel_size=1,
    engine_args=(("--tensor-parallel-size", "1"), ("--max-model-len", "4096")),
    usd_per_hour="2.2000",
    spec_path="specs/7b.yaml",
)


def git_blob_id(content: bytes) -> str:
    """As git and the hub name a small file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def put_snapshot(weights: Path, release: Release, **behaviour: Any) -> Path:
    """A checked snapshot as the download function leaves it; ``behaviour`` is for the stand-in engine."""
    folder = weights / f"{release.repo}@{release.revision}"
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps({"_name_or_path": release.repo}).encode()
    (folder / "config.json").write_bytes(config)
    files = {"config.json": {"bytes": len(config), "hash": git_blob_id(config)}}
    record = {"repo": release.repo, "revision": release.revision, "files": files}
    (folder / "gpuplan-snapshot.json").write_text(json.dumps(record))
    (folder / "vllm-stand-in.json").write_text(json.dumps(behaviour))
    return folder
