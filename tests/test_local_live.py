"""The local target with vLLM itself, on CPU: deploy, ready, verified, one streamed completion, benched, stopped.

pytest -m live tests/test_local_live.py       with a `vllm` for CPU (0.32.0 was used) and `guidellm` on the PATH
"""

from __future__ import annotations

import http.client
import json
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.command import gpuplan
from tests.toy_model import write_toy_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.live
SPEC = """\
name: toy
model: {{repo: org/toy, path: toy, dtype: float32}}
engine:
  version: "{version}"
  max_model_len: 256
  max_num_seqs: 4
  enforce_eager: true
  extra_args: {{load-format: dummy}}
gpu: {{types: [L4], counts: [1]}}
secrets: {{api_key: vllm-api-key}}
target: local
"""
KEY = "sk-live-test"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    write_toy_model(tmp_path / "toy")
    path = tmp_path / "toy.yaml"
    path.write_text(SPEC.format(version=os.environ.get("VLLM_VERSION_ON_PATH", "0.32.0")))
    yield path
    gpuplan("stop", path, "--yes")


def test_a_toy_model_is_served_for_real(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = gpuplan("deploy", spec, "--yes", "--json", "--timeout", "600", "--offline")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["verified"]
    assert {proof["what"] for proof in said["proofs"]} == {"model", "weights", "max_model_len", "engine", "completion"}
    url = said["running"]["url"]
    assert streamed_completion(url, {}) == (401, 0)
    status, pieces = streamed_completion(url, {"Authorization": f"Bearer {KEY}"})
    assert status == 200
    assert pieces >= 4
    assert "healthy" in gpuplan("status", spec).out
    loads = ("--concurrency", "1,2", "--requests", "4", "--input-tokens", "32", "--output-tokens", "8")
    benched = gpuplan("bench", url, *loads, "--json")
    assert benched.code == 0, benched.err
    points = json.loads(benched.out)["points"]
    assert [(point["requests"], point["failed"]) for point in points] == [(4, 0), (4, 0)]
    assert all(point["output_tokens_per_second"] > 0 and point["ttft_ms"]["p50"] > 0 for point in points)
    monkeypatch.setenv("VLLM_API_KEY", "sk-wrong")
    refused = gpuplan("bench", url, *loads)
    assert (refused.code, "the key was refused (HTTP 401)" in refused.err) == (7, True)
    stopped = gpuplan("stop", spec, "--yes")
    assert stopped.code == 0, stopped.err
    with pytest.raises(OSError, match="refused"):
        streamed_completion(url, {})


def streamed_completion(url: str, headers: dict[str, str]) -> tuple[int, int]:
    """Status and number of streamed pieces of one completion of 8 tokens."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    body = {"model": "org/toy", "prompt": "Hello", "max_tokens": 8, "stream": True, "ignore_eos": True}
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        lines = answer.read().decode().splitlines()
        return answer.status, sum(line.startswith("data: {") for line in lines)
    finally:
        connection.close()
