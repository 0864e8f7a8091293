"""Bytes on each GPU: weights, KV cache, activations, CUDA graphs, and vLLM's account of them."""
