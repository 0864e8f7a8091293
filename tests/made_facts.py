"""Facts of catalogue models on catalogue GPUs, as tests ask for them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from planner.catalog import load_catalog
from planner.engine import resolve_engine
from planner.model.architectures import make_facts
from planner.spec import parse_spec

if TYPE_CHECKING:
    from planner.catalog import Catalog, Gpu
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts


@cache
def catalog() -> Catalog:
    return load_catalog()


@cache
def facts_of(repo: str) -> ModelFacts:
    checkpoint = catalog().find_model(repo)
    assert checkpoint is not None, repo
    return make_facts(checkpoint)


def gpu_of(name: str) -> Gpu:
    return catalog().gpus[name]


def engine_of(repo: str, gpu: str, *, tp: int = 1, pp: int = 1, version: str = "0.33.0", **engine: Any) -> EngineConfig:
    """The engine as it resolves for the model on the GPU; ``engine`` replaces fields of EngineConfig."""
    spec = parse_spec(f'{{name: t, model: {{repo: {repo}}}, engine: {{version: "{version}"}}}}', "test")
    resolved = resolve_engine(spec, facts_of(repo), gpu_of(gpu), tp, pp)
    return replace(resolved, **engine)
