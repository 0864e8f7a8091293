"""Which checkpoint is meant: the repository, the commit where it is known, and where the facts came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.model.tensor_runs import TensorRun

Source = Literal["hub", "path", "catalogue"]


class Checkpoint(Struct, frozen=True):
    """What was read about one checkpoint, before it is understood: config.json and what stands beside it."""

    repo: str
    source: Source
    config: Mapping[str, Any]
    revision: str | None = None  # 40-hex commit, None until resolved
    hf_quant_config: Mapping[str, Any] | None = None
    checkpoint_bytes: int | None = None  # bytes of the tensors; None when only config.json is known
    gated: bool = False
    warnings: tuple[str, ...] = ()
    tensors: tuple[TensorRun, ...] = ()  # of all safetensors headers; empty where none was read

    def __hash__(self) -> int:
        # config.json is a mapping and has no hash; what names the checkpoint is enough to find its facts again
        return hash((self.repo, self.source, self.revision))
