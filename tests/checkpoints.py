"""Safetensors headers of small checkpoints, named as published ones are."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from planner.model.headers import DTYPE_BITS, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

Shapes = dict[str, tuple[str, list[int]]]

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
QWEN3_MOE: dict[str, Any] = {
    **LLAMA,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "head_dim": 64,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
LLAVA: dict[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "torch_dtype": "bfloat16",
    "vision_feature_layer": -2,
    "text_config": LLAMA,
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "image_size": 28,
        "patch_size": 14,
    },
}
LINEARS = {
    "self_attn.q_proj": (256, 256),
    "self_attn.k_proj": (128, 256),
    "self_attn.v_proj": (128, 256),
    "self_attn.o_proj": (256, 256),
}
MLP = {"mlp.gate_proj": (512, 256), "mlp.up_proj": (512, 256), "mlp.down_proj": (256, 512)}
NORMS = ("input_layernorm", "post_attention_layernorm")


def plain(name: str, out: int, size: int) -> Iterator[tuple[str, str, list[int]]]:
    """One linear layer in bf16."""
    yield f"{name}.weight", "BF16", [out, size]


def awq(name: str, out: int, size: int) -> Iterator[tuple[str, str, list[int]]]:
    """AutoAWQ: words of eight 4-bit weights along the output, groups of 128."""
    yield f"{name}.qweight", "I32", [size, out // 8]
    yield f"{name}.qzeros", "I32", [size // 128, out // 8]
    yield f"{name}.scales", "F16", [size // 128, out]


def gptq(name: str, out: int, size: int) -> Iterator[tuple[str, str, list[int]]]:
    """AutoGPTQ: words along the input, and a bias of zeros where the model has none."""
    yield f"{name}.qweight", "I32", [size // 8, out]
    yield f"{name}.qzeros", "I32", [size // 128, out // 8]
    yield f"{name}.scales", "F16", [size // 128, out]
    yield f"{name}.g_idx", "I32", [size]
    yield f"{name}.bias", "F16", [out]


def packed(name: str, out: int, size: int) -> Iterator[tuple[str, str, list[int]]]:
    """compressed-tensors, pack-quantized."""
    yield f"{name}.weight_packed", "I32", [out, size // 8]
    yield f"{name}.weight_scale", "BF16", [out, size // 128]
    yield f"{name}.weight_shape", "I64", [2]


def fp8_block(name: str, out: int, size: int) -> Iterator[tuple[str, str, list[int]]]:
    """DeepSeek's FP8."""
    yield f"{name}.weight", "F8_E4M3", [out, size]
    yield f"{name}.weight_scale_inv", "F32", [-(-out // 128), -(-size // 128)]


def nvfp4(name: str, out: int, size: int) -> Iterator[tuple[str, str, list[int]]]:
    """ModelOpt's NVFP4."""
    yield f"{name}.weight", "U8", [out, size // 2]
    yield f"{name}.weight_scale", "F8_E4M3", [out, size // 16]
    yield f"{name}.weight_scale_2", "F32", []
    yield f"{name}.input_scale", "F32", []


def llama(layers: int = 2, linear: Any = plain, *, head: bool = True, vocab_size: int = 1000) -> Shapes:
    """A Llama's tensors: name -> (dtype, shape)."""
    shapes: Shapes = {"model.embed_tokens.weight": ("BF16", [vocab_size, 256])}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, (out, size) in (LINEARS | MLP).items():
            shapes |= {full: (dtype, shape) for full, dtype, shape in linear(prefix + name, out, size)}
        shapes |= {f"{prefix}{name}.weight": ("BF16", [256]) for name in NORMS}
    shapes["model.norm.weight"] = ("BF16", [256])
    return shapes | ({"lm_head.weight": ("BF16", [vocab_size, 256])} if head else {})


def qwen3_moe(*, fused: bool = False) -> Shapes:
    """A mixture of experts, each expert's projections apart or all in one tensor."""
    shapes = {name: one for name, one in llama().items() if ".mlp." not in name}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}self_attn.{name}_norm.weight": ("BF16", [64]) for name in "qk"}
        shapes[f"{prefix}mlp.gate.weight"] = ("BF16", [4, 256])
        if fused:
            shapes[f"{prefix}mlp.experts.gate_up_proj"] = ("BF16", [4, 256, 256])
            shapes[f"{prefix}mlp.experts.down_proj"] = ("BF16", [4, 256, 128])
            continue
        for expert in range(4):
            one = f"{prefix}mlp.experts.{expert}."
            shapes |= {f"{one}{name}_proj.weight": ("BF16", [128, 256]) for name in ("gate", "up")}
            shapes[f"{one}down_proj.weight"] = ("BF16", [256, 128])
    return shapes


def llava(layers: int = 3) -> Shapes:
    """LLAVA's tensors: a CLIP encoder of so many layers with the norm behind them, a projector, a Llama."""
    name = "vision_tower.vision_model"
    sizes: dict[str, list[int]] = {
        f"{name}.embeddings.class_embedding": [32],
        f"{name}.embeddings.patch_embedding.weight": [32, 3, 14, 14],
        f"{name}.embeddings.position_embedding.weight": [5, 32],
    }
    for leaf, linear in ((".weight", True), (".bias", False)):
        sizes |= {f"{name}.{norm}{leaf}": [32] for norm in ("pre_layrnorm", "post_layernorm")}
        for layer in range(layers):
            prefix = f"{name}.encoder.layers.{layer}."
            sizes |= {f"{prefix}layer_norm{one}{leaf}": [32] for one in (1, 2)}
            sizes |= {f"{prefix}self_attn.{one}_proj{leaf}": [32, 32][: 1 + linear] for one in ("q", "k", "v", "out")}
            sizes |= {
                f"{prefix}mlp.fc1{leaf}": [64, 32][: 1 + linear],
                f"{prefix}mlp.fc2{leaf}": [32, 64][: 1 + linear],
            }
        sizes |= {f"multi_modal_projector.linear_1{leaf}": [256, 32][: 1 + linear]}
        sizes |= {f"multi_modal_projector.linear_2{leaf}": [256, 256][: 1 + linear]}
    text = {f"language_model.{key}": one for key, one in llama().items()}
    return {key: ("BF16", size) for key, size in sizes.items()} | text


def tensors_of(shapes: Shapes) -> list[TensorInfo]:
    """As read_header gives them."""
    return [
        TensorInfo(name, dtype, tuple(shape), prod(shape) * DTYPE_BITS[dtype] // 8)
        for name, (dtype, shape) in shapes.items()
    ]


def sized(shapes: Shapes) -> dict[str, tuple[str, list[int], int]]:
    """As tests.hub_server writes them."""
    return {one.name: (one.dtype, list(one.shape), one.nbytes) for one in tensors_of(shapes)}
