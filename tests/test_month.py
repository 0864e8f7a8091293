"""The month and the sweet spot in a plan: through the command line, in words and in JSON, and by hand to the cent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from planner.bill import busy_requests_in_flight
from planner.cli import gpuplan, main

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """
name: bursty
model: {repo: meta-llama/Llama-3.1-8B-Instruct}
engine: {version: "0.33.0", max_model_len: 8192}
gpu: {types: [H100], counts: [1]}
workload: {concurrency: 32, input_tokens: 512, output_tokens: 256, requests_per_hour: 12}
scaling: {max_containers: 3, scaledown_window_s: 120}
"""
PRICES = """
offers: [{gpu: H100, usd_per_second: 0.001, as_of: 2026-11-01, source: by hand}]
rates:
  - {name: usd_per_cpu_core_second, value: 0.00001, as_of: 2026-11-01, source: by hand}
  - {name: usd_per_memory_gib_second, value: 0.000002, as_of: 2026-11-01, source: by hand}
"""
MEASURED = {
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "gpu": "H100",
    "count": 1,
    "tensor_parallel_size": 1,
    "engine_version": "0.33.0",
    "dtype": "bfloat16",
    "max_model_len": 8192,
    "max_num_seqs": 1024,
    "max_num_batched_tokens": 8192,
    "date": "2026-11-01",
    "source": "by hand",
    "concurrency": 32,
    "input_tokens": 512,
    "output_tokens": 256,
    "output_tokens_per_second": 3200.0,
    "ttft_ms": 100.0,
    "tpot_ms": 10.0,
}


def plan(folder: Path, *changes: str, text: str = SPEC, as_json: bool = True) -> Result:
    (folder / "spec.yaml").write_text(text)
    (folder / "prices.yaml").write_text(PRICES)
    (folder / "rows.json").write_text(json.dumps({"measurements": [MEASURED]}))
    line = ["plan", str(folder / "spec.yaml"), "--offline", "--catalog", str(folder / "prices.yaml")]
    line += ["--measurements", str(folder / "rows.json"), *(["--json"] if as_json else [])]
    return CliRunner().invoke(gpuplan, [*line, *(part for change in changes for part in ("--set", change))])


def document(folder: Path, *changes: str, text: str = SPEC) -> Any:
    return json.loads(plan(folder, *changes, text=text).stdout)


def test_a_bursty_month_by_hand_to_the_cent(tmp_path: Path) -> None:
    """12 requests an hour, one every 300 s: 0.1 s to the first token, 255 further ones of 0.01 s: 2.65 s of service.

    With the window of 120 s a request holds the container for 122.65 s, in which 122.65 / 300 = 0.408833 others are
    expected; e^0.408833 = 1.505061. 16,094,142,464 bytes are read at 1 GB/s after 96 s: a cold start of 112.0941 s,
    0.373647 of the mean gap. Up 0.373647 + 0.505061 = 0.878708 gaps of 1.878708: 46.77193 % of 2,628,000 s are
    1,229,166 s. GPU x $0.001 = 1229.166; 4 cores x $0.00001 = 49.16664; 32 GiB x $0.000002 = 78.666624; the 14.99 GiB
    on the volume are within the 1,024 that are free. $1,357.00; less $30 of credit, $1,327.00. 2,628,000 / 300 /
    1.878708 = 4,663 cold starts. 3200 tok/s / 256 x 3600 = 45,000 requests an hour are carried.
    """
    month = document(tmp_path)["month"]
    assert [(line["name"], line["quantity"]) for line in month["cost_lines"]] == [
        ("GPUs", 1229166),
        ("CPU", 4916664),
        ("memory", 39333312),
    ]
    assert month["usd"] == 1357.00
    assert (month["credit_usd"], month["usd_after_credit"], month["account_plan"]) == (30, 1327.00, "Starter")
    assert month["cold_starts"] == pytest.approx(4662.78, abs=0.01)
    assert month["carried_requests_per_hour"] == 45000
    assert (month["replicas"], month["containers_needed"], month["unserved_requests_per_hour"]) == (1, 1, 0)
    assert month["scaled_to_zero"]["usd"] == month["usd"]
    assert month["always_warm"]["usd"] == 2901.31  # 2628000 x (0.001 + 0.00004 + 0.000064) = 2901.312


def test_every_price_of_the_hour(tmp_path: Path) -> None:
    """$0.001104 a second, 3200 tokens in it: 0.345 a million of them, twice as many prompt tokens; 12.5 requests."""
    chosen = document(tmp_path)["chosen"]
    assert chosen["usd_per_hour"] == pytest.approx(3.9744)
    assert chosen["usd_per_million_output_tokens"] == pytest.approx(0.345)
    assert chosen["usd_per_million_input_tokens"] == pytest.approx(0.1725)
    assert chosen["usd_per_request"] == pytest.approx(0.00008832)
    assert chosen["throughput"]["provenance"] == "measured"


def test_the_month_in_words(tmp_path: Path) -> None:
    text = plan(tmp_path, as_json=False).stdout
    assert "A month of 12 requests an hour" in text
    assert "scaled 0 to 3  1×H100           1   47 %        4,663  $1,357.00" in text
    assert "always warm    1×H100           1  100 %            0  $2,901.31" in text
    assert "$30.00 of credit in the plan Starter would leave $1,327 to pay" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("most", "replicas", "unserved", "words"),
    [
        (3, 3, 0, "carries 45,000 requests an hour, so 3 share the load."),
        (2, 2, 10000, "10,000 of 100,000 would wait"),
    ],
)
def test_replicas_where_one_container_cannot_carry_the_load(
    tmp_path: Path, most: int, replicas: int, unserved: float, words: str
) -> None:
    changes = ("workload.requests_per_hour=100000", f"scaling.max_containers={most}")
    month = document(tmp_path, *changes)["month"]
    assert (month["containers_needed"], month["replicas"], month["unserved_requests_per_hour"]) == (
        3,
        replicas,
        unserved,
    )
    text = plan(tmp_path, *changes, as_json=False).stdout
    assert words in " ".join(text.split())
    assert ("Set scaling.max_containers: 3." in text) == bool(unserved)


@pytest.mark.parametrize(
    ("most", "words"),
    [
        (3, "and a container takes 32; for them up to 2 containers may start, where this bill counts 1."),
        (
            1,
            "and a container takes 32; serving them at once takes 2 containers; "
            "with scaling.max_containers: 1 they wait.",
        ),
    ],
)
def test_peaks_that_the_bill_does_not_count_by_hand(tmp_path: Path, most: int, words: str) -> None:
    """40,000 requests an hour of 2.65 s: 11.1111 a second x 2.65 s = 29.4444 in flight on average.

    Poisson around that: 42 or fewer in 98.88 % of all moments, 43 or fewer in 99.28 %. One container takes 32.
    """
    changes = ("workload.requests_per_hour=40000", f"scaling.max_containers={most}")
    month = document(tmp_path, *changes)["month"]
    assert (month["replicas"], month["busy_requests_in_flight"], month["busy_containers"]) == (1, 43, 2)
    text = " ".join(plan(tmp_path, *changes, as_json=False).stdout.split())
    assert f"up to 43 are in flight in 99 moments of 100, {words}" in text


@pytest.mark.parametrize(
    ("mean", "in_flight"),
    [
        (0.01, 0),  # e^-0.01 = 0.99005: none in 99.005 % of all moments
        (0.0101, 1),  # e^-0.0101 = 0.98995
        (1.0, 4),  # 1 + 1 + 1/2 + 1/6 = 2.66667 of e = 98.10 %, and 1/24 more 99.63 %
        (1e6, 1_002_327),  # 1,000,000 + 2.326348 x 1,000, and 0.7 for the skew ((z^2 - 1) / 6)
        (4e6, 4_004_653),
    ],
)
def test_requests_in_flight_at_a_busy_moment(mean: float, in_flight: int) -> None:
    assert busy_requests_in_flight(mean / 2.0, 2.0) == in_flight


def test_a_quiet_load_has_no_peaks_to_tell(tmp_path: Path) -> None:
    assert document(tmp_path)["month"]["busy_containers"] == 1
    assert "moments of 100" not in plan(tmp_path, as_json=False).stdout


@pytest.mark.parametrize("load", [0.01, 1, 200, 1e5, 1e9])
@pytest.mark.parametrize("smallest", [0, 1, 4])
def test_any_load_fits_the_page(tmp_path: Path, load: float, smallest: int) -> None:
    changes = (f"workload.requests_per_hour={load}", f"scaling.min_containers={smallest}", "scaling.max_containers=9")
    text = plan(tmp_path, "gpu=null", *changes, as_json=False).stdout
    assert max(map(len, text.splitlines())) <= 80
    month = document(tmp_path, "gpu=null", *changes)["month"]
    assert 0 < month["scaled_to_zero"]["usd"] <= month["always_warm"]["usd"]
    assert month["usd"] == pytest.approx(sum(line["usd"] for line in month["cost_lines"]), abs=0.006)
    if month["cheapest"]:
        assert month["cheapest"]["usd"] < month["usd"] or month["unserved_requests_per_hour"] > 0


def test_no_load_no_month(tmp_path: Path) -> None:
    assert document(tmp_path, "workload.requests_per_hour=null")["month"] is None
    assert "A month" not in plan(tmp_path, "workload.requests_per_hour=null", as_json=False).stdout


def test_ones_own_machine_has_no_bill_and_no_sweet_spot(tmp_path: Path) -> None:
    found = document(tmp_path, "target=local")
    assert (found["month"], found["sweet_spot"]) == (None, None)


def test_the_sweet_spot_is_said_where_another_option_has_the_cheaper_token(tmp_path: Path) -> None:
    found = document(tmp_path, "gpu.types=[L4, H100]", "gpu.counts=[1, 2]")
    spot, chosen = found["sweet_spot"], found["chosen"]
    best = min(found["options"], key=lambda option: option["usd_per_million_output_tokens"])
    assert (spot["gpu"], spot["count"]) == (best["gpu"], best["count"]) == ("H100", 1)
    less = 1 - best["usd_per_million_output_tokens"] / chosen["usd_per_million_output_tokens"]
    assert spot["saved_share"] == pytest.approx(less)
    assert spot["sentence"].startswith(f"1×H100 costs {round(100 * less)} % less per token ($0.34/M), for $")
    text = plan(tmp_path, "gpu.types=[L4, H100]", "gpu.counts=[1, 2]", as_json=False).stdout
    assert "1×H100 costs" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_sweet_spot_that_costs_less_an_hour_says_so(tmp_path: Path) -> None:
    spot = document(tmp_path, "gpu.counts=[1, 8]", "objective=latency")["sweet_spot"]
    assert spot["extra_usd_per_hour"] < 0
    assert spot["sentence"].endswith(f"% less per token ($0.34/M), and ${-spot['extra_usd_per_hour']:.2f}/h less.")


def test_a_region_of_old_rates_is_a_warning(tmp_path: Path) -> None:
    rate = "  - {name: broad_region_multiplier, value: 1.5, as_of: 2025-01-01, source: by hand}\n"
    (tmp_path / "old.yaml").write_text(PRICES + rate)
    line = ["plan", str(tmp_path / "spec.yaml"), "--offline", "--catalog", str(tmp_path / "old.yaml"), "--json"]
    (tmp_path / "spec.yaml").write_text(SPEC)
    days = (datetime.now(UTC).date() - datetime(2025, 1, 1, tzinfo=UTC).date()).days
    warned = f"prices: the factor of region us was last seen on 2025-01-01, {days} days ago"
    for region, expected in (("us", True), ("null", False)):
        found = json.loads(CliRunner().invoke(gpuplan, [*line, "--set", f"region={region}"]).stdout)
        assert any(one.startswith(warned) for one in found["warnings"]) == expected


def test_compare_names_the_problems_of_every_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("a", "name: A B\nmodel: {repo: x/y}\n"), ("b", "name: b\nmodel: {repo: x/y}\nsizes: 1\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["cost", "compare", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), "--offline"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "a.yaml:1:7: name:" in said
    assert "b.yaml:3:1: sizes:" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("workload.concurrency=32",), ""),
        (("workload.concurrency=4000",), "of 4,000 run at a time: the KV cache holds no more; the others wait"),
        (("workload.concurrency=40", "engine.max_num_seqs=8"), "about 8 of 40 run at a time: max_num_seqs is 8;"),
        (("workload.requests=900", "engine.max_num_seqs=8"), "of 900 run at a time: max_num_seqs is 8;"),
    ],
)
def test_a_plan_says_how_many_run_at_a_time(tmp_path: Path, changes: tuple[str, ...], said: str) -> None:
    text = " ".join(plan(tmp_path, *changes, as_json=False).stdout.split())
    assert said in text
    assert ("run at a time" in text) == bool(said)


@pytest.mark.parametrize(
    ("row", "provenance", "said"),
    [
        ({}, "measured", "measured 2026-11-01: by hand"),
        ({"concurrency": 48}, "modelled", "corrected by a measurement of 48 requests of 512 + 256 tokens ("),
        ({"max_num_batched_tokens": 8191}, "modelled", "512 + 256 tokens with max_num_batched_tokens 8191 ("),
        ({"engine_version": "0.30.0"}, "modelled", "narrowed by a measurement with vLLM 0.30.0, another version"),
        ({"flags": {"async-scheduling": False}}, "modelled", ""),
        ({"flags": {"tool-call-parser": "hermes"}}, "measured", "measured 2026-11-01: by hand"),
        ({"gpu": "H200"}, "modelled", ""),
    ],
)
def test_a_plan_says_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], provenance: str, said: str
) -> None:
    monkeypatch.setitem(globals(), "MEASURED", {**MEASURED, **row})
    speeds = document(tmp_path)["chosen"]["throughput"]
    assert speeds["provenance"] == provenance
    assert said in speeds["note"] if said else not speeds["note"]
    assert said in " ".join(plan(tmp_path, as_json=False).stdout.split())
