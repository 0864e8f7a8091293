"""MXFP4 as its own method: gpt-oss and its kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.model.quantization.quantization import Quantization
from planner.model.quantization.scheme import MX_GROUP_SIZE, Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse_mxfp4(config: Mapping[str, Any]) -> Quantization:
    """vllm mxfp4.py: routed experts only, "MXFP4 linear layer is not implemented"."""
    method = "gpt_oss_mxfp4" if config.get("model_type") == "gpt_oss" else "mxfp4"
    experts = Scheme(method, "mxfp4", "group", bits=4, group_size=MX_GROUP_SIZE, weight_only=True)
    return Quantization(method, "uniform", {"experts": experts})
