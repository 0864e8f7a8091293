"""What measurements call their GPUs, models and number formats, as the catalogue's own rows.

Raises ValueError, in words, where the catalogue has no such GPU or model or the format has no meaning.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.catalog import load_catalog
from planner.model.architectures import make_facts

if TYPE_CHECKING:
    from planner.catalog import Catalog, Gpu
    from planner.model.facts import ModelFacts
    from planner.model.identity import Checkpoint

# Names that measurements use, where they are not the catalogue's own.
GPUS = {"H20-3e": "H20-141GB", "RTX A6000": "A6000", "V100 SXM2 16/32GB": "V100-32GB", "V100": "V100-32GB"}
MODELS = {
    "Llama-2-7b": "meta-llama/Llama-2-7b-chat-hf",
    "Llama-2-13b": "meta-llama/Llama-2-13b-hf",
    "Llama-2-70b": "meta-llama/Llama-2-70b-hf",
    "Llama-2-70b-chat": "meta-llama/Llama-2-70b-hf",
    "Llama-3-8B": "meta-llama/Llama-3.1-8B-Instruct",
    "Llama-3-70B": "meta-llama/Llama-3.1-70B-Instruct",
    "Llama-3-405B": "meta-llama/Llama-3.1-405B",
    "Mistral-7B": "mistralai/Mistral-7B-Instruct-v0.3",
    "Mixtral-8x7B": "mistralai/Mixtral-8x7B-Instruct-v0.1",
}
# What a dtype column stands for, as a checkpoint publishes it. Sixteen bits are the engine's dtype alone.
MODELOPT = {"quant_method": "modelopt", "exclude_modules": ["lm_head"]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
EIGHT_BITS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
COMPRESSED = {"quant_method": "compressed-tensors", "ignore": ["lm_head"]}
QUANTIZATIONS: dict[str, dict[str, Any]] = {
    "fp8": {**MODELOPT, "quant_algo": "FP8"},
    "fp4": {**MODELOPT, "quant_algo": "NVFP4"},
    "nvfp4": {**MODELOPT, "quant_algo": "NVFP4"},
    "w8a8": {
        **COMPRESSED,
        "format": "int-quantized",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": EIGHT_BITS,
                "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
            }
        },
    },
    "w8a16": {
        **COMPRESSED,
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": EIGHT_BITS}},
    },
    "w4a16": GPTQ,
    "gptq": GPTQ,
    "gptq4": GPTQ,
    "int4": GPTQ,
    "awq": AWQ,
    "awq4": AWQ,
}
QUANTIZATIONS["int8"] = QUANTIZATIONS["w8a8"]
AS_PUBLISHED = frozenset({"auto", "mxfp4"})  # the checkpoint itself is published in it
SIXTEEN_BITS = {"fp16": "float16", "float16": "float16", "bf16": "bfloat16", "bfloat16": "bfloat16"}


@lru_cache(maxsize=1)
def _catalog() -> Catalog:
    return load_catalog()


def find_gpu(name: str) -> Gpu:
    """The catalogue's GPU behind a measurement's name: "A10G", "RTX4090", "NVIDIA H100 80GB HBM3", "A100-80GB SXM"."""
    known = _gpu_names()
    boardless = re.sub(r"\b(sxm\d?|hbm\de?)\b", "", name, flags=re.IGNORECASE)
    sizeless = re.sub(r"\b\d+ ?gb\b", "", boardless, flags=re.IGNORECASE)
    for spelled in (GPUS.get(name, name), boardless, sizeless):
        if row := known.get(_letters(spelled)):
            return _catalog().gpus[row]
    raise ValueError(f"the catalogue has no GPU {name!r}")


@lru_cache(maxsize=1)
def _gpu_names() -> dict[str, str]:
    """Names without marks, of devices, of what is sold and of rows; a row's own name wins."""
    catalog = _catalog()
    sold = {_letters(offer.gpu): offer.planned_as for offer in catalog.offers.values()}
    devices = {_letters(gpu.device_name): gpu.name for gpu in catalog.gpus.values()}
    return {**devices, **sold, **{_letters(name): name for name in catalog.gpus}}


def _letters(name: str) -> str:
    return re.sub(r"nvidia|geforce|tesla|amd instinct|server edition|blackwell( server)?|[^a-z0-9]", "", name.lower())


@lru_cache(maxsize=256)
def find_facts(model: str, dtype: str) -> ModelFacts:
    """Facts of a model in a format; a checkpoint published in that format keeps its own."""
    checkpoint = _catalog().find_model(find_repo(model))
    if checkpoint is None:
        raise ValueError(f"the catalogue has no model {model!r}")
    if dtype in AS_PUBLISHED or dtype in _published(checkpoint):
        return make_facts(checkpoint)
    config = dict(checkpoint.config)
    config.pop("quantization_config", None)
    if dtype in QUANTIZATIONS:
        config["quantization_config"] = QUANTIZATIONS[dtype]
    elif dtype not in SIXTEEN_BITS:
        known = ", ".join(sorted({*QUANTIZATIONS, *SIXTEEN_BITS, *AS_PUBLISHED}))
        raise ValueError(f"no format {dtype!r}; known are {known}")
    return make_facts(replace(checkpoint, config=config, hf_quant_config=None))


def _published(checkpoint: Checkpoint) -> frozenset[str]:
    """The formats that a quantized checkpoint is already in."""
    own = checkpoint.config.get("quantization_config") or {}
    stated = (checkpoint.hf_quant_config or {}).get("quantization", {}).get("quant_algo") or own.get("quant_algo")
    method = {"FP8": "fp8", "NVFP4": "nvfp4"}.get(str(stated), own.get("quant_method"))
    alike = {"fp8": {"fp8"}, "nvfp4": {"nvfp4", "fp4"}, "awq": {"awq", "awq4"}, "gptq": {"gptq", "gptq4"}}
    return frozenset(alike.get(str(method), ()))


def find_repo(model: str) -> str:
    """org/name as it is, a known short name, or the one repository of the catalogue that is called so."""
    names = _catalog().model_names()
    for name in (model, model.removesuffix("-chat"), model.removesuffix("-Instruct")):
        if name in MODELS or name in names:
            return MODELS.get(name, name)
    wanted = plain_name(model)
    alike = [repo for repo in names if plain_name(repo) == wanted]
    if not alike:
        raise ValueError(f"the catalogue has no model {model!r}")
    return str(min(alike, key=len))


def plain_name(repo: str) -> str:
    """A name without organization and without what says how it was tuned."""
    name = repo.rsplit("/", 1)[-1].lower()
    return re.sub(r"^meta-|-(instruct|chat|hf|it|v0\.\d)\b|[^a-z0-9.]", "", name)
