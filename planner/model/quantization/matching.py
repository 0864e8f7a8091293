"""Which modules a checkpoint leaves alone: each method's own matching of names, as vLLM does it.

Fused modules (qkv_proj, gate_up_proj) are looked up by the checkpoint's names of their parts; the engine demands one
answer for all parts, and the first part's is taken here.
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from planner.model.quantization.quantization import ModuleKind, Quantization, Rule
    from planner.model.quantization.scheme import Scheme

    Matcher = Callable[[Quantization, str, ModuleKind, tuple[str, ...]], Scheme | None]

REGEX_SIGNS = "*+?^$()[]{}|\\"  # what makes an entry of AutoRound's extra_config a pattern
# Names that a checkpoint may give the routed experts' projections (FusedMoE's expert_mapping).
EXPERT_PARTS = ("0.gate_proj", "0.w1", "0.up_proj", "0.down_proj")


def patterns(quantization: Quantization) -> tuple[str, ...]:
    """Every regular expression that the checkpoint's matching will search names with."""
    targets = tuple(rule.target for rule in quantization.rules)
    if quantization.matching == "gptq":
        return targets
    if quantization.matching == "auto_round":
        return tuple(target for target in targets if any(sign in target for sign in REGEX_SIGNS))
    if quantization.matching == "targets":
        return tuple(name[3:] for name in (*quantization.ignored, *targets) if name.startswith("re:"))
    return ()


def part_prefixes(prefix: str, parts: tuple[str, ...]) -> tuple[str, ...]:
    """The checkpoint's full names of a fused module's parts; the module's own name where nothing is fused."""
    parent = prefix.rpartition(".")[0]
    return tuple(f"{parent}.{part}" if parent else part for part in parts if part) or (prefix,)


def match_uniform(quantization: Quantization, prefix: str, kind: ModuleKind, parts: tuple[str, ...]) -> Scheme | None:
    """Every module of a kind alike: unquantized checkpoints, MXFP4 experts, FP8 at load."""
    del prefix, parts
    return quantization.schemes.get(kind)


def match_exact(quantization: Quantization, prefix: str, kind: ModuleKind, parts: tuple[str, ...]) -> Scheme | None:
    """FP8 and kin: full names (quant_utils.is_layer_skipped, match_mode="exact")."""
    return None if is_skipped_exactly(quantization.ignored, prefix, parts) else quantization.schemes.get(kind)


def is_skipped_exactly(ignored: tuple[str, ...], prefix: str, parts: tuple[str, ...]) -> bool:
    """vllm quant_utils.is_layer_skipped with match_mode "exact"."""
    if prefix in ignored:
        return True
    if parts and parts != (prefix.rpartition(".")[2],):
        return part_prefixes(prefix, parts)[0] in ignored
    return "experts" in prefix and any(prefix in name for name in _naming_experts(ignored))


@lru_cache(maxsize=64)
def _naming_experts(ignored: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in ignored if "experts" in name)


def match_substring(quantization: Quantization, prefix: str, kind: ModuleKind, parts: tuple[str, ...]) -> Scheme | None:
    """AWQ: any entry that is contained in the name (match_mode="substring")."""
    names = (prefix, part_prefixes(prefix, parts)[0])
    skipped = any(entry in name for entry in quantization.ignored for name in names)
    return None if skipped else quantization.schemes.get(kind)


def match_gptq(quantization: Quantization, prefix: str, kind: ModuleKind, parts: tuple[str, ...]) -> Scheme | None:
    """GPTQ: modules_in_block_to_quantize and the ``dynamic`` rules (gptq_utils.get_dynamic_override)."""
    default = quantization.schemes.get(kind)
    if default is None:
        return None
    listed = quantization.quantized_modules
    name = part_prefixes(prefix, parts)[0]
    if kind != "experts" and listed and not any(entry in name for entry in listed):
        return None
    for rule in quantization.rules:
        if re.match(rule.target, prefix):
            return rule.scheme
    return default


def match_auto_round(
    quantization: Quantization, prefix: str, kind: ModuleKind, parts: tuple[str, ...]
) -> Scheme | None:
    """AutoRound: ``extra_config`` by name, by the name's end or by pattern, then block_name_to_quantize."""
    names = (prefix, *part_prefixes(prefix, parts))
    for rule in quantization.rules:
        if any(_is_named(name, rule.target) for name in names):
            return rule.scheme
        if kind == "experts" and rule.target.startswith(f"{prefix}."):
            return rule.scheme
    blocks = quantization.quantized_modules
    return quantization.schemes.get(kind) if not blocks or prefix.startswith(blocks) else None


def _is_named(name: str, target: str) -> bool:
    if any(sign in target for sign in REGEX_SIGNS):
        return re.search(target, name) is not None
    return name == target or name.endswith(f".{target}")


def match_targets(quantization: Quantization, prefix: str, kind: ModuleKind, parts: tuple[str, ...]) -> Scheme | None:
    """compressed-tensors: ``ignore``, then the first target by name, by parts, by class (get_scheme_dict)."""
    names = [prefix, *part_prefixes(prefix, parts)]
    if kind == "experts":
        names = [f"{prefix}.{part}" for part in EXPERT_PARTS] + names
    ignored = quantization.ignored
    if any(is_equal_or_regex_match(name, entry) for name in names[:2] for entry in ignored):
        return None
    by_name = first_rule(quantization.rules, names, is_equal_or_regex_match)
    if by_name is not None:
        return by_name.scheme
    classes = ("Linear",) if kind != "head" else ("ParallelLMHead",)
    by_class = first_rule(quantization.rules, classes, is_class_match)
    return by_class.scheme if by_class else None


def first_rule(rules: Iterable[Rule], names: Iterable[str], matches: Callable[[str, str], bool]) -> Rule | None:
    """The first rule that fits the first name that any rule fits."""
    ordered = tuple(rules)
    return next((rule for name in names for rule in ordered if matches(name, rule.target)), None)


def is_equal_or_regex_match(name: str, target: str) -> bool:
    """compressed_tensors/utils.py: "re:" patterns match from the beginning, everything else whole."""
    if target.startswith("re:"):
        return re.match(target[3:], name) is not None
    return name == target


def is_class_match(class_name: str, target: str) -> bool:
    """A target that names a module class, e.g. "Linear"."""
    return target.lower() in class_name.lower() or is_equal_or_regex_match(class_name, target)


def match_wildcards(quantization: Quantization, prefix: str, kind: ModuleKind, parts: tuple[str, ...]) -> Scheme | None:
    """ModelOpt: exact names, contained names and fnmatch wildcards (ModelOptQuantConfigBase.is_layer_excluded)."""
    return None if is_excluded(quantization.ignored, prefix, parts) else quantization.schemes.get(kind)


def is_excluded(excluded: tuple[str, ...], prefix: str, parts: tuple[str, ...]) -> bool:
    """vllm modelopt.py ModelOptQuantConfigBase.is_layer_excluded, vision towers included."""
    if is_skipped_exactly(excluded, prefix, parts):
        return True
    if any(map(prefix.__contains__, excluded)):  # so is what the name without "language_model." contains
        return True
    beginnings, others = wildcards(excluded)
    if prefix.startswith(beginnings) or (others and others.fullmatch(prefix)):
        return True
    return any(tower in prefix for tower in ("vision_tower", "vision_model", "vit_large_projector"))


@lru_cache(maxsize=64)
def wildcards(excluded: tuple[str, ...]) -> tuple[tuple[str, ...], re.Pattern[str] | None]:
    """The shell wildcards of a list: what names begin with ("model.layers.0.self_attn*"), and one pattern for others.

    A list may have hundreds of beginnings, which would take longer to compile than to look at.
    """
    entries = [entry for entry in excluded if "*" in entry]
    beginnings = [entry for entry in entries if not any(sign in entry[:-1] for sign in "*?[") and entry[-1] == "*"]
    others = [translate(entry) for entry in entries if entry not in beginnings]
    return tuple(entry[:-1] for entry in beginnings), re.compile("|".join(others)) if others else None


def match_layers(quantization: Quantization, prefix: str, kind: ModuleKind, parts: tuple[str, ...]) -> Scheme | None:
    """ModelOpt MIXED_PRECISION: ``quantized_layers`` names what is quantized, and how (_resolve_quant_algo)."""
    if is_excluded(quantization.ignored, prefix, parts):
        return None
    candidates = path_variants(prefix)
    names = [*candidates, *(name for path in candidates for name in part_prefixes(path, parts))]
    if kind == "experts":
        names += [path.removesuffix(".experts") for path in candidates]
    return next((quantization.layers[name] for name in names if name in quantization.layers), None)


def path_variants(prefix: str) -> tuple[str, ...]:
    """The two orders of "language_model" and "model" that checkpoints use (_quantized_layer_prefix_candidates)."""
    if prefix.startswith("language_model.model."):
        return (prefix, "model.language_model." + prefix.removeprefix("language_model.model."))
    if prefix.startswith("model.language_model."):
        return (prefix, "language_model.model." + prefix.removeprefix("model.language_model."))
    return (prefix, "lm_head") if prefix.endswith(".lm_head") else (prefix,)


MATCHERS: Mapping[str, Matcher] = {
    "uniform": match_uniform,
    "exact": match_exact,
    "substring": match_substring,
    "gptq": match_gptq,
    "auto_round": match_auto_round,
    "targets": match_targets,
    "wildcards": match_wildcards,
    "layers": match_layers,
}


@lru_cache(maxsize=16384)
def scheme_for(quantization: Quantization, prefix: str, kind: ModuleKind, parts: tuple[str, ...] = ()) -> Scheme | None:
    """The scheme of the module with the engine's full ``prefix``, e.g. "model.layers.0.self_attn.qkv_proj".

    ``parts``: the checkpoint's names of what the engine fuses ("q_proj", "k_proj", "v_proj").
    None: the module stays unquantized.
    """
    return MATCHERS[quantization.matching](quantization, prefix, kind, parts)
