"""Start vLLM for each job of a file and write down what it says and does. Runs on the GPU host.

    python runner.py JOBS.json OUT

Needs nothing but vLLM. Each job is a process of its own, forked after vLLM's import, which takes longer than some
starts. OUT gets NAME.jsonl (events) and NAME.log (the engine's log) for each job. A job:

    name, config (config.json as a mapping) or model (a folder or repository), hf_quant_config, words (arguments of
    `vllm serve`), env, timeout_s, loads: [{requests, in_flight, input_tokens, output_tokens, runs, prompts}]
    api: "engine" drives the engine step by step as a server does, "generate" calls LLM.generate
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FIRST_ID = 10  # token ids of made-up prompts: past the special ones
SLOW_IMPORTS = (  # done once, before the forks
    "vllm.v1.engine.core",
    "vllm.v1.engine.llm_engine",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.worker.gpu_worker",
    "vllm.v1.worker.gpu_model_runner",
    "vllm.v1.worker.gpu.model_runner",
    "vllm.model_executor.models.llama",
)
WARM_UP_TOKENS = 8


def main(jobs_file: str, out: str) -> None:
    """Run the jobs one after another."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the engine ends with us
    folder, jobs = Path(out), json.loads(Path(jobs_file).read_text())
    folder.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE))  # for --worker-cls, here and in the engine's own processes
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    started = time.monotonic()
    for name in SLOW_IMPORTS:
        with suppress(ImportError):
            importlib.import_module(name)
    say(f"import {time.monotonic() - started:.1f}")
    for job in jobs:
        took = time.monotonic()
        end = run_apart(job, folder)
        say(f"{job['name']} {end} {time.monotonic() - took:.1f}")


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run_apart(job: dict[str, Any], folder: Path) -> str:
    """The job in a child with a process group of its own; "done", "failed" or "timeout"."""
    events, log = folder / f"{job['name']}.jsonl", folder / f"{job['name']}.log"
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.environ.update({"GPUPLAN_EVENTS": str(events), **job.get("env", {})})
        code = 0
        try:
            run(job, folder)
        except BaseException as error:
            code = 1
            traceback.print_exc()
            record("error", words=f"{type(error).__name__}: {error}"[:1000])
        sys.stdout.flush()
        os._exit(code)
    status = None
    try:
        status = wait(child, job.get("timeout_s", 600))
    finally:
        with suppress(OSError):
            os.killpg(child, signal.SIGKILL)  # it, or workers that outlived their engine
        if status is None:
            os.waitpid(child, 0)
    if status is None:
        return "timeout"
    return "done" if status == 0 else "failed"


def wait(child: int, timeout_s: float) -> int | None:
    """Its exit status, None after the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.2)
    return None


def record(event: str, **values: Any) -> None:
    """Append one event."""
    with Path(os.environ["GPUPLAN_EVENTS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event": event, **values}) + "\n")


def run(job: dict[str, Any], folder: Path) -> None:
    """Start the engine, then time its loads."""
    import torch
    import vllm

    gpu, driver = nvidia_smi()
    record("host", engine_version=vllm.__version__, torch=torch.__version__, device=gpu, driver=driver)
    words = [*job["words"], *model_words(job, folder)]
    if gpu and "--worker-cls" not in words:
        words += ["--worker-cls", "recording_worker.RecordingWorker"]
    started = time.monotonic()
    engine = start(words, job.get("api", "engine"))
    record("started", seconds=time.monotonic() - started)
    settings = engine_of(engine).vllm_config
    record(
        "settings",
        dtype=str(settings.model_config.dtype).removeprefix("torch."),
        quantization=settings.model_config.quantization,
        max_model_len=settings.model_config.max_model_len,
        max_num_seqs=settings.scheduler_config.max_num_seqs,
        max_num_batched_tokens=settings.scheduler_config.max_num_batched_tokens,
        block_size=settings.cache_config.block_size,
        kv_cache_dtype=str(settings.cache_config.cache_dtype),
        tensor_parallel_size=settings.parallel_config.tensor_parallel_size,
        pipeline_parallel_size=settings.parallel_config.pipeline_parallel_size,
        gpu_memory_utilization=settings.cache_config.gpu_memory_utilization,
        enforce_eager=bool(settings.model_config.enforce_eager),
    )
    for load in job.get("loads", []):
        drive(engine, {**load, "output_tokens": min(load["output_tokens"], WARM_UP_TOKENS)})  # compiles late kernels
        for _ in range(load.get("runs", 1)):
            record("load", load={**load, "prompts": None}, **drive(engine, load))
    record("end")


def model_words(job: dict[str, Any], folder: Path) -> list[str]:
    """--model and, where only config.json is at hand, random weights and no tokenizer."""
    if "config" not in job:
        return ["--model", job["model"]]
    model = folder / job["name"]
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps(job["config"]))
    if job.get("hf_quant_config"):
        (model / "hf_quant_config.json").write_text(json.dumps(job["hf_quant_config"]))
    return ["--model", str(model), "--load-format", "dummy", "--skip-tokenizer-init"]


def start(words: list[str], api: str) -> Any:
    """The engine with these arguments of `vllm serve`; those of the HTTP server alone are passed over."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parsed, _ = EngineArgs.add_cli_args(FlexibleArgumentParser()).parse_known_args(words)
    arguments = EngineArgs.from_cli_args(parsed)
    if api == "generate":
        from vllm import LLM

        return LLM.from_engine_args(arguments)
    from vllm.v1.engine.llm_engine import LLMEngine

    # the server's context: its defaults are not those of LLM()
    return LLMEngine.from_engine_args(arguments, usage_context=UsageContext.OPENAI_API_SERVER)


def engine_of(engine: Any) -> Any:
    """The engine behind an LLM, or the engine itself."""
    return getattr(engine, "llm_engine", engine)


def drive(engine: Any, load: dict[str, Any]) -> dict[str, Any]:
    """Seconds and tokens of one load: a burst, or a closed loop of ``in_flight`` requests."""
    from vllm import SamplingParams

    prompts: list[Any] = load.get("prompts") or made_up(load["requests"], load["input_tokens"], vocabulary(engine))

    def params(share: float = 1.0) -> Any:
        tokens = max(2, round(load["output_tokens"] * share))
        return SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=not load.get("prompts"))

    if hasattr(engine, "generate"):
        started = time.perf_counter()
        outputs = engine.generate(prompts, params(), use_tqdm=False)
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "input_tokens": sum(len(output.prompt_token_ids) for output in outputs),
            "output_tokens": sum(len(output.outputs[0].token_ids) for output in outputs),
        }
    in_flight = load.get("in_flight") or len(prompts)
    return step_through(engine, prompts, params, in_flight)


def step_through(engine: Any, prompts: list[Any], params: Any, in_flight: int) -> dict[str, Any]:
    """Add a request whenever one ends; times of first and last tokens as they come out of the engine.

    A closed loop is timed as if it had long run: the first requests get answers of every length up to the whole, so
    that they do not all end at once, and the clock runs from when they have begun until the last one is added.
    """
    closed_loop, waiting = in_flight < len(prompts), list(enumerate(prompts))
    run_id, started = time.monotonic_ns(), time.perf_counter()
    requests: dict[str, Request] = {}
    running: set[str] = set()
    marks = [] if closed_loop else [(started, 0)]  # when the clock starts and stops, with the tokens made by then
    while waiting or engine.has_unfinished_requests():
        while waiting and len(running) < in_flight:
            index, prompt = waiting.pop(0)
            first_ones = closed_loop and index < in_flight
            name = f"{run_id}-{index}"
            running.add(name)
            requests[name] = Request(time.perf_counter(), first_ones)
            engine.add_request(name, prompt, params((index + 1) / in_flight if first_ones else 1.0))
        if closed_loop and not waiting and len(marks) == 1:
            marks.append(mark(requests))
        for output in engine.step():
            requests[output.request_id].take(len(output.outputs[0].token_ids), time.perf_counter())
            if output.finished:
                running.discard(output.request_id)
        if not marks and all(request.tokens for request in requests.values() if request.first_ones):
            marks.append(mark(requests))
    (start, before), (end, after) = [*marks, mark(requests)][:2]
    timed = [request for request in requests.values() if not request.first_ones]
    return {
        "seconds": end - start,
        "output_tokens": after - before,
        "ttft_s": mean(request.began - request.added for request in timed if request.tokens),
        "tpot_s": mean(
            (request.ended - request.began) / (request.tokens - 1) for request in timed if request.tokens > 1
        ),
    }


def mark(requests: dict[str, Request]) -> tuple[float, int]:
    """Now, and the tokens made so far."""
    return time.perf_counter(), sum(request.tokens for request in requests.values())


class Request:
    """When a request was added, began to answer and ended, and its tokens so far."""

    def __init__(self, added: float, first_ones: bool) -> None:
        self.added, self.first_ones = added, first_ones
        self.began = self.ended = 0.0
        self.tokens = 0

    def take(self, tokens: int, now: float) -> None:
        """So many tokens in all, by now."""
        if tokens and not self.tokens:
            self.began = now
        self.tokens, self.ended = tokens, now


def mean(values: Any) -> float | None:
    """None of nothing."""
    found = list(values)
    return sum(found) / len(found) if found else None


def vocabulary(engine: Any) -> int:
    return int(engine_of(engine).vllm_config.model_config.get_vocab_size())


def made_up(requests: int, input_tokens: int, vocab_size: int) -> list[dict[str, list[int]]]:
    """Prompts of random token ids, so that no prefix is shared."""
    ids = random.Random(time.monotonic_ns())  # noqa: S311 - no secret
    return [
        {"prompt_token_ids": [ids.randrange(FIRST_ID, vocab_size) for _ in range(input_tokens)]}
        for _ in range(requests)
    ]


def nvidia_smi() -> tuple[str | None, str | None]:
    """The first GPU's name and the driver's version; None without an NVIDIA GPU."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None, None
    name, driver = text.splitlines()[0].split(", ")
    return name, driver


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
