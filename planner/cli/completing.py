"""What a shell offers while a command is typed: specs, models, GPUs, and keys of the spec with their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from click import Context, Parameter
    from click.shell_completion import CompletionItem


def complete_specs(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """Files of this folder, and the catalogue's models once two letters stand there."""
    from click.shell_completion import CompletionItem

    files = [CompletionItem(incomplete, type="file")]
    return files + (complete_models(ctx, param, incomplete) if len(incomplete) > 1 else [])


def complete_models(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's signature
    """The catalogue's models, by any case of their beginning."""
    from planner.catalog import load_catalog

    return _items(load_catalog().model_names(), incomplete)


def complete_gpus(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """GPUs; after a colon, the counts that are sold."""
    from planner.catalog import load_catalog

    offers = load_catalog().offers
    gpu, colon, _ = incomplete.partition(":")
    if colon and gpu in offers:
        return _items([f"{gpu}:{count}" for count in offers[gpu].counts_sold], incomplete)
    return _items(offers, incomplete)


def complete_overrides(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Keys of the spec as key=, then the values that a key may have."""
    key, equals, _ = incomplete.partition("=")
    if not equals:
        return _items([f"{path}=" for path, _ in _leaves()], incomplete)
    return _items([f"{key}={choice}" for choice in _values(key)], incomplete)


def complete_targets(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Where a plan may run."""
    return _items(_values("target"), incomplete)


def _leaves() -> Iterator[tuple[str, dict[str, object]]]:
    """Every key that holds a value, with the JSON Schema of the value."""
    from planner.spec.keys import SPEC
    from planner.spec.sections import every_key

    for path, entry in every_key(SPEC):
        kind = entry.kind
        if not kind.section:
            yield path, dict(kind.json_schema)


def _values(key: str) -> list[str]:
    if key == "gpu.types":
        from planner.catalog import load_catalog

        return [f"[{name}]" for name in load_catalog().offers]
    if key == "model.repo":
        from planner.catalog import load_catalog

        return list(load_catalog().model_names())
    schema = dict(_leaves()).get(key, {})
    words = schema.get("enum", ["true", "false"] if schema.get("type") == "boolean" else [])
    return [str(word) for word in words] if isinstance(words, list) else []


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in names if name.lower().startswith(incomplete.lower())]
