"""Models that hear: Qwen2-Audio, Qwen2.5-Omni and Qwen3-Omni (the thinker, which is what vLLM serves), Qwen3-ASR.

vllm/model_executor/models/{qwen2_audio,qwen2_5_omni_thinker,qwen3_omni_moe_thinker,qwen3_asr}.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from planner.model.architectures import dense, moe
from planner.model.architectures.audio_encoders import qwen2_5_omni_encoder, qwen2_audio_encoder, qwen3_omni_encoder
from planner.model.architectures.nested import beside
from planner.model.architectures.reading import required, text_config
from planner.model.architectures.towers import qwen2_5_vl_tower, qwen3_vl_tower
from planner.model.architectures.vision import with_tower

if TYPE_CHECKING:
    from planner.model.architectures.reading import Config
    from planner.model.facts import ModelFacts

# tie_word_embeddings is true where transformers' Qwen2_5OmniTextConfig and Qwen3ASRConfig find none
TIED_QWEN2 = replace(dense.QWEN2, tied=True)
TIED_QWEN3 = replace(dense.QWEN3, tied=True)
OMNI_PREFIXES = (
    ("thinker.lm_head.", "language_model.lm_head."),
    ("thinker.model.", "language_model.model."),
    ("thinker.", ""),
)


def qwen2_audio(config: Config) -> ModelFacts:
    """Qwen2 behind Whisper's encoder."""
    text_width = required({"hidden_size": 4096, **text_config(config)}, "hidden_size")
    facts = beside({**config, "text_config": {"model_type": "qwen2", **config["text_config"]}}, ())
    return replace(facts, tower=qwen2_audio_encoder(config, text_width))


def qwen2_5_omni(config: Config) -> ModelFacts:
    """Qwen2.5-VL with an audio encoder; the talker and the vocoder are not loaded."""
    thinker = config.get("thinker_config", config)
    tower = (*qwen2_5_omni_encoder(thinker), *qwen2_5_vl_tower(thinker))
    return with_tower(dense.llama_like(_by_text(config), TIED_QWEN2), tower, *OMNI_PREFIXES)


def qwen3_omni_moe(config: Config) -> ModelFacts:
    """Qwen3 with experts, an audio encoder, a vision tower whose features join early layers."""
    thinker = config.get("thinker_config", config)
    vision = thinker["vision_config"]
    side = required(vision, "image_size") // required(vision, "patch_size")
    positioned = {**thinker, "vision_config": {**vision, "num_position_embeddings": side**2}}
    facts = with_tower(
        moe.qwen3_moe(_by_text(config)), (*qwen3_omni_encoder(thinker), *qwen3_vl_tower(positioned)), *OMNI_PREFIXES
    )
    return replace(facts, deepstack_levels=len(vision.get("deepstack_visual_indexes") or ()))


def qwen3_asr(config: Config) -> ModelFacts:
    """Qwen3 behind Qwen3-Omni's audio encoder."""
    thinker = config.get("thinker_config", config)
    return with_tower(dense.llama_like(_by_text(config), TIED_QWEN3), qwen3_omni_encoder(thinker), *OMNI_PREFIXES)


def _by_text(config: Config) -> Config:
    """The text's own tie_word_embeddings decides: the language model sees no other (VllmConfig.with_hf_config)."""
    return {key: value for key, value in config.items() if key != "tie_word_embeddings"}
