"""Spec: every key a person may write. Frozen; unknown keys are refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """One spec file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
