"""Which of vLLM's two model runners starts a model: they profile and sample differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.engine import V0_33

if TYPE_CHECKING:
    from planner.engine import EngineConfig
    from planner.model.facts import ModelFacts

# Mixture-of-experts classes that ran on the second runner before 0.33.0
# (vllm/config/vllm.py DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES, 0.25.0 and 0.26.0).
EARLY_V2_ARCHITECTURES = frozenset({"DeepseekV2ForCausalLM", "GraniteMoeForCausalLM", "Qwen2MoeForCausalLM"})


def uses_v2_runner(facts: ModelFacts, engine: EngineConfig) -> bool:
    """vllm/config/vllm.py VllmConfig.use_v2_model_runner: all models from 0.33.0, dense ones before."""
    if engine.rules >= V0_33:
        return True
    if any(cache.kind == "mamba" for run in facts.layers for cache in run.layer.caches):
        return False
    return not facts.num_experts or facts.architecture in EARLY_V2_ARCHITECTURES
