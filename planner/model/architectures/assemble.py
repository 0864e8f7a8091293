"""From layers to ModelFacts: embedding, head, final norm and everything that families share."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from planner.model.architectures.blocks import norm
from planner.model.architectures.reading import checkpoint_dtype, is_tied, optional, required, text_config
from planner.model.facts import Embedding, LayerRun, ModelFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config
    from planner.model.facts import Layer


# classes of vLLM that make an lm_head of their own whatever tie_word_embeddings says
NEVER_TIED = frozenset(
    (
        "AfmoeForCausalLM",
        "DeepseekForCausalLM",
        "DeepseekV2ForCausalLM",
        "DeepseekV32ForCausalLM",
        "DeepseekV3ForCausalLM",
        "DeepseekV4ForCausalLM",
        "Glm4MoeForCausalLM",
        "Glm4MoeLiteForCausalLM",
        "GlmMoeDsaForCausalLM",
        "GptOssForCausalLM",
        "JambaForCausalLM",
        "KimiK3ForConditionalGeneration",
        "KimiLinearForCausalLM",
        "LongcatFlashForCausalLM",
        "MiMoV2FlashForCausalLM",
        "MiMoV2ForCausalLM",
        "MiniMaxM2ForCausalLM",
        "MiniMaxM3SparseForCausalLM",
        "MiniMaxM3SparseForConditionalGeneration",
        "NemotronHForCausalLM",
        "OlmoeForCausalLM",
        "PhiMoEForCausalLM",
        "Qwen3NextForCausalLM",
    )
)


class Body(Struct, frozen=True):
    """What one family adds to the common shape. Names are the engine's."""

    tied: bool = False  # the class default of tie_word_embeddings
    final: Modules | None = None  # None: one RMSNorm
    embedding: Modules = ()  # beside the token table: positions, embedding norms
    embedding_name: str = "model.embed_tokens"
    lm_head_bias: bool = False
    lm_head_pad: int = 64
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    num_experts: int = 0
    vocab_size: int | None = None
    tower: Modules = ()
    flags: dict[str, Any] = field(default_factory=dict)  # further fields of ModelFacts


def assemble(config: Config, layers: Sequence[Layer], body: Body) -> ModelFacts:
    """ModelFacts of one checkpoint; the lengths and the quantization are filled in by make_facts."""
    text = text_config(config)
    hidden_size = required(text, "hidden_size", "n_embd", "d_model")
    vocab_size = body.vocab_size or required(text, "vocab_size")
    heads = body.heads or required(text, "num_attention_heads", "n_head", "n_heads")
    architecture = str((config.get("architectures") or ["?"])[0])
    tied = is_tied(config, body.tied) and architecture not in NEVER_TIED
    head = Embedding("lm_head", vocab_size, hidden_size, body.lm_head_bias, pad_to=body.lm_head_pad, quantizable=True)
    return ModelFacts(
        architecture=architecture,
        model_type=str(text.get("model_type") or config.get("model_type") or ""),
        dtype=checkpoint_dtype(config),
        hidden_size=hidden_size,
        num_attention_heads=heads,
        num_key_value_heads=body.kv_heads or optional(text, "num_key_value_heads", default=heads),
        head_dim=body.head_dim or optional(text, "head_dim", default=hidden_size // heads),
        intermediate_size=optional(text, "intermediate_size", "n_inner", "ffn_dim", default=4 * hidden_size),
        vocab_size=vocab_size,
        max_model_len=0,
        layers=tuple(LayerRun(layer, len(list(run))) for layer, run in groupby(layers)),
        embedding=(Embedding(body.embedding_name, vocab_size, hidden_size), *body.embedding),
        lm_head=() if tied else (head,),
        final=norm("model.norm", hidden_size) if body.final is None else body.final,
        tied_embedding=tied,
        num_experts=body.num_experts,
        tower=body.tower,
        is_multimodal=bool(body.tower),
        **body.flags,
    )
