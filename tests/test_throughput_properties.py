"""Speed under any load: what more hardware, narrower numbers or longer answers must not turn round."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from planner.candidates import Candidate
from planner.measurements import Measurement
from planner.memory.kv_cache import plan_kv_cache, stage_layouts
from planner.throughput import Throughput, predict
from planner.throughput.constants import CONSTANTS
from planner.throughput.make_terms import captured_tokens, make_terms
from planner.throughput.rates import kv_bandwidth, read_s_per_byte
from planner.throughput.terms import ExpertTerm, prefill_launch_s, reduce_s, request_bytes
from planner.throughput.work import count_work
from planner.workload import Workload
from tests.made_facts import engine_of, facts_of, gpu_of

if TYPE_CHECKING:
    from planner.catalog import Gpu

DENSE, QUANTIZED, EXPERTS, FOUR_BITS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen2.5-7B-Instruct-AWQ",
    "Qwen/Qwen3-30B-A3B",
    "openai/gpt-oss-20b",
)
SOLD = ("L4", "A10", "L40S", "A100-40GB", "A100-80GB", "RTX-PRO-6000", "H100", "H200", "B200", "B300")
ROUNDING = 1 + 1e-9

loads = st.builds(
    Workload,
    concurrency=st.integers(1, 2000),
    input_tokens=st.integers(1, 8000),
    output_tokens=st.integers(1, 4000),
    requests=st.none() | st.integers(1, 5000),
)
gpus = st.sampled_from(SOLD)
repos = st.sampled_from((DENSE, QUANTIZED, EXPERTS, FOUR_BITS))


@lru_cache(maxsize=512)
def configured(repo: str, gpu: str, tp: int, pp: int, version: str = "0.33.0", **asked: Any) -> Any:
    """Facts, engine and KV cache of a configuration that is given 12 GiB for its cache, whether it fits or not."""
    dtype = "float16" if repo == QUANTIZED else "bfloat16"
    engine = engine_of(repo, gpu, tp=tp, pp=pp, version=version, **{"dtype": dtype, "max_num_seqs": 256} | asked)
    facts = facts_of(repo)
    layouts = stage_layouts(facts, gpu_of(gpu), engine, tp, pp)
    return facts, engine, plan_kv_cache(layouts, [12 * 2**30] * pp, engine)


def speed(
    repo: str,
    gpu: str | Gpu,
    load: Workload,
    tp: int = 1,
    pp: int = 1,
    measurements: tuple[Measurement, ...] = (),
    **asked: Any,
) -> Throughput:
    row = gpu_of(gpu) if isinstance(gpu, str) else gpu
    facts, engine, cache = configured(repo, row.name, tp, pp, **asked)
    return predict(facts, Candidate(row, None, tp * pp, tp, pp), engine, cache, load, measurements=measurements)


def rate(*asked: Any, **keys: Any) -> float:
    return speed(*asked, **keys).output_tokens_per_second


@given(repos, gpus, loads, st.sampled_from((1, 2, 8)))
def test_every_figure_is_positive_and_inside_its_interval(repo: str, gpu: str, load: Workload, count: int) -> None:
    found = speed(repo, gpu, load, count)
    assert 0 < found.low < found.output_tokens_per_second < found.high < float("inf")
    assert found.ttft_ms > 0
    assert found.tpot_ms > 0
    assert 0 < found.batch_size <= max(load.concurrency, load.requests or 0)


@pytest.mark.parametrize(
    "figure",
    ["memory_bandwidth_gbps", "bf16_tflops", "fp16_tflops", "fp8_tflops", "fp4_tflops", "link_gbps_per_direction"],
)
@given(repos, gpus, loads, st.floats(1.01, 8), st.sampled_from((1, 4)))
def test_a_better_data_sheet_is_never_slower(
    figure: str, repo: str, gpu: str, load: Workload, factor: float, count: int
) -> None:
    row = gpu_of(gpu)
    better = replace(row, **{figure: (getattr(row, figure) or 100) * factor})
    assert rate(repo, better, load, count) * ROUNDING >= rate(repo, row, load, count)


@given(repos, gpus, loads, st.floats(1.01, 4))
def test_more_multiprocessors_are_never_slower(repo: str, gpu: str, load: Workload, factor: float) -> None:
    row = gpu_of(gpu)
    better = replace(row, sms=round(row.sms * factor))
    assert rate(repo, better, load) * ROUNDING >= rate(repo, row, load)


@given(repos, gpus, loads, st.integers(1, 2000))
def test_a_longer_prompt_is_never_faster(repo: str, gpu: str, load: Workload, more: int) -> None:
    longer = replace(load, input_tokens=load.input_tokens + more)
    assert rate(repo, gpu, longer) <= rate(repo, gpu, load) * ROUNDING


@given(repos, gpus, loads, st.integers(1, 500))
def test_more_in_flight_is_never_less_in_all(repo: str, gpu: str, load: Workload, more: int) -> None:
    steady = replace(load, requests=None)
    wider = replace(steady, concurrency=steady.concurrency + more)
    assert rate(repo, gpu, wider) * ROUNDING >= rate(repo, gpu, steady)


@given(gpus, st.integers(1, 256), st.integers(1, 4000))
def test_wider_weights_never_decode_faster(gpu: str, concurrency: int, tokens: int) -> None:
    load = Workload(concurrency=concurrency, input_tokens=1, output_tokens=tokens)
    narrow, wide = (speed(DENSE, gpu, load, dtype=dtype) for dtype in ("bfloat16", "float32"))
    assert wide.tpot_ms * ROUNDING >= narrow.tpot_ms


@given(gpus, st.integers(1, 64), st.integers(64, 4000))
def test_a_narrower_cache_never_serves_less(gpu: str, concurrency: int, tokens: int) -> None:
    load = Workload(concurrency=concurrency, input_tokens=tokens, output_tokens=64)
    whole, half = (rate(DENSE, gpu, load, kv_cache_dtype=kind) for kind in ("bfloat16", "fp8"))
    assert half * ROUNDING >= whole


@pytest.mark.parametrize(("gpu", "share"), [("A10", 0.7), ("L40S", 1), ("H200", 0.7), ("RTX-PRO-6000", 1), ("B200", 1)])
def test_hopper_reads_an_fp8_cache_slower_per_byte(gpu: str, share: float) -> None:
    """Of 64 x 16,384 tokens (aiconfigurator, generation_attention_perf): H200 0.61 and 0.88, L40S 0.82 and 0.86."""
    half, whole = (kv_bandwidth(gpu_of(gpu), size, CONSTANTS) for size in (1, 2))
    assert half / whole == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("gpu", SOLD)
def test_four_bits_are_read_no_faster_per_byte_than_sixteen_and_faster_per_weight(gpu: str) -> None:
    row = gpu_of(gpu)
    four, sixteen = (read_s_per_byte(form, row, CONSTANTS) for form in ("int4_weight", "dense"))
    assert sixteen <= four < 4 * sixteen


def test_much_bandwidth_for_its_multiprocessors_does_not_speed_up_four_bits() -> None:
    """gpt-oss-120b on two GPUs, 64 in flight, 1,024 in and 8,192 out: H100 4,446 tok/s, H200 4,609 (vLLM 0.18.0)."""
    load = Workload(concurrency=64, input_tokens=1024, output_tokens=8192)
    h100, h200 = (rate(FOUR_BITS, gpu, load, 2, version="0.18.0") for gpu in ("H100", "H200"))
    assert 1 < h200 / h100 < 1.2
    assert gpu_of("H200").memory_bandwidth_gbps / gpu_of("H100").memory_bandwidth_gbps > 1.4


def test_the_sampler_of_0_2_is_faster() -> None:
    """Release tracker of vLLM 0.2.0 (issue 1089): up to 60 %."""
    load = Workload(concurrency=59, requests=59, input_tokens=45, output_tokens=350)
    before, after = (rate(DENSE, "A100-40GB", load, version=version) for version in ("0.1.3", "0.2.0"))
    assert 1.2 < after / before < 1.65


@pytest.mark.parametrize(("version", "marlin"), [("0.13.0", False), ("0.14.0", True)])
def test_marlin_came_to_turing_with_0_14(version: str, marlin: bool) -> None:
    load = Workload(concurrency=1, input_tokens=16, output_tokens=256)
    assert (rate(QUANTIZED, "T4", load, version=version) > 30) == marlin


splits = st.sampled_from(((1, 1), (4, 1), (1, 2), (2, 4), (1, 8)))


@given(repos, gpus, loads, splits, st.sampled_from(("0.1.3", "0.7.3", "0.10.0", "0.33.0")))
def test_a_steady_load_adds_up(repo: str, gpu: str, load: Workload, split: tuple[int, int], version: str) -> None:
    """As many as are in flight, each for its first token and the time of all others: Little's law."""
    steady = replace(load, requests=None)
    found = speed(repo, gpu, steady, *split, version=version)
    held_s = (found.ttft_ms + (steady.output_tokens - 1) * found.tpot_ms) / 1000
    assert found.output_tokens_per_second * held_s == pytest.approx(steady.concurrency * steady.output_tokens)


@given(repos, gpus, loads, splits)
def test_no_token_comes_before_its_weights_are_read(
    repo: str, gpu: str, load: Workload, split: tuple[int, int]
) -> None:
    """Each token passes every stage; what is not split over ranks, and experts, are left out."""
    found = speed(repo, gpu, load, *split)
    matrices = count_work(facts_of(repo), "float16" if repo == QUANTIZED else "bfloat16").matrices
    read = sum(part.nbytes for part in matrices if not part.copied) / split[0]
    assert found.tpot_ms * ROUNDING >= read / (gpu_of(gpu).memory_bandwidth_gbps * 1e9) * 1000


@given(repos, gpus, st.integers(1, 8000), st.integers(1, 4000), st.sampled_from((2, 4, 8)))
def test_stages_do_not_speed_up_a_lone_request(repo: str, gpu: str, tokens: int, answer: int, stages: int) -> None:
    """Its tokens meet all weights in turn; only a prompt of several passes has several stages at work."""
    load = Workload(concurrency=1, input_tokens=tokens, output_tokens=answer)
    one, several = (speed(repo, gpu, load, 1, pp, max_num_batched_tokens=8192) for pp in (1, stages))
    assert several.output_tokens_per_second <= one.output_tokens_per_second * ROUNDING
    assert several.ttft_ms * ROUNDING >= one.ttft_ms


@given(repos, gpus, st.integers(1, 256), st.integers(1, 8000), st.integers(2, 4000))
def test_one_that_comes_while_others_run_waits_longer(
    repo: str, gpu: str, concurrency: int, tokens: int, answer: int
) -> None:
    """For the step that runs, with async scheduling for the next as well, and behind prompts that came before."""
    alone, among = (
        speed(repo, gpu, Workload(concurrency=number, input_tokens=tokens, output_tokens=answer), 1)
        for number in (1, concurrency + 1)
    )
    assert among.ttft_ms >= alone.ttft_ms


def test_fp8_experts_paid_for_sorting_their_activations_on_hopper() -> None:
    """Few requests of Qwen3-235B in FP8 were slower than in 16 bits on Hopper (vllm-project/vllm issue 25540).

    Since 0.17.0 Triton's experts come first there (fused_moe/oracle/fp8.py _get_priority_backends).
    """
    load = Workload(concurrency=1, input_tokens=128, output_tokens=512)
    fp8 = f"{EXPERTS}-FP8"
    before, after = (rate(fp8, "H100", load, dtype="bfloat16", version=version) for version in ("0.16.0", "0.17.0"))
    assert before < rate(EXPERTS, "H100", load, version="0.16.0")
    assert after > 1.2 * before
    assert rate(fp8, "B200", load, dtype="bfloat16", version="0.16.0") > 1.2 * after


def test_a_norm_over_divided_heads_is_one_more_all_reduce() -> None:
    """MiniMax-M2 takes the variance of its queries and keys over all ranks (MiniMaxText01RMSNormTP.forward_qkv)."""
    work = count_work(facts_of("MiniMaxAI/MiniMax-M2.5"), "bfloat16")
    assert (work.layers, work.reductions, work.norm_reductions) == (62, 2 * 62, 62)
    assert count_work(facts_of(EXPERTS), "bfloat16").norm_reductions == 0


@pytest.mark.parametrize(
    ("repo", "narrow", "blocks"),
    [
        ("deepseek-ai/DeepSeek-V3", 61, 61),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", 126, 0),
        ("nvidia/MiniMax-M2.5-NVFP4", 62, 0),
        (EXPERTS, 0, 0),
    ],
)
def test_layers_whose_activations_are_quantized_in_blocks(repo: str, narrow: int, blocks: int) -> None:
    work = count_work(facts_of(repo), "bfloat16")
    assert (work.narrow_layers, work.block_layers) == (narrow, blocks)


def test_narrow_experts_are_sorted_where_no_kernel_of_data_centre_blackwell_does_it() -> None:
    """NVFP4 on RTX PRO 6000, whatever the version: Qwen3.5-397B on four at 50.5 tok/s (the model's discussion page)."""
    load = Workload(concurrency=1, input_tokens=1024, output_tokens=1024)
    asked = {"version": "0.17.0", "dtype": "bfloat16"}
    pro, b200 = (speed("nvidia/Qwen3.5-397B-A17B-NVFP4", gpu, load, 4, **asked) for gpu in ("RTX-PRO-6000", "B200"))
    assert pro.low < 50.5 < pro.high
    assert b200.output_tokens_per_second > 2 * pro.output_tokens_per_second


LATENT, PICKING = "deepseek-ai/DeepSeek-V3", "zai-org/GLM-5"


def test_latent_attention_reads_prompts_as_heads_and_its_cache_as_one_latent() -> None:
    """mla_attention.py forward_mha and forward_mqa; with an indexer both as one latent, of what it picks."""
    plain, picking = (count_work(facts_of(repo), "bfloat16").caches for repo in (LATENT, PICKING))
    assert [(c.elements_per_token, c.score_width, c.picked_tokens) for c in plain] == [(576, 128 * (192 + 128), None)]
    assert [(c.elements_per_token, c.score_width, c.picked_tokens, c.index_width) for c in picking] == [
        (576, 64 * (576 + 512), 2048, 32 * 128)
    ]


def test_an_indexer_spares_reading_what_it_does_not_pick_by_hand() -> None:
    """GLM-5's 78 layers at 131,072 tokens: 132 bytes of each for the indexer, 1,152 of 2,048; 2.7 ms if it read all."""
    long, short = (
        speed(PICKING, "H200", Workload(concurrency=1, input_tokens=tokens, output_tokens=256), 8, dtype="bfloat16")
        for tokens in (131_072, 1)
    )
    read = 78 * (132 * 131_072 + 1152 * 2048) / (4.8e12 * CONSTANTS.hbm_efficiency)
    assert long.tpot_ms - short.tpot_ms == pytest.approx(read * 1000, rel=0.05)
    facts, engine, _ = configured(PICKING, "H200", 8, 1, dtype="bfloat16")
    terms = make_terms(facts, Candidate(gpu_of("H200"), None, 8, 8, 1), engine)
    assert request_bytes(terms, 131_072) == 78 * (1152 + 132) * 131_072  # all of it is kept


@given(gpus, st.integers(1, 2000), st.sampled_from((2, 8)))
def test_ranks_with_whole_experts_wait_for_the_fullest(gpu: str, concurrency: int, ranks: int) -> None:
    load = Workload(concurrency=concurrency, input_tokens=64, output_tokens=256)
    whole, divided = (rate(EXPERTS, gpu, load, ranks, enable_expert_parallel=ep) for ep in (True, False))
    assert divided / ranks <= whole <= divided * ROUNDING


def test_the_fullest_of_two_ranks_by_hand() -> None:
    """8 of 128 experts on two ranks: sqrt(ln 2 x 15/16 / 8) = 0.285 more than half; all 128: half."""
    term = ExpertTerm(read_s=1.0, missed_by_one=1 - 8 / 128, count=128, ranks=2)
    assert term.touched_s(1) == pytest.approx(1.285 / 16, rel=1e-3)
    assert term.touched_s(4000) == pytest.approx(1.0)


@given(repos, gpus, loads, st.sampled_from((256, 512, 2048)))
def test_a_smaller_budget_of_tokens_is_shared_with_what_runs(repo: str, gpu: str, load: Workload, budget: int) -> None:
    """No step takes more than max_num_batched_tokens, prompts and running sequences together."""
    steady = replace(load, requests=None)
    found = speed(repo, gpu, steady, 1, max_num_batched_tokens=budget)
    of_a_request = steady.input_tokens + steady.output_tokens - 1
    step_s = speed(repo, gpu, Workload(concurrency=1, input_tokens=1, output_tokens=64)).tpot_ms / 1000
    assert found.output_tokens_per_second <= steady.output_tokens * budget / of_a_request / step_s * ROUNDING


@pytest.mark.parametrize(
    ("gpu", "ranks", "kib", "measured_us"),
    [
        ("H100", 2, 16, 4.4),
        ("H100", 8, 128, 10.8),
        ("H100", 8, 1024, 19.4),
        ("H100", 4, 1024, 18.6),
        ("H200", 8, 256, 11.1),
        ("H200", 8, 4096, 48.4),
        ("A100-80GB", 4, 16, 6.0),
        ("A100-80GB", 8, 1024, 27.9),
        ("B200", 8, 64, 9.4),
        ("B200", 8, 1024, 20.7),
        ("B300", 4, 4096, 41.9),
    ],
)
def test_an_all_reduce_takes_what_vllm_takes(gpu: str, ranks: int, kib: int, measured_us: float) -> None:
    """ai-dynamo/aiconfigurator, custom_allreduce_perf: vLLM 0.14 to 0.24 in a CUDA graph."""
    facts, engine, _ = configured(DENSE, gpu, ranks, 1)
    terms = make_terms(facts, Candidate(gpu_of(gpu), None, ranks, ranks, 1), engine)
    work = count_work(facts, "bfloat16")
    seconds = reduce_s(terms, kib * 1024 / (work.hidden_size * work.itemsize_bytes)) / work.reductions
    assert seconds * 1e6 == pytest.approx(measured_us, rel=0.35)


@pytest.mark.parametrize(
    ("version", "gpu", "asked", "most"),
    [
        ("0.25.0", "B200", {}, 512),
        ("0.33.0", "B200", {"max_num_seqs": 1024}, 1024),
        ("0.33.0", "H100", {"max_num_seqs": 1024}, 512),
        ("0.33.0", "H100", {"max_num_seqs": 64}, 128),
        ("0.33.0", "H100", {"most_captured_seqs": 2048}, 2048),
    ],
)
def test_passes_beyond_the_largest_graph_are_launched_kernel_by_kernel(
    version: str, gpu: str, asked: dict[str, int], most: int
) -> None:
    """vllm/config/vllm.py _set_cudagraph_sizes; below, only attention stands between the pieces of a graph."""
    facts, engine, _ = configured(DENSE, gpu, 1, 1, version, **asked)
    terms = make_terms(facts, Candidate(gpu_of(gpu), None, 1, 1, 1), engine)
    assert captured_tokens(gpu_of(gpu), engine) == most
    whole = facts.num_hidden_layers * CONSTANTS.compiled_launch_s
    assert prefill_launch_s(terms, most) == prefill_launch_s(terms, 8 * most) == pytest.approx(whole)
    assert prefill_launch_s(terms, 1) == pytest.approx(facts.num_hidden_layers * CONSTANTS.attention_launch_s)
    assert terms.launch_s == 0  # steps that only decode are replayed whole


@given(repos, gpus, st.integers(1, 200_000), st.integers(2, 4000), st.sampled_from((512, 2048, 65_536)))
def test_no_prompt_holds_up_a_lone_requests_answer(repo: str, gpu: str, tokens: int, answer: int, budget: int) -> None:
    """Nobody else's is there; its own has passed before the first token, in however many passes."""
    load = Workload(concurrency=1, input_tokens=tokens, output_tokens=answer)
    found, whole = (speed(repo, gpu, load, max_num_batched_tokens=most) for most in (budget, 2**20))
    assert found.tpot_ms <= whole.tpot_ms * 1.01


limits = st.sampled_from(((8192, 256), (2048, 256), (8192, 32), (8200, 256)))


@given(gpus, st.integers(1, 500), st.integers(1, 8000), limits)
def test_a_row_that_says_what_the_model_says_moves_nothing(
    gpu: str, concurrency: int, tokens: int, limit: tuple[int, int]
) -> None:
    """Whatever max_num_batched_tokens and max_num_seqs it was measured with; with others than asked it is no answer."""
    load = Workload(concurrency=concurrency, input_tokens=tokens, output_tokens=256)
    asked, then = ({"max_num_batched_tokens": budget, "max_num_seqs": seqs} for budget, seqs in ((8192, 256), limit))
    row = Measurement(
        model=DENSE,
        gpu=gpu,
        count=1,
        tensor_parallel_size=1,
        engine_version="0.33.0",
        dtype="bfloat16",
        max_model_len=16384,
        **then,
        date="2026-11-01",
        source="by hand",
        concurrency=concurrency,
        input_tokens=tokens,
        output_tokens=256,
        output_tokens_per_second=rate(DENSE, gpu, load, **then),
    )
    plain, found = (speed(DENSE, gpu, load, measurements=rows, **asked) for rows in ((), (row,)))
    same = limit[0] == 8192 and (limit[1] == 256 or concurrency <= limit[1])
    expected = row if same else plain
    assert found.output_tokens_per_second == pytest.approx(expected.output_tokens_per_second)
    assert (found.provenance == "measured") == same
    assert same or found.low >= plain.low / ROUNDING
