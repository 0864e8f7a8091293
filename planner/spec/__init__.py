"""What a person asks for: the spec, its text, and every problem in it at once."""

from planner.spec.schema import Spec

__all__ = ["Spec"]
