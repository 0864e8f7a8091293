"""Validity: one function per rule, cheapest first. Each is (facts, candidate, engine) -> Refusal or None."""
