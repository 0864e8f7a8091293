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
ODD = [
    "Llama-3-8B,bf16,auto,T9,1,1,1,1,45,350,59,oneshot,59,350,0.7.3,500,exact,256,somebody",
    "Llama-3-8B,fp3,auto,L4,1,1,1,1,45,350,59,oneshot,59,350,0.7.3,500,exact,256,somebody",
    "nobody/nothing,bf16,auto,L4,1,1,1,1,45,350,59,oneshot,59,350,0.7.3,500,exact,256,somebody",
]


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
    assert "left out: Llama-3-8B bf16 on T9: KeyError" in text
    assert "left out: Llama-3-8B fp3 on L4: KeyError" in text
    assert "left out: nobody/nothing bf16 on L4: KeyError" in text
    assert "all (2 rows): MAPE " in text
    assert "order right in 100.0% of 1 pairs" in text
    assert "Llama-2-7b-chat on 4×A10" in text


@pytest.mark.parametrize("rows", [[], ODD])
def test_nothing_to_score_is_said(printed: Any, rows: list[str]) -> None:
    assert "all: no rows" in printed(rows)
