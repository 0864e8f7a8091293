"""Plans made by hand from a spec, for tests of what happens to a plan afterwards."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.catalog import load_catalog
from planner.cli.planning import Planned
from planner.engine import EngineConfig
from planner.model.architectures import make_facts
from planner.model.identity import Checkpoint
from planner.plan import Plan
from planner.spec import parse_spec
from planner.workload import Workload
from tests.options import make_option
from tests.releases import COMMIT, OTHER_COMMIT

if TYPE_CHECKING:
    from planner.spec import Spec

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 256,
    "max_position_embeddings": 4096,
    "torch_dtype": "float16",
}
SPEC_70B = """\
name: llama
model: {repo: meta-llama/Llama-2-70b-chat-hf}
engine: {max_model_len: 4096}
gpu: {types: [A100-80GB], counts: [2]}
secrets: {huggingface: huggingface-secret, api_key: vllm-api-key}
"""
SPEC_7B = """\
name: llama
model: {repo: meta-llama/Llama-2-7b-chat-hf}
engine: {max_model_len: 4096}
gpu: {types: [L40S], counts: [1]}
secrets: {huggingface: huggingface-secret, api_key: vllm-api-key}
"""
COMMITS = {"meta-llama/Llama-2-70b-chat-hf": COMMIT, "meta-llama/Llama-2-7b-chat-hf": OTHER_COMMIT}
USD_PER_HOUR = {"A100-80GB": "2.72", "L40S": "2.20"}


def hand_plan(text: str, **checkpoint: Any) -> Plan:
    """The plan of a spec's first GPU type and count, with made-up figures."""
    return plan_of(parse_spec(text, "a test"), **checkpoint)


def plan_of(spec: Spec, **checkpoint: Any) -> Plan:
    """One option: the first type and count that the spec allows, tensor parallel over all of them."""
    gpu = (spec.gpu.types or ("A100-80GB",))[0]
    count = (spec.gpu.counts or (1,))[0]
    option = make_option(gpu, count, str(float(USD_PER_HOUR.get(gpu, "1.00")) * count))
    length = spec.engine.max_model_len if isinstance(spec.engine.max_model_len, int) else 4096
    engine = EngineConfig(
        (0, 33, 0),
        (0, 33, 0),
        "float16",
        length,
        spec.engine.max_num_seqs or 256,
        8192,
        "float16",
        enforce_eager=spec.engine.enforce_eager,
        extra_args=spec.engine.extra_args,
    )
    known = Checkpoint(
        repo=spec.model.repo,
        source="catalogue",
        config=CONFIG,
        revision=COMMITS.get(spec.model.repo),
        checkpoint_bytes=1_000_000_000,
    )
    found = replace(known, **checkpoint)
    return Plan(
        spec=spec,
        checkpoint=found,
        facts=make_facts(found),
        workload=Workload(),
        parameters=1_000_000,
        options=(replace(option, engine=engine),),
        rejections=(),
        warnings=(),
        prices_as_of=date(2026, 10, 8),
    )


def plan_by_hand(spec: Spec, source: str, **_: Any) -> Planned:
    """Stands in for planner.cli.planning._plan."""
    return Planned(spec, plan_of(spec), load_catalog(None, spec.target), (), datetime.now(UTC).date())
