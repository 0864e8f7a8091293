"""What a person asks for: the spec, its text, and every problem in it at once."""

from planner.spec.dump import dump_spec, spec_values
from planner.spec.parse import load_spec, parse_spec
from planner.spec.schema import Spec

__all__ = ["Spec", "dump_spec", "load_spec", "parse_spec", "spec_values"]
