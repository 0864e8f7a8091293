"""Plans of the shipped specs, offline: what is chosen, what is rejected and why, in words and in JSON."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from planner.checks import CODES
from planner.cli import gpuplan, main
from planner.errors import ModelError, UnknownArchitectureError
from planner.explain.text import explain_plan
from planner.hints import find_hints
from planner.make_plan import make_plan
from planner.model.architectures import ARCHITECTURES, family_of, make_facts
from planner.model.find import find_checkpoint
from planner.model.identity import Checkpoint
from planner.spec import load_spec, parse_spec
from tests.made_facts import catalog

if TYPE_CHECKING:
    from planner.plan import Plan

ROOT = Path(__file__).resolve().parent.parent
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
TODAY = date(2026, 11, 1)


def plan_of(source: Path | str, *overrides: str, **asked: Any) -> Plan:
    spec = load_spec(str(source), overrides) if isinstance(source, Path) else parse_spec(source, "test", overrides)
    checkpoint = find_checkpoint(spec.model, catalog(), offline=True, base_dir=ROOT)
    return make_plan(spec, checkpoint, catalog(), today=TODAY, **asked)


def run(*line: str | Path) -> Result:
    return CliRunner().invoke(gpuplan, [*map(str, line)])


@pytest.fixture(scope="module")
def seventy() -> Plan:
    return plan_of(ROOT / "specs" / "70b.yaml")


def rejection(plan: Plan, gpu: str, count: int, tp: int | None = None) -> Any:
    return next(
        one
        for one in plan.rejections
        if (one.gpu, one.count) == (gpu, count) and tp in {None, one.tensor_parallel_size}
    )


def test_the_70b_goes_on_two_a100_80gb(seventy: Plan) -> None:
    assert seventy.chosen is not None
    candidate = seventy.chosen.candidate
    assert (candidate.sold_as, candidate.count, candidate.tensor_parallel_size) == ("A100-80GB", 2, 2)
    assert float(seventy.chosen.cost.gpu_usd_per_hour) == pytest.approx(5.00, abs=0.005)


def test_the_notes_answer_is_valid_at_its_price(seventy: Plan) -> None:
    option = next(
        one
        for one in seventy.options
        if (one.candidate.sold_as, one.candidate.count, one.candidate.tensor_parallel_size) == ("A100-40GB", 4, 4)
    )
    assert float(option.cost.gpu_usd_per_hour) == pytest.approx(8.40, abs=0.005)


@pytest.mark.parametrize(
    ("gpu", "count", "tp", "code"),
    [
        ("A100-40GB", 3, 3, "attention_heads"),
        ("A100-40GB", 2, 2, "memory"),
        ("H200", 1, 1, "memory"),
        ("A10", 8, None, "count_not_sold"),
    ],
)
def test_the_rest_is_rejected_with_its_numbers(seventy: Plan, gpu: str, count: int, tp: int | None, code: str) -> None:
    found = rejection(seventy, gpu, count, tp)
    assert found.code == code
    assert found.needed is not None
    assert found.available is not None
    assert found.reason.endswith(".")


def test_the_prediction_for_two_h100_is_what_was_measured() -> None:
    """vLLM 0.26.0 on 2×H100: 64.24 GiB loaded, 7.49 GiB for KV, 49,072 tokens."""
    plan = plan_of(
        ROOT / "specs" / "70b.yaml",
        "engine.version='0.26.0'",
        "engine.max_num_batched_tokens=8192",
        "engine.max_num_seqs=256",
        "gpu={types: [H100], counts: [2], tensor_parallel_size: 2}",
    )
    assert plan.chosen is not None
    assert plan.chosen.memory.model_loading_bytes / 2**30 == pytest.approx(64.24, abs=0.005)
    assert plan.chosen.memory.available_kv_bytes / 2**30 == pytest.approx(7.49, abs=0.01)
    assert plan.chosen.kv_cache.tokens == pytest.approx(49_072, abs=64)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_every_shipped_spec_plans_and_fits_80_columns(path: Path) -> None:
    plan = plan_of(path)
    assert plan.chosen is not None
    assert {one.code for one in plan.rejections} <= set(CODES)
    lines = [line.text for line in explain_plan(plan, find_hints(plan, catalog()))]
    assert max(map(len, lines)) <= 80
    assert not any(line != line.rstrip() for line in lines)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_the_chosen_option_is_never_dearer_than_another(path: Path) -> None:
    plan = plan_of(path, "objective=usd_per_hour")
    prices = [option.cost.usd_per_hour for option in plan.options]
    assert prices == sorted(prices)


@pytest.mark.parametrize("repo", ["meta-llama/Llama-2-13b-chat-hf", "zai-org/GLM-5-FP8"])
def test_of_splits_of_the_same_gpus_the_cheapest_token_is_chosen(repo: str) -> None:
    """They cost the same an hour; here a pipeline has room for more KV cache and is half as fast."""
    plan = plan_of(f"name: s\nmodel: {{repo: {repo}}}\n")
    assert plan.chosen is not None
    chosen = plan.chosen.candidate
    splits = [
        one for one in plan.options if (one.candidate.sold_as, one.candidate.count) == (chosen.sold_as, chosen.count)
    ]
    per_token = [one.cost.usd_per_million_output_tokens for one in splits]
    assert per_token == sorted(per_token)
    assert max(splits, key=lambda one: one.kv_cache.tokens) is not plan.chosen


def test_the_order_of_rows_never_changes_a_plan(seventy: Plan) -> None:
    names = list(catalog().offers)
    names.reverse()
    shuffled = replace(catalog(), offers={name: catalog().offers[name] for name in names})
    checkpoint = find_checkpoint(seventy.spec.model, catalog(), offline=True, base_dir=ROOT)
    other = make_plan(seventy.spec, checkpoint, shuffled, today=TODAY)
    assert other.options == seventy.options
    assert set(other.rejections) == set(seventy.rejections)


def test_every_option_says_the_longest_context_and_the_highest_concurrency(seventy: Plan) -> None:
    for option in seventy.options:
        tokens = seventy.workload.request_tokens
        held = option.highest_concurrency * -(-tokens // option.kv_cache.block_size)
        assert option.highest_concurrency <= option.engine.max_num_seqs
        assert held < option.kv_cache.num_blocks  # one block is vLLM's own
        assert option.engine.max_model_len <= option.longest_context_tokens
    lines = "\n".join(line.text for line in explain_plan(seventy))
    assert "Highest concurrency: 125 requests of 395 tokens (max_num_seqs 256)." in lines
    assert "ctx  conc.\n" in lines


def test_assumed_kv_bytes_replace_the_memory_rule(seventy: Plan) -> None:
    plan = plan_of(ROOT / "specs" / "70b.yaml", "budget={max_usd_per_hour: 0.01}", assume_kv_bytes=2**40)
    assert not {"memory", "slo", "budget", "kv_cache"} & {one.code for one in plan.rejections}
    for option in plan.options:
        cache = option.kv_cache
        assert 0 <= 2**40 - cache.num_blocks * cache.bytes_per_block < 2 * cache.bytes_per_block


def test_a_plan_that_is_not_saved_is_shown_all_the_same(tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    done = run(
        "plan", str(ROOT / "specs" / "70b.yaml"), "--offline", "--json", "--set", "gpu.types=[T4]", "--out", saved
    )
    assert done.exit_code == 4
    assert json.loads(done.stdout)["chosen"] is None
    assert f"{saved}: not saved: no configuration is valid" in done.stderr
    assert not saved.exists()


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("gpu.tensor_parallel_size=3", "gpu.tensor_parallel_size"),
        ("engine.max_model_len=9000", "engine.max_model_len"),
    ],
)
def test_a_plan_without_options_hints_at_what_stands_in_the_way(override: str, key: str) -> None:
    plan = plan_of(ROOT / "specs" / "70b.yaml", override)
    hints = {hint.key: hint for hint in find_hints(plan, catalog())}
    assert (hints[key].gpu, hints[key].count, hints[key].usd_per_hour_saved) == ("A100-80GB", 2, None)


def test_an_assumed_cache_is_what_every_account_shows() -> None:
    plan = plan_of(ROOT / "specs" / "70b.yaml", assume_kv_bytes=10**10)
    assert {option.memory.available_kv_bytes for option in plan.options} == {10**10}


def test_a_hint_is_what_planning_again_finds(seventy: Plan) -> None:
    hints = {hint.key: hint for hint in find_hints(seventy, catalog())}
    quantized = plan_of(ROOT / "specs" / "70b.yaml", "model.quantization=fp8")
    assert seventy.chosen is not None
    assert quantized.chosen is not None
    saved = float(seventy.chosen.cost.usd_per_hour - quantized.chosen.cost.usd_per_hour)
    assert hints["model.quantization"].usd_per_hour_saved == pytest.approx(saved)


def test_auto_is_the_longest_context_that_fits() -> None:
    pinned = "gpu={types: [H200], counts: [8], tensor_parallel_size: 8}"
    option = plan_of(ROOT / "specs" / "mla.yaml", pinned).chosen
    assert option is not None
    assert option.engine.max_model_len == min(163_840, option.longest_context_tokens)


class TestJson:
    def test_it_has_what_scripts_rely_on(self) -> None:
        result = run("plan", str(ROOT / "specs" / "70b.yaml"), "--offline", "--json")
        document = json.loads(result.stdout)
        assert result.exit_code == 0
        assert document["schema_version"] == 1
        assert set(document) >= {"model", "chosen", "options", "rejected", "workload", "warnings", "prices_as_of"}
        assert set(document["model"]) >= {
            "repo",
            "revision",
            "parameters",
            "checkpoint_bytes",
            "architecture",
            "source",
        }
        option = document["chosen"]
        assert option == document["options"][0]
        assert set(option) >= {"gpu", "count", "nodes", "usd_per_hour", "gpu_usd_per_hour", "stages", "memory"}
        assert option["longest_context_tokens"] == 4096
        assert option["highest_concurrency"] == 125
        assert set(option["kv_cache"]) >= {"bytes_per_block", "block_size", "num_blocks", "tokens", "max_concurrency"}
        memory = option["memory"]
        left = memory["requested_bytes"] - sum(
            memory[key]
            for key in ("model_loading_bytes", "peak_activation_bytes", "non_torch_bytes", "cuda_graph_bytes")
        )
        assert left == memory["available_kv_bytes"]

    def test_a_count_not_sold_has_no_split(self) -> None:
        result = run("plan", str(ROOT / "specs" / "70b.yaml"), "--offline", "--json")
        unsold = [one for one in json.loads(result.stdout)["rejected"] if one["code"] == "count_not_sold"]
        assert {(one["gpu"], one["count"]) for one in unsold} == {("A10", count) for count in (5, 6, 7, 8)}
        assert all(one["tensor_parallel_size"] is None for one in unsold)


class TestExitCodes:
    def test_nothing_valid_is_4(self) -> None:
        line = ["plan", str(ROOT / "specs" / "70b.yaml"), "--offline", "--set", "gpu={types: [T4], counts: [1]}"]
        result = run(*line)
        assert result.exit_code == 4
        assert "No valid configuration" in result.stdout

    def test_only_the_budget_in_the_way_is_5(self) -> None:
        line = ["plan", str(ROOT / "specs" / "7b.yaml"), "--offline", "--set", "budget={max_usd_per_hour: 0.1}"]
        assert run(*line).exit_code == 5

    @pytest.mark.parametrize(
        ("line", "code", "words"),
        [
            (["plan", "nobody/nothing", "--offline"], 6, "nobody/nothing"),
            (["plan", "missing.yaml", "--offline"], 2, "missing.yaml"),
            (["plan", str(ROOT / "specs/7b.yaml"), "--offline", "--set", "gpu.typs=[H100]"], 2, "did you mean types?"),
            (["fits", "h100:2"], 2, "h100:2: not a GPU on offer; did you mean H100? See `gpuplan gpus`."),
            (["fits", "nonsense"], 2, "not a GPU on offer; type NAME or NAME:COUNT, e.g. H100:2. See `gpuplan gpus`."),
            (["fits", "H100:9"], 2, "H100:9: one container has 1 to 8 of H100, not 9."),
        ],
    )
    def test_failures_have_their_code_and_their_words(
        self,
        line: list[str],
        code: int,
        words: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(ROOT)
        with pytest.raises(SystemExit) as end:
            main(line)
        assert end.value.code == code
        shown = capsys.readouterr().err
        assert words in shown
        assert "Traceback" not in shown


def test_an_unknown_architecture_is_refused_with_what_is_missing() -> None:
    config = {"architectures": ["NovelForCausalLM"], "model_type": "novel", "num_hidden_layers": 4, "hidden_size": 64}
    with pytest.raises(UnknownArchitectureError) as caught:
        make_facts(Checkpoint("org/novel", "path", config))
    message = str(caught.value)
    for words in ("org/novel", "NovelForCausalLM", "model_type novel", "num_hidden_layers", "ARCHITECTURES"):
        assert words in message
    assert caught.value.exit_code == 6


def test_a_config_without_its_widths_is_refused() -> None:
    with pytest.raises(ModelError, match="hidden_size is missing"):
        make_facts(Checkpoint("org/m", "path", {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2}))


def test_compare_puts_specs_side_by_side() -> None:
    specs = [str(ROOT / "specs" / name) for name in ("7b.yaml", "small-gpu.yaml")]
    result = run("cost", "compare", *specs, "--offline", "--json", "--all")
    document = json.loads(result.stdout)
    assert {row["spec"] for row in document["rows"]} == {"llama-2-7b-chat", "qwen3-4b"}
    prices = [row["usd_per_hour"] for row in document["rows"]]
    assert prices == sorted(prices)
    assert document["rejected"]
    text = run("cost", "compare", *specs, "--offline").stdout
    assert max(map(len, text.splitlines())) <= 80
    table = run("cost", "compare", *specs, "--offline", "--csv").stdout.splitlines()
    assert len(table) == len(document["rows"]) + 1


def test_a_warning_of_several_specs_is_said_once_with_whose_it_is(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.yaml" for name in "abcde"]
    for path in paths:
        path.write_text(f"name: {path.stem}\nmodel: {{repo: meta-llama/Llama-2-70b-chat-hf}}\n")
    unpinned = "model.revision: unpinned until the hub is reached"

    def said(*some: Path) -> list[str]:
        return [line for line in run("cost", "compare", *some, "--offline").stderr.splitlines() if "unpinned" in line]

    (alone,), (two,), (all_five,) = said(paths[0]), said(*paths[:2]), said(*paths)
    assert alone.startswith(f"warning: {unpinned}")
    assert two.startswith(f"warning: a, b: {unpinned}")
    assert all_five.startswith(f"warning: 5 of 5 specs: {unpinned}")


def test_fits_answers_the_reverse_question() -> None:
    result = run("fits", "H100:2", "llama-2")
    assert result.exit_code == 0
    assert "meta-llama/Llama-2-70b-chat-hf" in result.stdout
    assert run("fits", "T4", "llama-2-70b").exit_code == 4


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("llama-2-70b", "None of 2 models fit on T4; --all shows why."),
        ("zzz", "No model of the catalogue has that in its name; see `gpuplan models`."),
    ],
)
def test_fits_says_why_there_is_no_table(search: str, words: str) -> None:
    result = run("fits", "T4", search)
    assert (result.exit_code, result.output) == (4, f"{words}\n")


def test_a_comparison_without_a_valid_row_has_no_empty_table() -> None:
    result = run("cost", "compare", str(ROOT / "specs/70b.yaml"), "--offline", "--set", "gpu.types=[T4]")
    assert result.exit_code == 4
    assert result.stdout == "llama-2-70b-chat: no valid configuration; --all shows why.\n"


def test_a_table_of_fits_names_models_in_full_within_80_columns() -> None:
    text = run("fits", "H100:2", "llama").stdout
    assert "…" not in text
    assert "\ndeepseek-ai/DeepSeek-R1-Distill-Llama-70B" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_names_a_function(architecture: str) -> None:
    assert (family_of(architecture).__doc__ or "").strip()
