"""MobileNet V5, timm's encoder of images in Gemma 3n: its blocks are in timm's code, not in config.json.

timm/models/mobilenetv5.py _gen_mobilenet_v5 (mobilenetv5_300m_enc); every tensor is whole on every rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.errors import UnknownArchitectureError
from planner.model.architectures.blocks import norm
from planner.model.architectures.towers import under
from planner.model.facts import Parameter

if TYPE_CHECKING:
    from planner.model.architectures.blocks import Modules
    from planner.model.architectures.reading import Config

KNOWN = "mobilenetv5_300m_enc"
STEM = 64
EDGE = ((64, 256, 128), (128, 512, 128), (128, 512, 128))  # width in, inside, out of the first stage's blocks
HEAD_DIMS = {640: 64, 1280: 96}  # of the multi-query attention, by width; the first keeps smaller keys by convolution
QUERY_HEADS = {640: 12, 1280: 16}
FUSION = (1920, 3840)  # of the features of the last two stages: width in, inside


def mobilenet_v5(vision: Config) -> Modules:
    """All tensors of the encoder; UnknownArchitectureError where the checkpoint names another."""
    if vision["architecture"] != KNOWN:
        raise UnknownArchitectureError(
            f"vision_config: architecture {vision['architecture']} is not known; known is {KNOWN}. Its weights cannot "
            f"be counted. To add it, describe timm's blocks of it in planner/model/architectures/mobilenet.py."
        )
    name, width = "vision_tower.timm_model", vision["hidden_size"]
    fused, inner = FUSION
    blocks = (*(_edge(*widths) for widths in EDGE), *_second_stage(), *_third_stage(), *_fourth_stage())
    return (
        Parameter(f"{name}.conv_stem.conv.weight", (STEM, 3, 3, 3)),
        Parameter(f"{name}.conv_stem.conv.bias", (STEM,)),
        *norm(f"{name}.conv_stem.bn", STEM),
        *(module for block in blocks for module in under(f"{name}.blocks.0", block)),
        *_pointwise(f"{name}.msfa.ffn.pw_exp", fused, inner),
        *_pointwise(f"{name}.msfa.ffn.pw_proj", inner, width),
        *norm(f"{name}.msfa.norm", width),
    )


def _second_stage() -> list[Modules]:
    first = _inverted(128, 768, 256, start=3, middle=5)
    return [first, *(_inverted(256, 1024, 256, start=kernel) for kernel in (5, 3, 5, 3))]


def _third_stage() -> list[Modules]:
    first = _inverted(256, 1536, 640, start=5, middle=5)
    pairs = [block for _ in range(14) for block in (_attention(640, smaller_keys=True), _inverted(640, 1280, 640))]
    return [first, *([_inverted(640, 2560, 640, start=5)] * 7), _inverted(640, 640, 640), *pairs]


def _fourth_stage() -> list[Modules]:
    pairs = [block for _ in range(19) for block in (_attention(1280), _inverted(1280, 2560, 1280))]
    return [_inverted(640, 3840, 1280, start=5, middle=5), *pairs]


def _edge(width: int, inner: int, out: int) -> Modules:
    """EdgeResidual: a full convolution, then a pointwise one."""
    return (
        Parameter("conv_exp.weight", (inner, width, 3, 3)),
        *norm("bn1", inner),
        Parameter("conv_pwl.weight", (out, inner, 1, 1)),
        *norm("bn2", out),
    )


def _inverted(width: int, inner: int, out: int, start: int = 0, middle: int = 0) -> Modules:
    """UniversalInvertedResidual; ``start``, ``middle``: kernels of its depthwise convolutions, 0 without one."""
    return (
        *(_depthwise("dw_start", width, start) if start else ()),
        *_pointwise("pw_exp", width, inner),
        *(_depthwise("dw_mid", inner, middle) if middle else ()),
        *_pointwise("pw_proj", inner, out),
        Parameter("layer_scale.gamma", (out,)),
    )


def _depthwise(name: str, width: int, kernel: int) -> Modules:
    return (Parameter(f"{name}.conv.weight", (width, 1, kernel, kernel)), *norm(f"{name}.bn", width))


def _pointwise(name: str, width: int, out: int) -> Modules:
    return (Parameter(f"{name}.conv.weight", (out, width, 1, 1)), *norm(f"{name}.bn", out))


def _attention(width: int, *, smaller_keys: bool = False) -> Modules:
    """MobileAttention: many queries, one key and one value."""
    head_dim = HEAD_DIMS[width]
    queries = QUERY_HEADS[width] * head_dim
    smaller = tuple(
        module
        for name in ("key", "value")
        for module in (Parameter(f"attn.{name}.down_conv.weight", (width, 1, 3, 3)), *norm(f"attn.{name}.norm", width))
    )
    return (
        *norm("norm", width),
        Parameter("attn.query.proj.weight", (queries, width, 1, 1)),
        *(smaller if smaller_keys else ()),
        Parameter("attn.key.proj.weight", (head_dim, width, 1, 1)),
        Parameter("attn.value.proj.weight", (head_dim, width, 1, 1)),
        Parameter("attn.output.proj.weight", (width, queries, 1, 1)),
        Parameter("layer_scale.gamma", (width,)),
    )
