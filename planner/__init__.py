"""gpuplan: which GPUs will serve a model with vLLM, what they cost, and why the rest cannot."""

__version__ = "0.1.0"
