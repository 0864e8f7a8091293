"""A user's own rows: they win, they may be partial, and every problem has a place."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from planner.catalog import load_catalog
from planner.catalog.folders import config_folder
from planner.catalog.row_kinds import REQUIRED
from planner.errors import SpecError
from planner.spec import parse_spec

if TYPE_CHECKING:
    from planner.catalog import Catalog

ROOT = Path(__file__).resolve().parent.parent
GPU = """
gpus:
  - name: X1
    architecture: Hopper
    compute_capability: 90
    device_name: NVIDIA X1
    marketed_gb: 64
    total_bytes: 64000000000
    memory_bandwidth_gbps: 2000
    memory_kind: hbm
    fp16_tflops: 500
    bf16_tflops: 500
    link: pcie
    link_gbps_per_direction: 64
    peer_to_peer: true
    sources: {"*": our own benchmark}
offers:
  - {gpu: X1, usd_per_second: 0.0005, counts_sold: [1, 2], as_of: 2026-11-01, source: our rack}
"""


def load(tmp_path: Path, text: str, target: str = "modal") -> Catalog:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    return load_catalog(file, target)


def test_a_new_gpu_and_its_price(tmp_path: Path) -> None:
    catalog = load(tmp_path, GPU)
    offer = catalog.offers["X1"]
    assert (offer.planned_as, offer.counts_sold, offer.listed) == ("X1", (1, 2), True)
    assert offer.usd_per_second == Decimal("0.0005")
    gpu = catalog.gpus["X1"]
    assert (gpu.total_bytes, gpu.fp8_tflops, gpu.sms, gpu.vendor) == (64_000_000_000, None, None, "nvidia")


def test_a_spec_may_name_a_gpu_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(GPU)
    text = "name: a\nmodel: {repo: acme/chat}\ngpu: {types: [X1]}\n"
    assert parse_spec(text, "spec.yaml", (), file).gpu.types == ("X1",)
    with pytest.raises(SpecError, match=r"gpu.types\[0\]: unknown GPU"):
        parse_spec(text, "spec.yaml")


def test_a_negotiated_price_keeps_what_it_does_not_say(tmp_path: Path) -> None:
    text = "offers: [{gpu: H100, usd_per_second: 0.0009, as_of: 2026-11-01, source: contract, negotiated: true}]"
    offer = load(tmp_path, text).offers["H100"]
    assert (offer.usd_per_second, offer.negotiated, offer.planned_as) == (Decimal("0.0009"), True, "H100")
    assert offer.counts_sold == tuple(range(1, 9))
    assert load(tmp_path, text, "local").offers["H100"].usd_per_second == 0


def test_rows_of_another_target_stay_there(tmp_path: Path) -> None:
    text = (
        "rates: [{name: usd_per_cpu_core_second, value: 0.5, as_of: 2026-11-01, source: bill, target: local}]\n"
        "offers: [{gpu: H100, usd_per_second: 0.1, as_of: 2026-11-01, source: power, target: local}]"
    )
    assert load(tmp_path, text).rates.usd_per_cpu_core_second == Decimal("0.0000131")
    local = load(tmp_path, text, "local")
    assert (local.rates.usd_per_cpu_core_second, local.offers["H100"].usd_per_second) == (
        Decimal("0.5"),
        Decimal("0.1"),
    )


def test_a_private_model(tmp_path: Path) -> None:
    text = """
models:
  - repo: acme/chat
    revision: 0123456789abcdef0123456789abcdef01234567
    source: our registry
    config:
      architectures: [LlamaForCausalLM]
      hidden_size: 4096
      rope_theta: 1e-5
      tie_word_embeddings: false
      sliding_window: null
      version: "1.0"
"""
    catalog = load(tmp_path, text)
    found = catalog.find_model("acme/chat")
    assert found
    assert found.config == {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4096,
        "rope_theta": 1e-5,
        "tie_word_embeddings": False,
        "sliding_window": None,
        "version": "1.0",
    }
    assert found.revision == "0123456789abcdef0123456789abcdef01234567"
    assert "acme/chat" in catalog.model_names()


def test_the_config_folder_is_read_and_the_file_wins(tmp_path: Path) -> None:
    config_folder().mkdir(parents=True)
    row = "offers: [{{gpu: H100, usd_per_second: {}, as_of: 2026-11-01, source: a}}]"
    (config_folder() / "modal-prices.yaml").write_text(row.format("0.1"))
    assert load_catalog().offers["H100"].usd_per_second == Decimal("0.1")
    (config_folder() / "catalog.yaml").write_text(row.format("0.2"))
    assert load_catalog().offers["H100"].usd_per_second == Decimal("0.2")
    assert load(tmp_path, row.format("0.3")).offers["H100"].usd_per_second == Decimal("0.3")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "offers:\n", "offers: []\n"])
def test_an_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == load_catalog()


def test_json_will_do_too(tmp_path: Path) -> None:
    text = '{"offers": [{"gpu": "H100", "usd_per_second": 0.0009, "as_of": "2026-11-01", "source": "a"}]}'
    assert load(tmp_path, text).offers["H100"].usd_per_second == Decimal("0.0009")


WRONG = [
    ("[]", ["1:1: file: a list is not a mapping; type gpus:, offers:, rates: or models:"]),
    ("gpu: []", ["1:1: gpu: unknown key, did you mean gpus?"]),
    ("prices: []", ["1:1: prices: unknown key; the keys are gpus, offers, rates, models"]),
    ("offers: {}", ["1:9: offers: a mapping is not a list; type one row after each -"]),
    ("offers: [5]", ['1:10: offers[0]: "5" is not a mapping; type its keys, indented alike']),
    ("offers: [{gpu: H100}]", []),
    (
        "offers: [{gpu: H300, usd_per_second: 1}]",
        ["1:10: offers[0]: missing: counts_sold, as_of, source"],
    ),
    (
        "offers: [{gpu: H300, usd_per_second: 1, counts_sold: [1], as_of: 2026-01-01, source: a}]",
        ["1:10: offers[0]: H300 is not a GPU of the catalogue; did you mean H200?"],
    ),
    (
        "offers: [{gpu: MI300X, usd_per_second: 1, counts_sold: [1], as_of: 2026-01-01, source: a}]",
        ["1:10: offers[0]: MI300X is an AMD GPU; the rules here are those of NVIDIA GPUs"],
    ),
    (
        "offers: [{gpu: H100, usd_per_second: -1, as_of: soon, sorce: a}]",
        [
            "1:38: offers[0].usd_per_second: -1 is out of range; type above 0, up to 1000",
            '1:49: offers[0].as_of: "soon" is not a date; type for example 2026-10-08',
            "1:55: offers[0].sorce: unknown key, did you mean source?",
        ],
    ),
    ("offers: [{gpu: H100}, {gpu: H100}]", ["1:23: offers[1]: H100 has two rows; keep one"]),
    (
        "gpus: [{name: H100, total_bytes: 80 GB, bf16_tflops: fast}]",
        [
            '1:34: gpus[0].total_bytes: "80 GB" is not a whole number; type for example 85017493504',
            '1:54: gpus[0].bf16_tflops: "fast" is not a number; type for example 989.0',
        ],
    ),
    (
        "gpus: [{name: H100, sources: a}]",
        ['1:30: gpus[0].sources: "a" is not a mapping; type {"*": where the values are from}'],
    ),
    (
        "models: [{repo: acme/chat, source: a, config: 5, revision: main}]",
        [
            '1:47: models[0].config: "5" is not a mapping; type the keys of config.json below it',
            '1:60: models[0].revision: "main" is not a 40-hex commit; type one, or leave the key out',
        ],
    ),
]


@pytest.mark.parametrize(("text", "lines"), WRONG)
def test_every_problem_has_its_place(tmp_path: Path, text: str, lines: list[str]) -> None:
    if not lines:
        load(tmp_path, text)
        return
    with pytest.raises(SpecError) as caught:
        load(tmp_path, text)
    assert caught.value.problems == [f"{tmp_path / 'own.yaml'}:{line}" for line in lines]
    assert caught.value.exit_code == 2


EXAMPLES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "catalogue.md").read_text(), re.S)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_pages_examples_can_be_used(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) != load_catalog()


def test_the_page_names_every_key_that_a_row_needs() -> None:
    page = "".join(EXAMPLES)
    assert len(EXAMPLES) == 4
    for part, fields in REQUIRED.items():
        assert f"{part}:" in page
        assert all(re.search(rf"\b{field}:", page) for field in fields), part


def test_fits_takes_a_gpu_of_ones_own(tmp_path: Path) -> None:
    from tests.command import gpuplan

    file = tmp_path / "own.yaml"
    file.write_text(GPU)
    done = gpuplan("fits", "X1:2", "llama-2-7b", "--catalog", str(file))
    assert done.code == 0, done.err
    assert "meta-llama/Llama-2-7b" in done.out
    assert gpuplan("fits", "X1:2", "llama-2-7b").code == 2
