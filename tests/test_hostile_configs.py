"""config.json from anywhere: a value of the wrong kind is a sentence that names its key, never a traceback."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import date
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from planner.errors import ModelError
from planner.make_plan import make_plan
from planner.model.architectures import make_facts
from planner.model.config_kinds import check_config
from planner.model.identity import Checkpoint
from planner.spec import parse_spec
from tests.checkpoints import LLAMA, QWEN3_MOE
from tests.made_facts import catalog
from tests.published import PUBLISHED
from tests.test_families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEC = parse_spec("name: x\nmodel: {repo: a/b}\ngpu: {types: [T4, H100], counts: [2]}\n", "a test")
NUMBER = count()


def checkpoint(config: dict[str, Any]) -> Checkpoint:
    return Checkpoint(repo=f"made/{next(NUMBER)}", source="path", config=config)


def plan(config: dict[str, Any]) -> None:
    make_plan(SPEC, checkpoint(config), catalog(), today=date(2026, 11, 1))


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(ModelError) as refused:
        make_facts(checkpoint(config))
    return str(refused.value)


WRONG_KINDS = [  # change, what the sentence says
    ({"num_hidden_layers": "32"}, 'num_hidden_layers: "32" is not a whole number from 0 to 10,000'),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers: 1000000000 is not a whole number from 0 to 10,000"),
    ({"hidden_size": 4096.0}, "hidden_size: 4096.0 is not a whole number"),
    ({"hidden_size": True}, "hidden_size: true is not a whole number"),
    ({"vocab_size": -1}, "vocab_size: -1 is not a whole number from 1"),
    ({"num_key_value_heads": 0}, "num_key_value_heads: 0 is not a whole number from 1"),
    ({"rope_scaling": [1]}, "rope_scaling: [1] is not a mapping"),
    ({"rope_scaling": {"rope_type": "linear", "factor": "4"}}, 'rope_scaling.factor: "4" is not a number above 0'),
    ({"rope_theta": float("nan")}, "rope_theta: NaN is not a number above 0"),
    ({"tie_word_embeddings": "yes"}, 'tie_word_embeddings: "yes" is not true or false'),
    ({"architectures": "LlamaForCausalLM"}, 'architectures: "LlamaForCausalLM" is not a list'),
    ({"architectures": [{}]}, "architectures: [{}] is not a list with a text in each place"),
    ({"text_config": 5}, "text_config: 5 is not a mapping"),
    ({"quantization_config": "fp8"}, 'quantization_config: "fp8" is not a mapping'),
    (
        {"quantization_config": {"quant_method": "awq", "bits": "four"}},
        'quantization_config.bits: "four" is not a whole number from 1 to 64',
    ),
    (
        {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128]}},
        "quantization_config.weight_block_size: [128] is not a list of two whole numbers",
    ),
    (
        {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"group_0": 5}}},
        "quantization_config.config_groups.group_0: 5 is not a mapping",
    ),
    (
        {"quantization_config": {"quant_method": "gptq", "modules_in_block_to_quantize": [["a"], 5]}},
        'modules_in_block_to_quantize: [["a"], 5] is not a list of texts, or of lists of them',
    ),
    ({"quantization_config": {"quant_method": "awq"}}, "its values do not go together (KeyError: 'group_size', in"),
    (
        {"quantization_config": {"quant_method": "compressed-tensors", "ignore": ["re:("]}},
        "quantization_config: '(' is to match names of modules and is no pattern",
    ),
    ({"hidden_size": 3}, "self_attn.qkv_proj would be 3 × 0 × 0 × 0"),
    (
        {"rope_scaling": {"rope_type": "longrope", "long_factor": [1.0] * 48}},
        "rope_scaling.long_factor has 48 numbers, and heads of this width have 32 frequencies",
    ),
    (
        {"rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 8]}},
        "rope_scaling.mrope_section [16, 24, 8] adds up to 48, and heads of this width have 32 frequencies",
    ),
    ({"num_hidden_layers": 0}, "the model would have no layer"),
    (
        {"num_attention_heads": 30, "num_key_value_heads": 6, "head_dim": 128, "hidden_size": 4096},
        "hidden_size (4096) is not a multiple of num_attention_heads (30)",
    ),
]


@pytest.mark.parametrize(("change", "said"), WRONG_KINDS, ids=[said[:40] for _, said in WRONG_KINDS])
def test_a_value_of_the_wrong_kind_is_named(change: dict[str, Any], said: str) -> None:
    message = refusal({**LLAMA, **change})
    assert said in message
    assert message.endswith(("Use the file of the published checkpoint.", "if this is it, please report it."))


def test_more_experts_per_token_than_experts_is_refused() -> None:
    assert "each token would go to 9 of 4 experts" in refusal({**QWEN3_MOE, "num_experts_per_tok": 9})


def test_a_model_that_sees_without_one_that_speaks_is_refused() -> None:
    config = {**FAMILIES["internvl35_38b"]["config"], "llm_config": None}
    assert "text_config / llm_config / language_config / thinker_config / decoder is missing" in refusal(config)


def test_a_file_that_is_no_config_is_told_in_one_sentence() -> None:
    nonsense = dict.fromkeys(("hidden_size", "vocab_size", "head_dim", "num_attention_heads", "max_seq_len"), "x")
    with pytest.raises(ModelError, match=r"; and 2 more\. Use the file"):
        check_config(nonsense, "config.json")


def test_null_is_not_stated_and_unread_keys_are_free() -> None:
    check_config({**LLAMA, "sliding_window": None, "auto_map": 7, "task": {"hidden_size": "x"}}, "config.json")


WEIRD: list[Any] = [None, True, 0, -1, 1, 3, 1.5, 10**30, "", "16", [], {}, [1], [None], ["x"], {"a": 1}, "DEL"]


def places(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a config."""
    for key, child in part.items() if isinstance(part, dict) else enumerate(part[:2]):
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from places(child, (*path, key))


def changed(config: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """``config`` with another value at ``place``; "DEL" takes it away."""
    config = deepcopy(config)
    part: Any = config
    for key in place[:-1]:
        part = part[key]
    if value == "DEL":
        del part[place[-1]]
    else:
        part[place[-1]] = value
    return config


def shipped() -> dict[str, dict[str, Any]]:
    """One shipped config of each class, and every made family and quantization."""
    found: dict[str, dict[str, Any]] = {}
    for repo in catalog().model_names():
        model = catalog().find_model(repo)
        assert model is not None
        found.setdefault(str(next(iter(model.config.get("architectures") or ()), repo)), dict(model.config))
    found |= {family: row["config"] for family, row in FAMILIES.items()}
    return found | {name: {**LLAMA, "quantization_config": published} for name, published in PUBLISHED.items()}


CONFIGS = shipped()


@pytest.mark.parametrize("name", CONFIGS)
def test_no_place_of_a_config_breaks_the_planner(name: str) -> None:
    for index, place in enumerate(places(CONFIGS[name])):
        config = changed(CONFIGS[name], place, WEIRD[index % len(WEIRD)])
        try:
            plan(config)
        except ModelError:
            continue
        except Exception as error:
            raise AssertionError(f"{name}: {place} = {json.dumps(WEIRD[index % len(WEIRD)])}") from error
