"""parse_spec: YAML text to a Spec, or every problem in it at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from planner.spec.keys import SPEC
from planner.spec.node import Place
from planner.spec.overrides import with_overrides
from planner.spec.problems import Problems
from planner.spec.rules import RULES, unknown_gpus
from planner.spec.schema import Spec
from planner.spec.sections import read_section
from planner.spec.source import START, compose, label_of, read_source

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from planner.spec.node import Node


def load_spec(path: str, overrides: Sequence[str] = (), catalog_file: Path | None = None) -> Spec:
    """The spec in a file, or on standard input for "-". Raises SpecError with every problem."""
    return parse_spec(read_source(path), label_of(path), overrides, catalog_file)


def parse_spec(text: str, source: str, overrides: Sequence[str] = (), catalog_file: Path | None = None) -> Spec:
    """The spec that YAML ``text`` is, after ``overrides`` ("key=value"); ``source`` names it in messages.

    gpu.types may name what the catalogue and the user's own rows in ``catalog_file`` offer. Raises SpecError with every
    problem, each as ``source:line:column: key: what is wrong; what to type``.
    """
    problems = Problems()
    root = compose(text, source, problems)
    if root and root.is_null:
        problems.add(Place(source, 1, 1), "file", f"empty; type {START}, or run: gpuplan init")
    if root is None or root.is_null:
        raise problems.error()
    if isinstance(root.value, dict):  # what is no mapping is told at its own place
        root = with_overrides(root, overrides, problems)
    spec: Spec | None = read_section(Spec, SPEC, root, "", problems)
    if spec is not None:
        _apply_rules(spec, root, problems, catalog_file)
    if spec is None or problems:
        raise problems.error()
    return spec


def _apply_rules(spec: Spec, root: Node, problems: Problems, catalog_file: Path | None) -> None:
    found = [problem for keys, rule in RULES if not any(problems.touch(key) for key in keys) for problem in rule(spec)]
    if spec.gpu and spec.gpu.types:
        found += unknown_gpus(spec.gpu.types, _gpu_names(catalog_file, spec.target or "modal"))
    for key, message in found:
        problems.add(place_of(root, key), key, message)


def place_of(root: Node, key: str) -> Place:
    """Where a key's value stands; where it is left out, the nearest section that would hold it."""
    node = root
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key):
        if name and isinstance(node.value, dict) and name in node.value:
            node = node.value[name][1]
        elif index and isinstance(node.value, list):
            node = node.value[int(index)]
    return node.place


def _gpu_names(catalog_file: Path | None, target: str) -> Collection[str]:
    from planner.catalog import load_catalog

    return tuple(load_catalog(catalog_file, target).offers)
