"""What the runner uses of vLLM, with an engine that answers at once and says what a real one would log."""

__version__ = "0.33.0+stand-in"


class SamplingParams:
    def __init__(self, temperature, max_tokens, ignore_eos):
        self.temperature, self.max_tokens, self.ignore_eos = temperature, max_tokens, ignore_eos


class LLM:
    @classmethod
    def from_engine_args(cls, arguments):
        from vllm.v1.engine.llm_engine import LLMEngine

        made = cls()
        made.llm_engine = LLMEngine.from_engine_args(arguments)
        return made

    def generate(self, prompts, params, use_tqdm):
        from vllm.v1.engine.llm_engine import Output

        assert not use_tqdm
        return [Output("0", params.max_tokens, True, prompt) for prompt in prompts]
