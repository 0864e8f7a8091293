"""One small function per family: config.json in, ModelFacts out. ARCHITECTURES maps vLLM's class names to them."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.errors import ModelError, UnknownArchitectureError
from planner.model.architectures.reading import stated_dtype, text_config
from planner.model.config_kinds import check_config, check_quantization
from planner.model.context import default_max_model_len, derived_max_model_len, names_no_length, yarn_max_model_len
from planner.model.quantization import engine_quantization
from planner.model.sizes import impossible_size
from planner.model.tensor_runs import stored_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from planner.model.facts import ModelFacts
    from planner.model.identity import Checkpoint

    Family = Callable[[Mapping[str, Any]], ModelFacts]

# vLLM's class -> the family's module and function here; a module is loaded when one of its models is asked for
ARCHITECTURES: dict[str, str] = {
    "AXK1ForCausalLM": "mla.axk1",
    "AfmoeForCausalLM": "scored_moe.afmoe",
    "ApertusForCausalLM": "llama_kin.apertus",
    "ArceeForCausalLM": "llama_kin.arcee",
    "BailingMoeForCausalLM": "bailing.bailing",
    "BailingMoeV2ForCausalLM": "bailing.bailing",
    "BailingMoeV2_5ForCausalLM": "bailing_hybrid.ling_2_5",
    "BailingMoeV3ForCausalLM": "bailing_hybrid.ling_3",
    "BloomForCausalLM": "classic.bloom",
    "ChatGLMForConditionalGeneration": "llama_kin.chatglm",
    "ChatGLMModel": "llama_kin.chatglm",
    "Cohere2ForCausalLM": "dense.cohere",
    "Cohere2MoeForCausalLM": "scored_moe.cohere2_moe",
    "Cohere2VisionForConditionalGeneration": "llava.cohere2_vision",
    "CohereForCausalLM": "dense.cohere",
    "CwmForCausalLM": "llama_kin.llama_by_transformers",
    "DbrxForCausalLM": "moe_kin.dbrx",
    "DeciLMForCausalLM": "nas.deci_lm",
    "DeepseekForCausalLM": "moe_kin.deepseek_moe",
    "DeepseekOCR2ForCausalLM": "deepseek_ocr.deepseek_ocr2",
    "DeepseekOCRForCausalLM": "deepseek_ocr.deepseek_ocr",
    "DeepseekV2ForCausalLM": "mla.deepseek",
    "DeepseekV32ForCausalLM": "mla.deepseek",
    "DeepseekV3ForCausalLM": "mla.deepseek",
    "DeepseekV4ForCausalLM": "deepseek_v4.deepseek_v4",
    "DotsOCRForCausalLM": "readers.dots_ocr",
    "Ernie4_5ForCausalLM": "llama_kin.ernie4_5",
    "Ernie4_5_MoeForCausalLM": "moe_kin.ernie4_5_moe",
    "Ernie4_5_VLMoeForConditionalGeneration": "ernie_vl.ernie4_5_vl",
    "Exaone4ForCausalLM": "llama_kin.exaone4",
    "Exaone4_5_ForConditionalGeneration": "vision.exaone4_5",
    "ExaoneForCausalLM": "dense.exaone",
    "ExaoneMoEForCausalLM": "moe_kin.exaone_moe",
    "ExaoneMoeForCausalLM": "moe_kin.exaone_moe",
    "FalconForCausalLM": "classic.falcon",
    "FalconH1ForCausalLM": "mamba_hybrids.falcon_h1",
    "FalconMambaForCausalLM": "mamba.mamba",
    "FlexOlmoForCausalLM": "moe_kin.flex_olmo",
    "GPT2LMHeadModel": "classic.gpt2",
    "GPTBigCodeForCausalLM": "classic.gpt_bigcode",
    "GPTJForCausalLM": "classic.gptj",
    "GPTNeoXForCausalLM": "classic.gpt_neox",
    "Gemma2ForCausalLM": "dense.gemma2",
    "Gemma3ForCausalLM": "dense.gemma3",
    "Gemma3ForConditionalGeneration": "vision.gemma3",
    "Gemma3nForCausalLM": "gemma3n.text_model",
    "Gemma3nForConditionalGeneration": "gemma3n.conditional",
    "Gemma4ForCausalLM": "gemma4.text_model",
    "Gemma4ForConditionalGeneration": "gemma4.conditional",
    "Gemma4UnifiedForConditionalGeneration": "gemma4.unified",
    "GemmaForCausalLM": "dense.gemma",
    "Glm4ForCausalLM": "dense.glm4",
    "Glm4MoeForCausalLM": "moe.glm4_moe",
    "Glm4MoeLiteForCausalLM": "mla.deepseek",
    "Glm4vForConditionalGeneration": "vision.glm4v",
    "Glm4vMoeForConditionalGeneration": "vision.glm4v_moe",
    "GlmForCausalLM": "llama_kin.glm",
    "GlmMoeDsaForCausalLM": "mla.deepseek",
    "GlmOcrForConditionalGeneration": "readers.glm_ocr",
    "GptOssForCausalLM": "moe.gpt_oss",
    "GraniteForCausalLM": "dense.llama",
    "GraniteMoeForCausalLM": "moe_kin.granite_moe",
    "GraniteMoeHybridForCausalLM": "mamba_hybrids.granite_hybrid",
    "GraniteMoeSWAForCausalLM": "moe_kin.granite_moe_swa",
    "GraniteMoeSharedForCausalLM": "moe_kin.granite_moe",
    "GraniteSWAForCausalLM": "llama_kin.granite_swa",
    "HCXVisionV2ForCausalLM": "vision.hyperclovax_vision",
    "HYV3ForCausalLM": "scored_moe.hy_v3",
    "HeliumForCausalLM": "llama_kin.llama_by_transformers",
    "HunYuanDenseV1ForCausalLM": "llama_kin.hunyuan_dense",
    "HunYuanMoEV1ForCausalLM": "moe_kin.hunyuan_moe",
    "HyperCLOVAXForCausalLM": "llama_kin.hyperclovax",
    "IQuestCoderForCausalLM": "dense.llama",
    "IQuestLoopCoderForCausalLM": "llama_kin.iquest_loop",
    "Idefics3ForConditionalGeneration": "readers.idefics3",
    "InternLM2ForCausalLM": "dense.internlm2",
    "InternLM3ForCausalLM": "dense.llama",
    "InternS1ForConditionalGeneration": "intern_vit.internvl",
    "InternVLChatModel": "intern_vit.internvl_chat",
    "InternVLForConditionalGeneration": "intern_vit.internvl",
    "Jais2ForCausalLM": "llama_kin.jais2",
    "JambaForCausalLM": "mamba_hybrids.jamba",
    "KeyeForConditionalGeneration": "keye.keye",
    "KeyeVL1_5ForConditionalGeneration": "keye.keye_1_5",
    "KimiK25ForConditionalGeneration": "vision.kimi_k25",
    "KimiK3ForConditionalGeneration": "kimi_linear.kimi_k3",
    "KimiLinearForCausalLM": "kimi_linear.kimi_linear",
    "KimiVLForConditionalGeneration": "vision.kimi_vl",
    "LLaMAForCausalLM": "dense.llama",
    "LagunaForCausalLM": "scored_moe.laguna",
    "Lfm2ForCausalLM": "lfm2.lfm2",
    "Lfm2MoeForCausalLM": "lfm2.lfm2_moe",
    "Lfm2VlForConditionalGeneration": "readers.lfm2_vl",
    "LightOnOCRForConditionalGeneration": "llava.lightonocr",
    "Llama4ForCausalLM": "llama4.llama4",
    "Llama4ForConditionalGeneration": "llama4.llama4",
    "LlamaForCausalLM": "dense.llama",
    "LlavaForConditionalGeneration": "llava.llava",
    "LlavaNextForConditionalGeneration": "llava.llava_next",
    "LlavaNextVideoForConditionalGeneration": "llava.llava_next_video",
    "LlavaOnevisionForConditionalGeneration": "llava.llava_onevision",
    "LongcatFlashForCausalLM": "scored_moe.longcat_flash",
    "MPTForCausalLM": "dense.mpt",
    "Mamba2ForCausalLM": "mamba.mamba2",
    "MambaForCausalLM": "mamba.mamba",
    "MiMoForCausalLM": "dense.qwen2",
    "MiMoV2FlashForCausalLM": "mimo.mimo_v2_flash",
    "MiMoV2ForCausalLM": "mimo.mimo_v2",
    "MiniCPM3ForCausalLM": "mla.minicpm3",
    "MiniCPMForCausalLM": "llama_kin.minicpm",
    "MiniCPMO": "minicpmv.minicpm_o",
    "MiniCPMV": "minicpmv.minicpm_v",
    "MiniMaxM2ForCausalLM": "moe.minimax_m2",
    "MiniMaxM3ForCausalLM": "minimax_m3.unserved",
    "MiniMaxM3SparseForCausalLM": "minimax_m3.minimax_m3",
    "MiniMaxM3SparseForConditionalGeneration": "minimax_m3.conditional",
    "Ministral3ForCausalLM": "dense.llama",
    "Mistral3ForConditionalGeneration": "llava.mistral3",
    "MistralForCausalLM": "dense.llama",
    "MistralLarge3ForCausalLM": "mla.deepseek",
    "MixtralForCausalLM": "moe.mixtral",
    "MllamaForConditionalGeneration": "mllama.mllama",
    "MolmoForCausalLM": "molmo.molmo",
    "MptForCausalLM": "dense.mpt",
    "NemotronForCausalLM": "classic.nemotron",
    "NemotronHForCausalLM": "nemotron.nemotron_h",
    "NemotronH_Nano_Omni_Reasoning_V3": "nemotron_vl.nemotron_vl",
    "NemotronH_Nano_VL_V2": "nemotron_vl.nemotron_vl",
    "NemotronH_Omni_Reasoning_V3": "nemotron_vl.nemotron_vl",
    "NemotronH_Super_Omni_Reasoning_V3": "nemotron_vl.nemotron_vl",
    "OPTForCausalLM": "classic.opt",
    "Olmo2ForCausalLM": "dense.olmo2",
    "Olmo3ForCausalLM": "dense.olmo2",
    "OlmoForCausalLM": "llama_kin.olmo",
    "OlmoHybridForCausalLM": "delta_nets.olmo_hybrid",
    "OlmoeForCausalLM": "moe_kin.olmoe",
    "OpenCUAForConditionalGeneration": "vision.opencua",
    "OrionForCausalLM": "llama_kin.orion",
    "Ovis2_5": "ovis.ovis2_5",
    "Ovis2_6ForCausalLM": "ovis.ovis2_5",
    "Ovis2_6_MoeForCausalLM": "ovis.ovis2_5",
    "PaddleOCRVLForConditionalGeneration": "readers.paddleocr_vl",
    "PaliGemmaForConditionalGeneration": "readers.paligemma",
    "PanguEmbeddedForCausalLM": "llama_kin.pangu_embedded",
    "Param2MoEForCausalLM": "scored_moe.param2_moe",
    "Phi3ForCausalLM": "dense.phi3",
    "Phi3VForCausalLM": "phi_vision.phi3_v",
    "Phi4MMForCausalLM": "phi_vision.phi4_mm",
    "PhiForCausalLM": "classic.phi",
    "PhiMoEForCausalLM": "moe.phimoe",
    "Qwen2AudioForConditionalGeneration": "omni.qwen2_audio",
    "Qwen2ForCausalLM": "dense.qwen2",
    "Qwen2MoeForCausalLM": "moe.qwen2_moe",
    "Qwen2VLForConditionalGeneration": "vision.qwen2_vl",
    "Qwen2_5OmniForConditionalGeneration": "omni.qwen2_5_omni",
    "Qwen2_5OmniModel": "omni.qwen2_5_omni",
    "Qwen2_5_VLForConditionalGeneration": "vision.qwen2_5_vl",
    "Qwen3ASRForConditionalGeneration": "omni.qwen3_asr",
    "Qwen3ForCausalLM": "dense.qwen3",
    "Qwen3MoeForCausalLM": "moe.qwen3_moe",
    "Qwen3NextForCausalLM": "delta_nets.qwen3_next",
    "Qwen3OmniMoeForConditionalGeneration": "omni.qwen3_omni_moe",
    "Qwen3VLForConditionalGeneration": "vision.qwen3_vl",
    "Qwen3VLMoeForConditionalGeneration": "vision.qwen3_vl_moe",
    "Qwen3_5ForCausalLM": "delta_nets.qwen3_5",
    "Qwen3_5ForConditionalGeneration": "delta_nets.qwen3_5",
    "Qwen3_5MoeForCausalLM": "delta_nets.qwen3_5",
    "Qwen3_5MoeForConditionalGeneration": "delta_nets.qwen3_5",
    "RForConditionalGeneration": "llava.rvl",
    "SarvamMLAForCausalLM": "mla.sarvam",
    "SarvamMoEForCausalLM": "bailing.bailing",
    "SeedOssForCausalLM": "llama_kin.seed_oss",
    "SmolLM3ForCausalLM": "llama_kin.smollm3",
    "SmolVLMForConditionalGeneration": "readers.idefics3",
    "SolarForCausalLM": "llama_kin.solar",
    "StableLmForCausalLM": "classic.stablelm",
    "Starcoder2ForCausalLM": "dense.starcoder2",
    "Step3TextForCausalLM": "step3.step3_text",
    "Step3p5ForCausalLM": "step3p5.step3p5",
    "Step3p7FlashForCausalLM": "step3p5.unserved",
    "Step3p7ForConditionalGeneration": "step3p5.step3p7",
    "StepVLForConditionalGeneration": "step3p5.step3_vl_10b",
    "TeleChat2ForCausalLM": "llama_kin.telechat2",
    "TeleChat3ForCausalLM": "dense.llama",
    "TeleFLMForCausalLM": "dense.internlm2",
    "VaultGemmaForCausalLM": "llama_kin.vaultgemma",
    "WhisperForConditionalGeneration": "whisper.whisper",
}


def family_of(architecture: str) -> Family:
    """The function that describes the models of one of ARCHITECTURES."""
    module, _, function = ARCHITECTURES[architecture].partition(".")
    family: Family = getattr(import_module(f"{__name__}.{module}"), function)
    return family


@lru_cache(maxsize=512)
def make_facts(checkpoint: Checkpoint) -> ModelFacts:
    """What the checkpoint is, in the neutral shape.

    Raises UnknownArchitectureError where no family describes it, ModelError where config.json lacks a key or says what
    cannot be.
    """
    architecture = _architecture(checkpoint)
    try:
        facts = _described(checkpoint, architecture)
        engine_quantization(facts)
        impossible = impossible_size(facts)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ModelError(_contradictory(checkpoint, error)) from error
    if impossible:
        raise ModelError(f"{checkpoint.repo}: config.json: {impossible}. Use the file of the published checkpoint.")
    return facts


def _architecture(checkpoint: Checkpoint) -> str:
    """architectures[0], which a family here describes, of a config.json whose values are of their keys' kinds."""
    published = checkpoint.config.get("architectures")
    named: str | None = published[0] if published and isinstance(published, list) else None
    if not isinstance(named, str) or named in ARCHITECTURES:
        check_config(checkpoint.config, f"{checkpoint.repo}: config.json")
        check_quantization(checkpoint.hf_quant_config or {}, f"{checkpoint.repo}: hf_quant_config.json")
    if named is None or named not in ARCHITECTURES:
        raise UnknownArchitectureError(_unknown(checkpoint, named))
    return named


def _described(checkpoint: Checkpoint, architecture: str) -> ModelFacts:
    config = checkpoint.config
    facts = family_of(architecture)(config)
    text = text_config(config)
    derived = facts.max_model_len or derived_max_model_len(text)
    published = config.get("quantization_config") or text.get("quantization_config") or checkpoint.hf_quant_config
    if published and config.get("expert_dtype"):  # DeepSeek V4 says beside its quantization what its experts are in
        published = {**published, "expert_dtype": config["expert_dtype"]}
    return replace(
        facts,
        dtype=stated_dtype(config) or stored_dtype(checkpoint.tensors) or facts.dtype,
        max_model_len=derived,
        default_max_model_len=default_max_model_len(text, derived),
        any_max_model_len=not facts.max_model_len and names_no_length(text),
        max_model_len_before_0_33=yarn_max_model_len(text),
        quantization=_listed(published or None, checkpoint),
    )


def _listed(published: Mapping[str, Any] | None, checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    if not published or not checkpoint.tensors:
        return published
    from planner.model.quantized_by_headers import with_header_lists

    return with_header_lists(published, checkpoint.tensors)


def _contradictory(checkpoint: Checkpoint, error: Exception) -> str:
    """Values that are each of their kind and cannot be together; the place, because it may be a bug after all."""
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    where = f" in {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else ""
    return (
        f"{checkpoint.repo}: config.json: its values do not go together ({type(error).__name__}: {error},{where}). "
        "Use the file of the published checkpoint; if this is it, please report it."
    )


def _unknown(checkpoint: Checkpoint, architecture: str | None) -> str:
    config = checkpoint.config
    named = f"architecture {architecture}" if architecture else "config.json without `architectures`"
    keys = sorted(key for key in text_config(config) if key.startswith(("num_", "hidden", "head", "n_", "layer")))
    return (
        f"{checkpoint.repo}: {named} (model_type {config.get('model_type')}) is not known. Neither its weights nor "
        f"its KV cache can be counted, and a guess would be worth nothing. To add it, write a function in "
        f"planner/model/architectures/ that reads its layers, heads, head_dim and widths from config.json (its keys: "
        f"{', '.join(keys[:12]) or 'none'}), and name it in ARCHITECTURES."
    )
