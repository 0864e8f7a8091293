"""Vision-language models: the text layers of a known family beside a tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures import dense, llama_kin, mla, moe
from planner.model.architectures.blocks import replicated
from planner.model.architectures.nested import beside
from planner.model.architectures.reading import required, text_config
from planner.model.architectures.rope import MROPE_POSITIONS_FACTOR
from planner.model.architectures.towers import (
    gemma3_tower,
    glm4v_tower,
    moonvit_tower,
    qwen2_5_vl_tower,
    qwen2_vl_tower,
    qwen3_vl_tower,
)
from planner.model.facts import Linear, Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

HYPERCLOVAX_PREFIXES = (("model.vision_model.", "visual."), ("vision_model.", "visual."), ("model.", ""))
LANGUAGE_PREFIX = "language_model.model.layers"
# transformers' Gemma3TextConfig, where a checkpoint's text_config leaves the key out
GEMMA3_TEXT = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 262_208,
    "max_position_embeddings": 131_072,
    "rope_theta": 1_000_000.0,
    "model_type": "gemma3_text",
}


def with_tower(facts: ModelFacts, tower: Modules, *prefixes: tuple[str, str]) -> ModelFacts:
    """The text model under vLLM's names for it, and what stands beside it."""
    return replace(facts, tower=tower, is_multimodal=True, layers_prefix=LANGUAGE_PREFIX, name_prefixes=prefixes)


def qwen2_vl(config: Config) -> ModelFacts:
    """Qwen2 with three-dimensional positions."""
    return with_tower(dense.qwen2(config), qwen2_vl_tower(config), *QWEN2_PREFIXES)


def qwen2_5_vl(config: Config) -> ModelFacts:
    """The same text; a tower with windows."""
    return with_tower(dense.qwen2(config), qwen2_5_vl_tower(config), *QWEN2_PREFIXES)


def opencua(config: Config) -> ModelFacts:
    """Qwen2.5-VL whose config class is Python code of the repository."""
    return replace(qwen2_5_vl(config), needs_trust_remote_code=True)


def hyperclovax_vision(config: Config) -> ModelFacts:
    """HyperCLOVA X SEED's second: Qwen2.5-VL's tower and one more layer of plain torch before any language model."""
    out, size = required(config["vision_config"], "out_hidden_size"), required(config["text_config"], "hidden_size")
    projector = replicated("mm_projector", out, size, bias=True, quantizable=False)
    tower = (*qwen2_5_vl_tower(config), projector)
    return replace(beside(config, tower, *HYPERCLOVAX_PREFIXES), needs_trust_remote_code=True)


def exaone4_5(config: Config) -> ModelFacts:
    """EXAONE 4's text behind Qwen2.5-VL's tower with fewer KV heads."""
    text = {**config["text_config"], "model_type": "exaone4"}
    return with_tower(llama_kin.exaone4({**config, "text_config": text}), qwen2_5_vl_tower(config), *QWEN2_PREFIXES)


def qwen3_vl(config: Config) -> ModelFacts:
    """Qwen3 text; features of several depths of the tower join its first layers."""
    return with_deepstack(
        config, with_tower(dense.qwen3(without_mrope(config)), qwen3_vl_tower(config), *QWEN_PREFIXES)
    )


def qwen3_vl_moe(config: Config) -> ModelFacts:
    """Qwen3 text with experts."""
    return with_deepstack(
        config, with_tower(moe.qwen3_moe(without_mrope(config)), qwen3_vl_tower(config), *QWEN_PREFIXES)
    )


def without_mrope(config: Config) -> Config:
    """Qwen3-VL's rope cache has one row per position (qwen3_vl.py mrope_positions_factor), not Qwen2-VL's four."""
    text = dict(config["text_config"])
    for key in ("rope_scaling", "rope_parameters"):
        if isinstance(text.get(key), dict):
            text[key] = {name: value for name, value in text[key].items() if name != "mrope_section"}
    return {**config, "text_config": text}


def with_deepstack(config: Config, facts: ModelFacts) -> ModelFacts:
    """One buffer of hidden states for each depth whose features join the text; before 0.33.0 a longer rope too."""
    layers = tuple(
        replace(run, layer=replace(run.layer, modules=_longer_rope(run.layer.modules))) for run in facts.layers
    )
    levels = len(config["vision_config"].get("deepstack_visual_indexes") or ())
    return replace(facts, layers=layers, deepstack_levels=levels)


def _longer_rope(modules: Modules) -> Modules:
    """Versions before 0.33.0 keep MROPE_POSITIONS_FACTOR rows per position here too (mrope.py MRotaryEmbedding)."""
    return tuple(
        replace(module, shape_before_0_33=(module.shape[0] * MROPE_POSITIONS_FACTOR, *module.shape[1:]))
        if isinstance(module, Parameter) and str(module.shared_key).startswith("rope:")
        else module
        for module in modules
    )


def glm4v(config: Config) -> ModelFacts:
    """GLM-4.1V: GLM-4's text with three-dimensional positions."""
    return with_tower(dense.glm4(config), glm4v_tower(config), *QWEN_PREFIXES)


def glm4v_moe(config: Config) -> ModelFacts:
    """GLM-4.5V: the text of GLM-4.5-Air."""
    return with_tower(moe.glm4_moe(config), glm4v_tower(config), *QWEN_PREFIXES)


def gemma3(config: Config) -> ModelFacts:
    """Gemma 3 text; what its text_config leaves out is transformers' default, never zero."""
    full = {**config, "text_config": {**GEMMA3_TEXT, **config["text_config"]}}
    facts = with_tower(dense.gemma3(full), gemma3_tower(full), ("model.language_model.", "language_model.model."))
    text = text_config(full)
    # already scaled by its rope factor, which vLLM does not apply to Gemma 3 again
    longest = int(text["max_position_embeddings"])
    return replace(facts, model_type=str(text["model_type"]), mm_prefix=True, max_model_len=longest)


def kimi_k25(config: Config) -> ModelFacts:
    """DeepSeek's text beside MoonViT, which never takes the text's format (_maybe_ignore_quant_config)."""
    tower = tuple(
        replace(module, quantizable=False) if isinstance(module, Linear) else module for module in moonvit_tower(config)
    )
    return with_tower(mla.deepseek(config), tower, ("language_model.layers.", f"{LANGUAGE_PREFIX}."))


def kimi_vl(config: Config) -> ModelFacts:
    """DeepSeek's text beside MoonViT, neither encoder nor projector quantized."""
    tower = tuple(
        replace(module, quantizable=False) if isinstance(module, Linear) else module for module in moonvit_tower(config)
    )
    return with_tower(mla.deepseek(config), tower)


QWEN_PREFIXES = (("model.language_model.", "language_model.model."), ("model.visual.", "visual."))
QWEN2_PREFIXES = (*QWEN_PREFIXES, ("model.", "language_model.model."))  # of checkpoints before transformers 4.52 too
