"""dump_spec: a Spec as YAML text that parses to the same Spec."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import yaml

from planner.spec.keys import SPEC
from planner.spec.kinds import read_otherwise
from planner.spec.source import TAG

if TYPE_CHECKING:
    from planner.spec.schema import Spec
    from planner.spec.sections import Keys


def spec_values(spec: Any, *, defaults: bool = False, keys: Keys = SPEC) -> dict[str, Any]:
    """The spec as plain values in the order of the reference; keys at their default only with ``defaults``."""
    values = {}
    for entry in keys:
        value = getattr(spec, entry.name)
        if entry.kind.section and value is not None:
            value = spec_values(value, defaults=defaults, keys=entry.kind.section)
            if not value and not (defaults or entry.default is None):
                continue
        elif not defaults and not entry.is_required and value == entry.default:
            continue
        values[entry.name] = _plain(value)
    return values


def dump_spec(spec: Spec, *, defaults: bool = False) -> str:
    """YAML text of the spec; ``parse_spec`` of it gives an equal spec."""
    text: str = yaml.dump(
        spec_values(spec, defaults=defaults), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000
    )
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


class _Dumper(yaml.SafeDumper):
    """Writes decimals as they are, without an exponent or a tag, and quotes what would be read as no text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's signature
        return True


def _represent_decimal(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    text = format(value, "f")
    return dumper.represent_scalar(f"{TAG}{'float' if '.' in text else 'int'}", text)


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(f"{TAG}str", value, style='"' if read_otherwise(value) else None)


_Dumper.add_representer(Decimal, _represent_decimal)
_Dumper.add_representer(str, _represent_text)
