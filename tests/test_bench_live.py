"""bench by the real guidellm against bad endpoints, and against a real vLLM with a toy model (pytest -m live).

guidellm and vLLM may be in environments of their own: both are looked for on PATH, too.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from planner.bench.load_generator import SENTENCE, Asked
from planner.bench.online import run_online
from planner.measure.engine import engine_python
from tests.command import gpuplan
from tests.endpoint import serve_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from planner.deployment.running import Progress

pytestmark = pytest.mark.live
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "torch_dtype": "float32",
}


def ignore(_: Progress) -> None:
    """Progress nobody watches."""


@pytest.mark.parametrize(("mood", "answered"), [("well", 8), ("cut", 0), ("error", 0), ("hang", 0)])
def test_failures_are_counted_and_nothing_hangs(mood: str, answered: int) -> None:
    with serve_endpoint(mood) as url:
        asked = Asked(url, "toy", 8, 10, 8, concurrency=(4,), request_timeout_s=3, load_timeout_s=20)
        started = time.monotonic()
        [point] = run_online(asked, {}, ignore)
    assert (point.requests, point.failed) == (answered, 8 - answered)
    assert bool(point.errors) == (mood != "well")
    assert time.monotonic() - started < 90


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A two-layer model with random weights on this machine's vLLM, CPU builds included."""
    folder: Path = tmp_path_factory.mktemp("toy")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    vocabulary = {word: index for index, word in enumerate(["<unk>", *dict.fromkeys(SENTENCE.split())])}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = f"--load-format dummy --dtype float32 --max-model-len 256 --max-num-seqs 4 --enforce-eager --port {port}"
    command = [engine_python(), "-m", "vllm.entrypoints.cli.main", "serve", str(folder), "--served-model-name", "toy"]
    small = {"VLLM_CPU_KVCACHE_SPACE": "1"}  # GiB; on CPU vLLM would take nine tenths of the machine's memory
    server = subprocess.Popen([*command, *words.split()], env={**os.environ, **small}, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(60)


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert server.poll() is None, "the engine ended"
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()  # noqa: S310 - loopback
        except (urllib.error.URLError, OSError):
            time.sleep(1)
        else:
            return
    raise AssertionError("the engine is not ready after 300 s")


def test_a_real_engine_with_a_toy_model(toy: str) -> None:
    done = gpuplan(
        "bench",
        toy,
        "--concurrency",
        "1,4",
        "--requests",
        "8",
        "--input-tokens",
        "20",
        "--output-tokens",
        "10",
        "--json",
    )
    assert done.code == 0, done.err
    one, four = json.loads(done.out)["points"]
    assert (one["requests"], four["requests"], one["failed"], four["failed"]) == (8, 8, 0, 0)
    assert one["output_tokens"] == 10
    assert one["ttft_ms"]["p50"] > 0
    assert min(one["output_tokens_per_second"], four["output_tokens_per_second"]) > 0
