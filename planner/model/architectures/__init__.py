"""One small function per family: config.json in, ModelFacts out. ARCHITECTURES maps vLLM's class names to them."""
