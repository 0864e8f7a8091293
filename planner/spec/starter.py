"""Starter: the commented spec that a person begins with."""

from __future__ import annotations

from planner.spec import advice

SCHEMA_FILE = "gpuplan.schema.json"

BARE = """\
name: {name}
model:
  repo: {repo}
# Assumed: the model's own context, every GPU in the catalogue, 1 to 8 of them, and
# workload: {{concurrency: 32, input_tokens: 512, output_tokens: 256}}
"""

STARTER = """\
# yaml-language-server: $schema={schema}
# Every key: docs/spec.md, or `gpuplan schema`. What is commented out stands for the default.
name: {name}
model:
  repo: {repo}
  # revision: main            # a branch, a tag or (best) a 40-hex commit
  # dtype: auto               # auto, bfloat16, float16 or float32
  # quantization: auto        # fp8: vLLM quantizes while it loads
engine:
  # version: "0.33.0"         # vLLM, in quotes
  max_model_len: {context:<12} # tokens of prompt and answer together; auto: the longest that fits
  # kv_cache_dtype: auto      # fp8: twice the tokens in the same memory
# gpu:
#   types: [A100-80GB, H100]  # left out: every GPU in the catalogue
#   counts: [1, 2, 4, 8]      # GPUs per container
workload:
  concurrency: {concurrency:<14} # requests in flight, steadily
  input_tokens: {input_tokens:<13} # mean per request
  output_tokens: {output_tokens}
# slo: {{ttft_ms: 2000, tpot_ms: 50}}
# budget: {{max_usd_per_hour: 10}}
# objective: usd_per_hour     # or usd_per_million_tokens, or latency
# secrets: {{huggingface: huggingface-secret}}   # names of secrets at the provider, never values
"""


def app_name(repo: str) -> str:
    """The name an app gets from its model: ``Qwen/Qwen3-8B`` -> ``qwen3-8b``."""
    return advice.slug(repo.rpartition("/")[2]) or "model"


def bare_spec(repo: str) -> str:
    """The spec that a model's name alone stands for; comments say what is assumed."""
    return BARE.format(name=app_name(repo), repo=repo)


def starter_spec(
    repo: str, *, name: str, context: str, concurrency: str, input_tokens: str, output_tokens: str, schema: str
) -> str:
    """A commented spec with the editor's line. The values are the caller's to check (``parse_spec`` of the text)."""
    return STARTER.format(
        schema=schema,
        name=name,
        repo=repo,
        context=context,
        concurrency=concurrency,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )
