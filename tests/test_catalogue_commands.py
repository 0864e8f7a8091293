"""gpuplan gpus, prices and doctor: what they print, as text and as JSON."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from planner.catalog import load_catalog
from planner.catalog.account_prices import price_rows, rows_text
from planner.catalog.folders import config_folder
from planner.cli import gpuplan, machine
from planner.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TODAY = datetime.now(UTC).date()
KNOWN = load_catalog()
RATES = {  # as `modal billing rates --json` prints them
    "cpu_hour_cost": "0.04730",
    "cpu_hour_cost_sandbox": "0.141900",
    "gpu_hour_cost_a100_40gb": "2.10000",
    "gpu_hour_cost_a100_80gb": "2.00000",
    "gpu_hour_cost_a10g": "1.10000",
    "gpu_hour_cost_b200": "6.25000",
    "gpu_hour_cost_b300": "7.10000",
    "gpu_hour_cost_gb200": "9.00000",
    "gpu_hour_cost_h100": "3.95000",
    "gpu_hour_cost_h200": "4.54000",
    "gpu_hour_cost_l4": "0.80000",
    "gpu_hour_cost_l40s": "1.95000",
    "gpu_hour_cost_rtx6000": "3.03000",
    "gpu_hour_cost_t4": "0.59000",
    "mem_gib_hour_cost": "0.00800",
    "mem_gib_hour_cost_sandbox": "0.024000",
    "volume_storage_gib_month_cost": "0.09000",
}


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(gpuplan, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_version_says_what_it_knows_and_how_old_that_is() -> None:
    first, *known = run("--version").stdout.splitlines()
    assert first.startswith("gpuplan ")
    text = "\n".join(known)
    assert f"as of {KNOWN.prices_as_of}" in text
    assert f"{len(KNOWN.model_names())} without a network" in text
    assert f"{len(KNOWN.gpus)} known" in text
    assert "0.25.0 to 0.33.0" in text


def test_gpus_lists_what_is_on_offer_within_80_columns() -> None:
    lines = run("gpus").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:12]] == [
        *("T4", "L4", "A10", "L40S", "A100-40GB", "A100-80GB", "RTX-PRO-6000", "H100", "H200", "B200", "B300")
    ]
    assert lines[8].split() == ["H100", "79.2", "3,350", "989", "1,978", "-", "9.0", "nvlink", "450", "1-8", "3.95"]
    assert max(map(len, run("gpus", "--all").stdout.splitlines())) <= 80


def test_gpus_searches_aliases_and_unsold_hardware_too() -> None:
    output = run("gpus", "a100").stdout
    assert "A100 is planned as A100-40GB: may be upgraded to 80 GB at the same price." in output
    (row,) = json.loads(run("gpus", "4090d", "--json").stdout)
    assert (row["name"], row["offer"], row["peer_to_peer"]) == ("RTX-4090D", None, False)
    (alias,) = json.loads(run("gpus", "h100!", "--json").stdout)
    assert (alias["name"], alias["offer"]["gpu"], alias["offer"]["usd_per_hour"]) == ("H100", "H100!", 3.9492)
    assert alias["sources"]["total_bytes"].startswith("measured")


def test_a_search_without_a_hit_says_so() -> None:
    nothing = run("gpus", "h1000")
    assert (nothing.stdout, nothing.exit_code) == ("", 0)
    assert nothing.stderr == "No GPU of the catalogue has 'h1000' in its name; see `gpuplan gpus --all`.\n"
    assert run("gpus", "h1000", "--json").stdout == "[]\n"


def test_prices_show_age_and_source() -> None:
    output = run("prices").stdout
    age = (TODAY - load_catalog().offers["H100"].as_of).days
    assert any(line.split() == ["H100", "3.9492", "h", "2026-10-08", str(age), "[1]"] for line in output.splitlines())
    assert "[1] eight public repositories quoting one table of modal.com/pricing" in output
    assert max(map(len, output.splitlines())) <= 80
    document = json.loads(run("prices", "--json").stdout)
    assert document["prices_as_of"] == "2026-10-08"
    assert {offer["gpu"]: offer["days"] for offer in document["offers"]}["H100"] == age
    assert {rate["name"]: rate["value"] for rate in document["rates"]}["usd_per_volume_gib_month"] == 0.09
    assert [plan["name"] for plan in document["plans"]] == ["Starter", "Team"]


def fake_modal(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m modal` runs ``code`` instead of the client."""
    (folder / "modal").mkdir()
    (folder / "modal" / "__init__.py").write_text("")
    (folder / "modal" / "__main__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.network
def test_refresh_takes_the_accounts_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"import sys\nassert sys.argv[1:] == ['billing', 'rates', '--json']\nprint('''{json.dumps(RATES)}''')"
    fake_modal(tmp_path, code, monkeypatch)
    result = run("prices", "--refresh")
    assert result.exit_code == 0
    assert "15 GPU prices and 3 others written to" in result.stderr
    assert "Not in the catalogue: gpu_hour_cost_gb200" in result.stderr
    catalog = load_catalog()
    assert catalog.offers["A100-80GB"].usd_per_second * 3600 == pytest.approx(Decimal("2.00"))
    assert catalog.offers["A10G"].usd_per_second == catalog.offers["A10"].usd_per_second
    assert catalog.offers["A10"].counts_sold == (1, 2, 3, 4)
    assert catalog.prices_as_of == TODAY
    assert catalog.rates.usd_per_cpu_core_second == Decimal("0.000013138889")
    assert catalog.rates.usd_per_volume_gib_month == Decimal("0.09")


@pytest.mark.network
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; print('Error: Token missing.'); sys.exit(1)", "Token missing"),
        ("print('hello')", "printed no JSON"),
        ("print('[]')", "the answer is no mapping of names to dollars"),
        ("print('{}')", "no GPU of the catalogue is priced"),
    ],
)
def test_a_failed_refresh_changes_nothing(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_modal(tmp_path, code, monkeypatch)
    result = CliRunner().invoke(gpuplan, ["prices", "--refresh"])
    assert isinstance(result.exception, LaunchError)
    assert says in str(result.exception)
    assert not config_folder().exists()


@pytest.mark.parametrize("price", ["free", "-1", "0", "NaN", "Infinity", None, [1]])
def test_a_price_that_is_none_is_refused(price: Any) -> None:
    with pytest.raises(LaunchError, match="is no price"):
        price_rows({**RATES, "gpu_hour_cost_h100": price}, load_catalog(), TODAY)


def test_a_negotiated_price_outlives_a_refresh(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("offers: [{gpu: H100, usd_per_second: 0.0001, as_of: 2026-11-01, source: a, negotiated: true}]")
    rows, unknown = price_rows(RATES, load_catalog(own), TODAY)
    assert "H100" not in {row["gpu"] for row in rows["offers"]}
    assert unknown == ("gpu_hour_cost_gb200",)
    own.write_text(rows_text(rows))
    assert load_catalog(own).offers["T4"].usd_per_second == Decimal("0.000163888889")


def findings(*arguments: str) -> dict[str, dict[str, str]]:
    return {row["thing"]: row for row in json.loads(run("doctor", "--json", *arguments).stdout)}


@pytest.fixture
def _no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "connection_problem", lambda url: f"{url} is not asked in tests")
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)


@pytest.mark.usefixtures("_no_services")
def test_doctor_says_what_is_missing_for_what() -> None:
    found = findings()
    assert {name: row["state"] for name, row in found.items()} == {
        "Python": "ok",
        "huggingface_hub": "ok",
        "modal": "ok",
        "plotly": "ok",
        "vllm": found["vllm"]["state"],
        "catalogue": "ok",
        "prices": found["prices"]["state"],
        "NVIDIA GPU": "missing",
        "Modal token": "missing",
        "Hugging Face token": "missing",
        "Hugging Face hub": "missing",
        "Modal": "missing",
    }
    assert found["Modal token"]["advice"] == "For deploying: modal token new"
    text = run("doctor").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "--  Modal token" in text


@pytest.mark.usefixtures("_no_services")
def test_doctor_names_a_broken_catalogue(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("offer: []")
    row = findings("--catalog", str(own))["catalogue"]
    assert (row["state"], row["found"]) == ("broken", f"{own}:1:1: offer: unknown key, did you mean offers?")


TOML = '[work]\ntoken_id = "ak-1"\ntoken_secret = "as-very-secret"\n[empty]\nworkspace = "x"\n'
TOKENS: list[tuple[Mapping[str, str], str | None, str, str]] = [
    ({"MODAL_TOKEN_ID": "ak-1", "MODAL_TOKEN_SECRET": "as-1"}, None, "ok", "in MODAL_TOKEN_ID and MODAL_TOKEN_SECRET"),
    ({"MODAL_TOKEN_ID": "ak-1"}, None, "broken", "MODAL_TOKEN_ID without its other half"),
    ({}, None, "missing", "no "),
    ({}, TOML, "ok", "profile work"),
    ({"MODAL_PROFILE": "empty"}, TOML, "missing", "for empty"),
    ({}, "", "missing", "none in"),
    ({}, "not toml", "broken", "cannot be read"),
]


@pytest.mark.parametrize(("environment", "toml", "state", "found"), TOKENS)
def test_a_modal_token_is_found_and_never_shown(
    environment: Mapping[str, str], toml: str | None, state: str, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "modal.toml"
    if toml is not None:
        path.write_text(toml)
    finding = machine.find_modal_token({"MODAL_CONFIG_PATH": str(path), **environment})
    assert finding.state == state
    assert found in finding.found
    assert "very-secret" not in str(finding)
    assert "ak-1" not in str(finding)


def test_a_hub_token_is_found(tmp_path: Path) -> None:
    assert machine.find_hub_token({"HF_TOKEN": "hf_secret"}).found == "in HF_TOKEN"
    assert machine.find_hub_token({"HF_HOME": str(tmp_path)}).state == "missing"
    (tmp_path / "token").write_text("hf_secret")
    finding = machine.find_hub_token({"HF_HOME": str(tmp_path)})
    assert (finding.state, finding.found) == ("ok", f"in {tmp_path / 'token'}")


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://[", "http://a:99999"])
def test_an_address_that_is_none_is_not_asked(url: str) -> None:
    assert machine.connection_problem(url)


@pytest.mark.network
def test_a_service_is_reached_or_the_reason_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert machine.connection_problem(url) is None
        hub, modal = machine.find_services({"HF_ENDPOINT": url, "MODAL_SERVER_URL": "http://127.0.0.1:9"})
    assert (hub.state, hub.found) == ("ok", f"{url} can be reached")
    assert modal.state == "missing"
    assert "http://127.0.0.1:9 cannot be reached:" in modal.found
    assert machine.connection_problem("http://127.0.0.1:99999")
    assert machine.connection_problem("nonsense")


@pytest.mark.parametrize(
    ("printed", "state", "found"),
    [
        ("NVIDIA H100 80GB HBM3, 81559 MiB\n" * 2, "ok", "2×NVIDIA H100 80GB HBM3, 81559 MiB"),
        ("", "missing", "none listed by nvidia-smi"),
        (None, "broken", "nvidia-smi fails (TimeoutExpired)"),
    ],
)
def test_gpus_are_counted(printed: str | None, state: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if printed is None:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        return subprocess.CompletedProcess(command, 0, printed, "")

    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    finding = machine.find_gpus(answer)
    assert (finding.state, finding.found) == (state, found)


def test_an_old_python_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.find_python().state == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert machine.find_python().advice == "Install Python 3.11 to 3.14."
