"""An engine that gives each request one more token a step. The model's config may say: die, hang."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

LOG = """INFO Model loading took 12.55 GiB memory and 1.50 seconds
INFO torch.compile took 18.20 s in total
INFO GPU KV cache size: 235,632 tokens, Maximum concurrency for 4,096 tokens per request: 57.53x
INFO Graph capturing finished in 3 secs, took 0.69 GiB"""
MEMORY = {
    "total_bytes": 150109880320,
    "free_at_start_bytes": 149557477376,
    "requested_bytes": 138101089895,
    "model_loading_bytes": 13477945344,
    "peak_activation_bytes": 838865408,
    "non_torch_bytes": 241172480,
    "cuda_graph_bytes": 0,
    "available_kv_bytes": 123543106663,
}


class Output:
    def __init__(self, name, tokens, finished, prompt):
        self.request_id, self.finished = name, finished
        self.outputs = [SimpleNamespace(token_ids=[1] * tokens)]
        self.prompt_token_ids = prompt["prompt_token_ids"] if isinstance(prompt, dict) else prompt.split()


class LLMEngine:
    @classmethod
    def from_engine_args(cls, arguments, usage_context=None):
        assert usage_context in {None, "server"}
        config = json.loads((Path(arguments.parsed.model) / "config.json").read_text())
        if "die" in config:
            print(f"(EngineCore pid=7) ERROR core.py:1: {config['die']}", flush=True)
            raise RuntimeError("Engine core initialization failed. See root cause above.")
        if "hang" in config:
            time.sleep(600)
        note("memory", rank=0, **MEMORY)
        note("kv_cache", rank=0, num_blocks=14727, total_bytes=14727 * 8388608, groups=[])
        print(LOG, flush=True)
        return cls(config)

    def __init__(self, config):
        self.requests = {}
        self.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(
                dtype="torch.float16",
                quantization=None,
                max_model_len=4096,
                enforce_eager=False,
                get_vocab_size=lambda: config["vocab_size"],
            ),
            scheduler_config=SimpleNamespace(max_num_seqs=256, max_num_batched_tokens=8192),
            cache_config=SimpleNamespace(block_size=16, cache_dtype="auto", gpu_memory_utilization=0.92),
            parallel_config=SimpleNamespace(tensor_parallel_size=1, pipeline_parallel_size=1),
        )

    def has_unfinished_requests(self):
        return bool(self.requests)

    def add_request(self, name, prompt, params):
        self.requests[name] = [0, params.max_tokens, prompt]

    def step(self):
        outputs = []
        for name, request in list(self.requests.items()):
            request[0] += 1
            finished = request[0] == request[1]
            outputs.append(Output(name, request[0], finished, request[2]))
            if finished:
                del self.requests[name]
        return outputs


def note(event, **values):
    with Path(os.environ["GPUPLAN_EVENTS"]).open("a") as file:
        file.write(json.dumps({"event": event, **values}) + "\n")
