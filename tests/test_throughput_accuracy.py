"""The check of speed against published rows: what it prints, and that odd rows are named and left out."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
COLUMNS = (
    "model,dtype,kv_dtype,gpu,n_gpus,tp,pp,dp,input_len,output_len,concurrency_or_batch,mode,n_requests,out_len_max,"
    "version,output_tok_s,exactness,max_num_seqs,source"
)
# The note's 7b of 2023 on one and four A10 (vLLM 0.1.3; lengths are estimates).
NOTE = [
    "Llama-2-7b-chat,fp16,auto,A10,1,1,1,1,45,350,59,oneshot,59,800,0.1.3,458.8,ESTIMATED,256,hamelsmu/hamel-site",
    "Llama-2-7b-chat,fp16,auto,A10,4,4,1,1,45,350,59,oneshot,59,800,0.1.3,543.6,ESTIMATED,256,hamelsmu/hamel-site",
]
ODD = {
    "Llama-3-8B,bf16,auto,T9,1,1,1,1,45,350,59,oneshot,59,350,0.7.3,500,exact,256,x": "the catalogue has no GPU 'T9'",
    "Llama-3-8B,fp3,auto,L4,1,1,1,1,45,350,59,oneshot,59,350,0.7.3,500,exact,256,x": "no format 'fp3'; known are auto",
    "no/thing,bf16,auto,L4,1,1,1,1,45,350,59,oneshot,59,350,0.7.3,500,exact,256,x": "has no model 'no/thing'",
    "Llama-3-8B,bf16,auto,L4,1,1,1,1,45,350,59,online,59,350,0.7.3,500,exact,256,x": "no mode 'online'",
    "Llama-3-8B,bf16,auto,L4,1,1,1,1,45,350,59,oneshot,59,350,0.7.3,,exact,256,x": "output_tok_s is ''",
    "Llama-3-8B,bf16,auto,L4,1,one,1,1,45,350,59,oneshot,59,350,0.7.3,500,exact,256,x": "tp is 'one', not a whole",
    "Llama-3-8B,bf16,auto,L4,1,1": "concurrency_or_batch is ''",
}


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(rows: list[str]) -> str:
        (tmp_path / "rows.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        monkeypatch.setattr(sys, "argv", ["throughput_accuracy.py", str(tmp_path / "rows.csv"), "--quick"])
        runpy.run_path(str(BENCHMARKS / "throughput_accuracy.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_rows_are_scored_and_odd_ones_named(printed: Any) -> None:
    text = printed([*NOTE, *ODD])
    said = [line for line in text.splitlines() if line.startswith("left out: ")]
    assert all(why in line for why, line in zip(ODD.values(), said, strict=True))
    assert "7 of 9 rows are left out" in text
    assert "all (2 rows): MAPE " in text
    assert "order right in 100.0% of 1 pairs" in text
    assert "Llama-2-7b-chat on 4×A10" in text


@pytest.mark.parametrize("rows", [[], [*ODD]])
def test_nothing_to_score_is_said(printed: Any, rows: list[str]) -> None:
    assert "all: no rows" in printed(rows)


def test_a_row_needs_ten_columns_and_names_its_gpu_as_it_likes(
    printed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = "model,dtype,gpu,tp,input_len,output_len,concurrency_or_batch,mode,version,output_tok_s"
    monkeypatch.setattr(sys.modules[__name__], "COLUMNS", few)
    names = ("NVIDIA L40S", "Tesla T4", "NVIDIA H100 80GB HBM3", "RTX PRO 6000 Blackwell Server Edition", "B300 SXM")
    text = printed([f"Qwen/Qwen2.5-7B-Instruct,float16,{name},1,512,256,32,closed,0.30.0,900" for name in names])
    assert "all (5 rows): MAPE " in text
    assert "left out" not in text


def test_what_a_checkpoint_is_published_in_keeps_its_own_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = runpy.run_path(str(BENCHMARKS / "throughput_names.py"))
    own, made = (names["find_facts"](repo, "fp8") for repo in ("Qwen/Qwen3-30B-A3B-FP8", "Qwen/Qwen3-30B-A3B"))
    assert own.quantization["quant_method"] == "fp8"
    assert made.quantization["quant_method"] == "modelopt"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.csv", '{"rows": []}', "not a CSV of measurements, it has no column model, dtype, gpu"),
        ("rows.csv", "model,gpu\n", "not a CSV of measurements, it has no column dtype, tp, input_len"),
        ("own.json", "a,b\n", "not a file of own starts"),
        ("own.json", '{"rows": [{"model": "a"}]}', "not a file of own starts"),
        ("own.json", None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str | None,
    words: str,
) -> None:
    (tmp_path / "rows.csv").write_text(COLUMNS + "\n")
    if text is not None:
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    own = ["--measured", str(tmp_path / "own.json")] if name == "own.json" else []
    monkeypatch.setattr(sys, "argv", ["throughput_accuracy.py", str(tmp_path / "rows.csv"), "--quick", *own])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCHMARKS / "throughput_accuracy.py"), run_name="__main__")
    assert ended.value.code == 2
    assert f"{name}: {words}" in capsys.readouterr().err
