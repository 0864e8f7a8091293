"""What may stand under each key of config.json that is read here: a file from anywhere, so it is checked before use.

A key that stands here is checked wherever it stands in a part of the file that is read; other keys are not looked at.
null always means "not stated". A new key without a kind is merely not checked (make_facts then refuses what it makes).
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from planner.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MOST = 2**31 - 1  # no width, head count or vocabulary is larger: the engine's kernels index with 32 bits
MOST_PARTS = 10_000  # layers, and experts of a layer: each is described on its own
MOST_TOKENS = 2**53  # a context "without limit" is published as a large round number


class Kind(Struct, frozen=True):
    """``accepts`` a value that is not null; ``words`` end the sentence "... is not"."""

    words: str
    accepts: Callable[[Any], bool]


def whole(least: int, most: int = MOST, *, also: Callable[[Any], bool] = lambda _: False) -> Kind:
    """A whole number in a range; ``also`` what else the key may hold."""

    def accepts(value: Any) -> bool:
        return (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most) or also(value)

    return Kind(f"a whole number from {least:,} to {most:,}", accepts)


def each(kind: Kind) -> Kind:
    """A list of the kind."""
    return Kind(f"a list with {kind.words} in each place", lambda value: is_list_of(kind, value))


def is_list_of(kind: Kind, value: Any) -> bool:
    """Whether the value is a list and every entry is of the kind."""
    return isinstance(value, list) and all(kind.accepts(one) for one in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


INTEGER = whole(-MOST)
COUNT = whole(1)
COUNT_OR_NONE = whole(0)
PARTS = whole(0, MOST_PARTS)
TOKENS = whole(1, MOST_TOKENS)
COUNT_OR_PAIR = whole(1, also=lambda value: is_list_of(COUNT, value) and len(value) == 2)
COUNT_OR_AUTO = whole(1, also=lambda value: value == "auto")
PAIR = Kind("a list of two whole numbers", lambda value: is_list_of(COUNT, value) and len(value) == 2)
PAIR_OR_TEXT = Kind(  # compressed-tensors takes [128, 128] and "128x128"
    'a list of two whole numbers or a text such as "128x128"',
    lambda value: PAIR.accepts(value) or bool(re.fullmatch(r"[1-9]\d*x[1-9]\d*", str(value))),
)
GROUP = Kind("a group's size, or -1 for one group", lambda value: value == -1 or COUNT.accepts(value))
SCALE = Kind("a number above 0", lambda value: _is_number(value) and 0 < value <= MOST_TOKENS)
SCALES = Kind("a number above 0 or a list of them", lambda value: SCALE.accepts(value) or is_list_of(SCALE, value))
FLAG = Kind("true or false", lambda value: isinstance(value, bool) or value in (0, 1))
WORD = Kind("a text", lambda value: isinstance(value, str))
WORDS = each(WORD)
NAMES = Kind(
    "a list of texts, or of lists of them",
    lambda value: isinstance(value, list) and all(WORD.accepts(one) or is_list_of(WORD, one) for one in value),
)
LIST = Kind("a list", lambda value: isinstance(value, list))
MAPPING = Kind("a mapping", lambda value: isinstance(value, dict))
MAPPING_OR_WORD = Kind("a mapping or a text", lambda value: isinstance(value, dict | str))
MAPPINGS = Kind("a list of mappings", lambda value: is_list_of(MAPPING, value))


def _fields(rows: Mapping[str, Kind]) -> dict[str, Kind]:
    return {name: kind for names, kind in rows.items() for name in names.split()}


CONFIG = _fields(
    {
        "architectures layer_types indexer_types layers_block_type mlp_layer_types yarn_only_types": WORDS,
        "model_type dtype torch_dtype expert_dtype hybrid_override_pattern mamba_ssm_dtype mamba_ssm_cache_dtype"
        " norm_type position_embedding_type rope_type type topk_method attention_type router_dtype"
        " attention_projection_layout gated_attention_proj_granularity_type": WORD,
        "num_hidden_layers num_layers n_layer n_layers depth layers vt_num_hidden_layers vision_n_layers"
        " num_global_layers num_hash_layers num_dense_layers first_k_dense_replace num_kv_shared_layers"
        " max_window_layers": PARTS,
        "num_experts num_local_experts n_routed_experts num_experts_per_token num_experts_per_tok"
        " n_shared_experts num_shared_experts moe_num_shared_experts moe_k moe_top_k top_k_experts": PARTS,
        "hidden_size n_embd d_model num_attention_heads n_head n_heads vocab_size padded_vocab_size head_dim"
        " kv_channels global_head_dim attention_head_dim embed_dim heads attention_heads num_heads"
        " vt_hidden_size vt_num_attention_heads vt_intermediate_size qkv_hidden_size text_hidden_size"
        " out_hidden_size projector_input_dim projector_output_dim projector_hidden_size vision_output_dim"
        " alignment_intermediate_size position_embedding_size num_position_embeddings in_channels in_chans num_channels"
        " max_num_tiles spatial_merge_size temporal_patch_size init_pos_emb_height init_pos_emb_width"
        " init_pos_emb_time num_key_value_heads num_kv_heads n_head_kv kv_n_heads num_attention_groups"
        " num_global_key_value_heads swa_head_dim swa_v_head_dim swa_num_attention_heads"
        " swa_num_key_value_heads multi_query_group_num num_sliding_attention_heads n_heads_in_group"
        " linear_num_key_heads linear_num_value_heads linear_key_head_dim linear_value_head_dim linear_conv_kernel_dim"
        " short_conv_kernel_size conv_kernel mamba_d_conv conv_L_cache conv_dim mamba_num_heads mamba_head_dim"
        " mamba_n_heads mamba_d_head mamba_d_state mamba_n_groups ssm_state_size state_size n_groups chunk_size"
        " mamba_chunk_size kv_lora_rank o_lora_rank o_groups index_head_dim index_n_heads index_topk"
        " sparse_index_dim sparse_num_index_heads sparse_block_size sparse_topk_blocks hc_mult decoder_sparse_step"
        " interleave_moe_layer_step full_attention_interval block_multiple_of": COUNT,
        "intermediate_size": whole(0, also=lambda value: is_list_of(COUNT, value)),
        "ffn_hidden_size ffn_dim n_inner intermediate_size_mlp dense_intermediate_size block_ff_dim"
        " expert_intermediate_size shared_expert_intermediate_size shared_intermediate_size"
        " moe_shared_expert_intermediate_size moe_latent_size routed_expert_hidden_size share_expert_dim"
        " share_expert_dims hidden_size_per_layer_input vocab_size_per_layer_input q_lora_rank qk_nope_head_dim"
        " qk_rope_head_dim v_head_dim"
        " rotary_dim rope_dim attn_res_block_size attention_chunk_size mamba_d_ssm d_inner num_ln_in_parallel_attn"
        " sliding_window sliding_window_size": COUNT_OR_NONE,
        "encoder_layers decoder_layers conf_num_hidden_layers input_local_layers": PARTS,
        "encoder_attention_heads decoder_attention_heads encoder_ffn_dim decoder_ffn_dim num_mel_bins"
        " max_source_positions downsample_hidden_size output_dim scale_factor downsample_factor num_patches input_dim"
        " n_embed projection_dim laurel_rank altup_num_inputs input_feat_size conf_attention_chunk_size"
        " conf_attention_context_left conf_num_attention_heads conf_conv_kernel_size expert_hidden_dim"
        " expert_ffn_hidden_size share_q_dim layer_group_size group_norm_size group_size qk_channels image_dim_out"
        " query_num audio_channels input_local_dim input_local_attn_heads input_local_intermediate_size"
        " projection_layers mm_embed_dim mm_posemb_size model_patch_size num_soft_tokens output_proj_dims"
        " audio_embed_dim pixel_hidden_size spatial_conv_size temporal_conv_size embedding_size visual_vocab_size"
        " hidden_stride loop_window_size vit_hidden_size"
        " cpe_max_size register_multiple video_temporal_patch_size": COUNT,
        "loop_num": whole(1, MOST_PARTS),
        "zero_expert_num conf_attention_context_right": COUNT_OR_NONE,
        "num_attention_heads_per_layer sscp_conv_channel_size": each(COUNT),
        "max_position_embedding max_position_embeddings n_positions max_seq_len seq_length model_max_length"
        " max_target_positions"
        " max_sequence_length max_seq_length seq_len original_max_position_embeddings": TOKENS,
        "width": whole(1, also=lambda value: isinstance(value, dict)),  # DeepSeek-OCR: of each encoder
        "mamba_dt_rank time_step_rank": COUNT_OR_AUTO,
        "moe_layer_interval select_layer layer_idx": INTEGER,
        "moe_layer_start_index moe_layer_end_index": whole(
            -MOST_PARTS, MOST_PARTS, also=lambda value: is_list_of(INTEGER, value)
        ),
        "moe_num_experts": whole(0, MOST_PARTS, also=lambda value: is_list_of(PARTS, value)),
        "image_size patch_size": COUNT_OR_PAIR,
        "merge_kernel_size": PAIR,
        "moe_intermediate_size moe_topk num_shared_expert": whole(0, also=lambda value: is_list_of(COUNT, value)),
        "moe_layer_freq": whole(1, MOST_PARTS, also=lambda value: is_list_of(PARTS, value)),
        "vision_feature_layer": whole(-MOST_PARTS, MOST_PARTS, also=lambda value: is_list_of(INTEGER, value)),
        "sliding_window_pattern _sliding_window_pattern": whole(
            1, MOST_PARTS, also=lambda value: isinstance(value, str | list)
        ),
        "cross_attention_layers full_attn_idxs deepstack_visual_indexes kda_layers hybrid_layer_pattern compress_ratios"
        " sparse_attention_freq mlp_only_layers mrope_section no_rope_layers fullatt_block_indexes": each(INTEGER),
        "supported_aspect_ratios": LIST,
        "factor partial_rotary_factor rotary_pct rope_local_base_freq swa_rope_theta compress_rope_theta"
        " expansion_ratio expand mamba_expand mlp_ratio pixel_shuffle_ratio downsample_ratio ffn_mult"
        " block_ffn_dim_multiplier": SCALE,
        "rope_theta partial_rotary_factors": SCALES,
        "tie_word_embeddings attention_bias mlp_bias bias no_bias use_bias use_conv_bias conv_bias mamba_conv_bias"
        " mamba_proj_bias mamba_rms_norm qkv_bias add_qkv_bias use_qkv_bias add_bias_linear attention_out_bias"
        " lm_head_bias projector_bias multimodal_projector_bias alibi attn_output_gate attention_k_eq_v"
        " use_sink add_post_norm sandwich_norm"
        " use_sliding_window use_qk_norm qk_layernorm qk_normalization use_double_wide_mlp use_expert_bias"
        " use_routing_bias use_full_rank_gate use_head_wise_attn_gate mla_use_output_gate latent_moe_use_norm"
        " multi_query multi_query_attention new_decoder_architecture parallel_attn do_layer_norm_before use_cla"
        " block_auto_adjust_ff_dim standardize post_norm projector_use_layernorm qk_norm attention_sinks"
        " swa_attention_sink_enabled use_mla": FLAG,
        "text_config llm_config language_config thinker_config vision_config audio_config projector_config"
        " rope_scaling rope_parameters attn_config"
        " ffn_config linear_attn_config sparse_attention_config img_token_compression_config attention_other_setting"
        " quantization_config attention ffn audio_processor img_processor embd_layer config args": MAPPING,
        "block_configs teachers": MAPPINGS,
    }
)

SPEECH = _fields(  # Phi-4-multimodal's audio_processor.config
    {
        "attention_dim attention_heads input_size linear_units kernel_size ext_pw_kernel_size ext_pw_out_channel"
        " time_reduction depthwise_multiplier depthwise_seperable_out_channel t5_bias_max_distance"
        " conv_channels": COUNT,
        "num_blocks": PARTS,
        "nemo_conv_settings relative_attention_bias_args": MAPPING,
    }
)
QUANTIZATION = _fields(
    {
        "quant_method quant_algo kv_cache_quant_algo moe_quant_algo activation_scheme format strategy type name"
        " packing_format data_type dtype qscheme expert_dtype": WORD,
        "bits w_bit num_bits": whole(1, 64),
        "group_size q_group_size": GROUP,
        "weight_block_size": PAIR,
        "block_structure": PAIR_OR_TEXT,
        "zero_point sym desc_act symmetric is_dynamic": FLAG,
        "modules_to_not_convert ignored_layers ignore exclude_modules exclude targets": WORDS,
        "config_groups weights input_activations quantized_layers producer quantization extra_config"
        " global_quant_config layer_quant_config transform_config": MAPPING,
        "modules_in_block_to_quantize": NAMES,
        "kv_cache_scheme": MAPPING_OR_WORD,
    }
)

# The parts of the file that are read, and what stands in each.
PARTS_READ = {
    **dict.fromkeys(("text_config", "llm_config", "language_config", "thinker_config", "decoder"), CONFIG),
    **dict.fromkeys(("audio_config", "projector_config", "audio_processor", "img_processor", "args"), CONFIG),
    **dict.fromkeys(("config", "nemo_conv_settings", "relative_attention_bias_args"), SPEECH),
    **dict.fromkeys(("vision_config", "encoder_config", "attn_config", "ffn_config", "linear_attn_config"), CONFIG),
    **dict.fromkeys(("sparse_attention_config", "img_token_compression_config", "attention_other_setting"), CONFIG),
    **dict.fromkeys(("rope_scaling", "rope_parameters", "full_attention", "sliding_attention"), CONFIG),
    **dict.fromkeys(("chunked_attention", "linear_attention", "attention", "ffn"), CONFIG),
    **dict.fromkeys(("quantization_config", "quantization", "weights", "input_activations", "producer"), QUANTIZATION),
    **dict.fromkeys(("kv_cache_scheme", "global_quant_config", "weight", "input_tensors"), QUANTIZATION),
}
# Mappings of a name to a part: the names are the checkpoint's own.
NAMED_PARTS = {**dict.fromkeys(("config_groups", "quantized_layers", "extra_config"), QUANTIZATION)}
LISTED_PARTS = {"block_configs": CONFIG}

MOST_SHOWN = 3  # problems in one sentence; a file with more of them is no config.json


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Raises ModelError where a value is not of its key's kind. ``where`` names the file."""
    _refuse(list(_problems(config, CONFIG, "")), where)


def check_quantization(config: Mapping[str, Any], where: str) -> None:
    """The same for hf_quant_config.json."""
    _refuse(list(_problems(config, QUANTIZATION, "")), where)


def _refuse(problems: list[str], where: str) -> None:
    if problems:
        more = f"; and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
        raise ModelError(
            f"{where}: {'; '.join(problems[:MOST_SHOWN])}{more}. Use the file of the published checkpoint."
        )


def _problems(part: Mapping[str, Any], fields: Mapping[str, Kind], path: str) -> Iterator[str]:
    for name, value in part.items():
        if value is None:
            continue
        kind = fields.get(name)
        if kind is not None and not kind.accepts(value):
            yield f"{path}{name}: {_shown(value)} is not {kind.words}"
            continue
        if isinstance(value, dict) and name in PARTS_READ:
            yield from _problems(value, PARTS_READ[name], f"{path}{name}.")
        elif isinstance(value, dict) and name in NAMED_PARTS:
            yield from _named_problems(value.items(), NAMED_PARTS[name], f"{path}{name}.")
        elif isinstance(value, list) and name in LISTED_PARTS:
            yield from _named_problems(enumerate(value), LISTED_PARTS[name], f"{path}{name}.")


def _named_problems(parts: Any, fields: Mapping[str, Kind], path: str) -> Iterator[str]:
    for name, part in parts:
        if isinstance(part, dict):
            yield from _problems(part, fields, f"{path}{name}.")
        else:
            yield f"{path}{name}: {_shown(part)} is not {MAPPING.words}"


def _shown(value: Any) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
