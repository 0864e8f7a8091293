"""Reading config.json: nested text configs, published synonyms of a key, and words for what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    Config = Mapping[str, Any]

# Where multimodal checkpoints keep the language model's own config, in transformers' get_text_config order.
# outer configs whose class of transformers 5 is untied by default (tie_word_embeddings of Llama4Config and its like)
UNTIED_OUTSIDE = frozenset(
    (
        "aria",
        "glm46v",
        "glm4v",
        "glm4v_moe",
        "idefics3",
        "llama4",
        "llava",
        "llava_next",
        "llava_onevision",
        "qwen2_5_vl",
        "qwen2_vl",
        "qwen3_vl",
        "qwen3_vl_moe",
        "smolvlm",
    )
)
TIED_INSIDE = ("qwen3_5", "qwen3_5_moe")
TEXT_CONFIG_KEYS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")


def text_config(config: Config) -> dict[str, Any]:
    """The language model's config; keys that only the outer config has (dtype, tying) are kept."""
    for key in TEXT_CONFIG_KEYS:
        nested = config.get(key)
        if isinstance(nested, dict):
            inner = text_config(nested)
            outer = {name: config[name] for name in ("torch_dtype", "dtype", "quantization_config") if name in config}
            return {**outer, **inner}
    return dict(config)


def required(config: Config, *names: str) -> Any:
    """The first of ``names`` that is set; ModelError where none is."""
    for name in names:
        if config.get(name) is not None:
            return config[name]
    architecture = (config.get("architectures") or [config.get("model_type", "this model")])[0]
    raise ModelError(
        f"config.json of {architecture}: {' / '.join(names)} is missing. "
        "Without it neither weights nor KV cache can be counted. Use the config.json of the published checkpoint."
    )


def optional(config: Config, *names: str, default: Any = None) -> Any:
    """The first of ``names`` that is set and not null, else ``default`` (transformers' class default)."""
    for name in names:
        if config.get(name) is not None:
            return config[name]
    return default


def is_tied(config: Config, default: bool) -> bool:
    """tie_word_embeddings of the language model; ``default`` is transformers' class default.

    The outer config decides (vllm/config/vllm.py VllmConfig.with_hf_config). Where it is silent and its class says no,
    what text_config says is overridden. Qwen3.5 asks text_config first (models/qwen3_5.py).
    """
    text, model_type = text_config(config), config.get("model_type")
    if config.get("tie_word_embeddings") is None and text is not config and model_type in UNTIED_OUTSIDE:
        return False
    for holder in (text, config) if model_type in TIED_INSIDE else (config, text):
        if holder.get("tie_word_embeddings") is not None:
            return bool(holder["tie_word_embeddings"])
    return default


def checkpoint_dtype(config: Config) -> str:
    """The dtype the checkpoint states; float32 where nothing is stated and no tensor says otherwise."""
    return stated_dtype(config) or "float32"


def stated_dtype(config: Config) -> str | None:
    """The dtype that config.json names (model_arch_config_convertor.py get_torch_dtype)."""
    holders = (config, text_config(config), config.get("vision_config"), config.get("encoder_config"))
    for holder in holders:
        if isinstance(holder, dict):
            for name in ("dtype", "torch_dtype"):
                if isinstance(holder.get(name), str):
                    return str(holder[name]).removeprefix("torch.")
    return None
