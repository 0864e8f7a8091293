"""The language model inside a vision-language one, where its class is whatever text_config says.

vllm/model_executor/models/utils.py init_vllm_registered_model: the text config's own architectures, else the class
that transformers registers for its model_type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.errors import UnknownArchitectureError
from planner.model.architectures import ARCHITECTURES, family_of
from planner.model.architectures.reading import TEXT_CONFIG_KEYS, required, text_config
from planner.model.context import derived_max_model_len

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

# transformers' MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, of the texts that such checkpoints carry
CAUSAL_CLASSES = {
    "cohere2": "Cohere2ForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "internlm2": "InternLM2ForCausalLM",
    "llama": "LlamaForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}
# transformers' config classes, where a text_config leaves the key out
QWEN = {
    "vocab_size": 151_936,
    "hidden_size": 4096,
    "intermediate_size": 22_016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32_768,
}
DEFAULTS: dict[str, Mapping[str, Any]] = {
    "llama": {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    },
    "mistral": {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
    "qwen2": QWEN,
    "qwen3": {**QWEN, "head_dim": 128},
}


def beside(config: Config, tower: Modules, *prefixes: tuple[str, str]) -> ModelFacts:
    """The language model of ``text_config`` or ``llm_config``, under ``language_model``, beside a tower.

    Raises UnknownArchitectureError where the language model's class is not one of ARCHITECTURES.
    """
    text = nested_text(config)
    facts = family_of(_class_of(text))({**config, "text_config": text})
    return replace(
        facts,
        tower=tower,
        is_multimodal=True,
        layers_prefix=f"language_model.{facts.layers_prefix}",
        name_prefixes=prefixes,
        max_model_len=facts.max_model_len or derived_max_model_len(text),
    )


def nested_text(config: Config) -> dict[str, Any]:
    """The language model's config, whole; UnknownArchitectureError where its class is not one of ARCHITECTURES."""
    required(config, *TEXT_CONFIG_KEYS)  # without it the outer class would be taken for its own language model
    text = text_config(config)
    name = _class_of(text)
    if name not in ARCHITECTURES:
        raise UnknownArchitectureError(_unknown(config, name, text))
    return {**DEFAULTS.get(str(text.get("model_type")), {}), **text}


def _class_of(text: Config) -> str:
    named = next(iter(text.get("architectures") or ()), None)
    return str(named or CAUSAL_CLASSES.get(str(text.get("model_type")), ""))


def _unknown(config: Config, name: str, text: Config) -> str:
    outer = next(iter(config.get("architectures") or ()), "?")
    inner = name or f"of model_type {text.get('model_type')}"
    return (
        f"{outer}: its language model {inner} is not known. Neither its weights nor its KV cache can be counted, and a "
        f"guess would be worth nothing. To add it, write a function in planner/model/architectures/ and name it in "
        f"ARCHITECTURES, or its model_type in planner/model/architectures/nested.py."
    )
