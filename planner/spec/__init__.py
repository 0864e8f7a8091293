"""What a person asks for: the spec, its text, and every problem in it at once."""

from planner.spec.parse import load_spec, parse_spec
from planner.spec.schema import Spec

__all__ = ["Spec", "load_spec", "parse_spec"]
