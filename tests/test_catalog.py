"""The shipped rows: every one is whole, plausible and sourced, and the parts fit together."""

from __future__ import annotations

import json
import re
import sys
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import platformdirs
import pytest

from planner.catalog import load_catalog
from planner.catalog.account_plans import load_account_plans
from planner.catalog.folders import cache_folder, config_folder, data_folder
from planner.catalog.load import HERE, PARTS, load_shipped
from planner.catalog.models import FOLDER
from planner.catalog.price_age import STALE_AFTER_DAYS, price_warnings
from planner.catalog.rates import RATE_NAMES
from planner.catalog.row_kinds import KINDS, REQUIRED
from planner.spec.problems import Problems
from planner.spec.source import compose
from planner.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

CATALOG = load_catalog()
GPUS = CATALOG.gpus
OFFERS = CATALOG.offers
LISTED = ["T4", "L4", "A10", "L40S", "A100-40GB", "A100-80GB", "RTX-PRO-6000", "H100", "H200", "B200", "B300"]
ALIASES = {"A100": "A100-40GB", "A10G": "A10", "H100!": "H100", "B200+": "B200"}
MODELS = sorted(path.name for path in FOLDER.iterdir())
GIB = 2**30

ROWS = [
    pytest.param(part, row, id=f"{target}-{part}-{name}")
    for target in ("modal", "local")
    for part in ("gpus", "offers", "rates")
    for name, row in load_shipped(target)[part].items()
]


@pytest.mark.parametrize(("part", "row"), ROWS)
def test_a_shipped_row_keeps_the_schema_of_a_users_row(part: str, row: dict[str, Any]) -> None:
    problems = Problems()
    node = compose(json.dumps(row), "row", problems)
    assert node
    assert isinstance(node.value, dict)
    assert set(REQUIRED[part]) <= set(row) <= set(KINDS[part])
    for field, (_, child) in node.value.items():
        if not (field in {"usd_per_second", "value"} and row[field] in {"0", "1", "1.5"}):
            KINDS[part][field].read(_unquoted(child, field), field, problems)
    assert problems.lines() == []


def _unquoted(node: Any, field: str) -> Any:
    """Money stands in quotes in JSON, so that no reader makes a binary fraction of it."""
    from msgspec.structs import replace

    return replace(node, plain=True) if field in {"usd_per_second", "value"} else node


def test_every_target_has_its_prices() -> None:
    assert {path.stem for path in HERE.glob("*.json")} == {"gpus", "measurements", *TARGETS}
    for part in ("offers", "rates"):
        assert KINDS[part]["target"].json_schema["enum"] == list(TARGETS)


def test_no_file_names_a_row_twice() -> None:
    for name in ("gpus", "modal", "local"):
        data = json.loads((HERE / f"{name}.json").read_text())
        for part, rows in data.items():
            names = [row[PARTS[part]] for row in rows]
            assert len(names) == len(set(names)), (name, part)


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_a_gpus_figures_agree_with_each_other(gpu: Any) -> None:
    assert 0.90 * gpu.marketed_gb * 1e9 < gpu.total_bytes < gpu.marketed_gb * GIB
    assert "*" in gpu.sources
    assert set(gpu.sources) - {"*"} <= set(gpu.__struct_fields__)
    assert all(source.strip() for source in gpu.sources.values())
    if gpu.bf16_tflops:
        assert gpu.bf16_tflops == gpu.fp16_tflops
    if gpu.fp8_tflops:
        assert gpu.fp8_tflops == pytest.approx(2 * gpu.fp16_tflops, rel=0.02)
    assert (gpu.link == "nvlink") <= gpu.peer_to_peer
    assert 16 <= gpu.link_gbps_per_direction <= 900
    if gpu.vendor == "nvidia":
        assert bool(gpu.bf16_tflops) == (gpu.compute_capability >= 80)
        assert bool(gpu.fp8_tflops) == (gpu.compute_capability >= 89)
        assert not gpu.fp4_tflops or gpu.compute_capability >= 100


def test_the_gpus_on_offer_are_those_that_are_promised() -> None:
    assert [name for name, offer in OFFERS.items() if offer.listed] == LISTED
    assert {name: offer.planned_as for name, offer in OFFERS.items() if not offer.listed} == ALIASES


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_names_a_gpu_and_costs_what_is_plausible(offer: Any) -> None:
    gpu = GPUS[offer.planned_as]
    assert gpu.vendor == "nvidia"
    assert offer.planned_as == offer.gpu or not offer.listed
    assert Decimal("0.4") < offer.usd_per_second * 3600 < 10
    assert offer.counts_sold == tuple(range(1, (4 if offer.planned_as == "A10" else 8) + 1))
    assert date(2026, 1, 1) <= offer.as_of
    assert not offer.negotiated


@pytest.mark.parametrize(("name", "planned_as"), ALIASES.items())
def test_an_alias_is_the_smallest_it_may_mean_at_its_price(name: str, planned_as: str) -> None:
    assert OFFERS[name].usd_per_second == OFFERS[planned_as].usd_per_second
    assert GPUS[planned_as].total_bytes <= min(
        gpu.total_bytes for other, gpu in GPUS.items() if other in LISTED and other.startswith(name.rstrip("!+G"))
    )


def test_prices_are_exact() -> None:
    assert OFFERS["A100-80GB"].usd_per_second * 3600 * 2 == Decimal("4.9968")
    assert OFFERS["A100-40GB"].usd_per_second * 3600 * 4 == Decimal("8.3952")
    assert CATALOG.prices_as_of == date(2026, 10, 8)


def test_every_rate_is_there_for_every_target() -> None:
    for target in ("modal", "local"):
        assert tuple(load_catalog(target=target).rates.rows) == RATE_NAMES


def test_a_region_multiplies() -> None:
    rates = CATALOG.rates
    assert [rates.region_multiplier(region) for region in (None, "us", "us-west")] == [
        1,
        Decimal("1.5"),
        Decimal("1.75"),
    ]
    assert load_catalog(target="local").rates.region_multiplier("us") == 1
    assert rates.usd_per_cpu_core_second == Decimal("0.0000131")
    assert rates.usd_per_memory_gib_second == Decimal("0.00000222")
    assert rates.usd_per_volume_gib_month == Decimal("0.09")
    assert rates.as_of == date(2026, 9, 20)


def test_account_plans_have_dates_and_credit() -> None:
    starter, team = load_account_plans()
    assert (starter.credit_usd_per_month, team.max_gpus) == (30, 50)
    assert starter.as_of == date(2026, 7, 1)
    assert load_account_plans("local") == ()


def test_ones_own_machine_costs_nothing() -> None:
    local = load_catalog(target="local")
    listed = {name for name, offer in local.offers.items() if offer.listed}
    assert listed == {name for name, gpu in GPUS.items() if gpu.vendor == "nvidia"}
    assert {offer.usd_per_second for offer in local.offers.values()} == {0}
    assert local.prices_as_of is None
    assert list(price_warnings(local, date(2040, 1, 1))) == []


def test_ones_own_machine_takes_the_providers_names_and_those_of_nvidia_smi() -> None:
    """Each planned as the same GPU as there."""
    local = {name: offer.planned_as for name, offer in load_catalog(target="local").offers.items()}
    assert {name: local.get(name) for name in OFFERS} == {name: offer.planned_as for name, offer in OFFERS.items()}
    devices = {gpu.device_name: name for name, gpu in GPUS.items() if gpu.vendor == "nvidia"}
    assert {device: local.get(device) for device in devices} == devices


def test_an_old_price_is_a_warning() -> None:
    seen = CATALOG.prices_as_of
    assert seen
    assert not any(
        "H100" in text or "more" in text for text in price_warnings(CATALOG, seen + timedelta(STALE_AFTER_DAYS))
    )
    assert list(price_warnings(CATALOG, seen + timedelta(STALE_AFTER_DAYS + 1))) == [
        "prices: CPU and memory were last seen on 2026-09-20, 109 days ago; "
        "compare them with the provider's, or run: gpuplan prices --refresh",
        "prices: T4, L4 and 13 more were last seen on 2026-10-08, 91 days ago; "
        "compare them with the provider's, or run: gpuplan prices --refresh",
    ]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_row_is_whole(name: str) -> None:
    row = json.loads((FOLDER / name).read_text())
    assert set(row) - {"hf_quant_config"} == {
        "repo",
        "revision",
        "gated",
        "source",
        "hub_parameters",
        "checkpoint_bytes",
        "config",
    }
    assert name == f"{row['repo'].replace('/', '--')}.json"
    assert row["revision"] is None or re.fullmatch(r"[0-9a-f]{40}", row["revision"])
    assert isinstance(row["gated"], bool)
    assert len(row["source"]) > 20
    for size in (row["hub_parameters"], row["checkpoint_bytes"]):
        assert size is None or (isinstance(size, int) and size > 10**8)
    assert row["config"]["architectures"]
    assert row["config"]["model_type"]
    found = CATALOG.find_model(row["repo"])
    assert found
    assert (found.repo, found.config, found.source) == (row["repo"], row["config"], "catalogue")


def test_the_models_that_people_ask_for_are_there() -> None:
    names = CATALOG.model_names()
    assert len(names) >= 150
    assert list(names) == sorted(names, key=str.lower)
    for repo in ("7b", "7b-chat", "13b", "13b-chat", "70b", "70b-chat"):
        found = CATALOG.find_model(f"meta-llama/Llama-2-{repo}-hf")
        assert found
        assert found.gated
        assert found.config["max_position_embeddings"] == 4096


@pytest.mark.parametrize("repo", ["", "nobody/nothing", "../gpus", "a/../../gpus", "a\0b/c", "x" * 5000])
def test_what_is_no_model_is_not_found(repo: str) -> None:
    assert CATALOG.find_model(repo) is None


def test_folders_are_platformdirs_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def check() -> None:
        assert config_folder() == platformdirs.user_config_path("gpuplan")
        assert cache_folder() == platformdirs.user_cache_path("gpuplan")
        assert data_folder() == platformdirs.user_data_path("gpuplan")

    check()
    for value in ("", "  "):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        check()
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name)
    check()
    monkeypatch.setattr(sys, "platform", "another")
    check()
