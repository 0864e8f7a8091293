"""Where a spec's text comes from: files, folders, standard input; and text that is made to do harm."""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from planner.errors import SpecError
from planner.spec import load_spec, parse_spec
from planner.spec.source import START

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL = "name: a\nmodel: {repo: org/m}\n"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"name: \xff\n", ":1:7: file: the byte 0xFF is not UTF-8; save the file as UTF-8"),
        ("name: a\nregion: \xe9".encode("latin-1"), ":2:9: file: the byte 0xE9 is not UTF-8; save the file as UTF-8"),
        ("é\nname: ".encode() + b"\xff", ":2:7: file: the byte 0xFF is not UTF-8; save the file as UTF-8"),
        ("\ufeffname: a".encode("utf-16-le"), ":1:1: file: this is UTF-16 or UTF-32; save the file as UTF-8"),
        ("\ufeffname: a".encode("utf-16-be"), ":1:1: file: this is UTF-16 or UTF-32; save the file as UTF-8"),
        (b"\0" * 100, ":1:1: file: the character U+0000 cannot stand in YAML; type it without"),
        (b"#" * (1 << 20) + b"\n", f":1:1: file: larger than 1 MiB; a spec is a few lines of YAML, type {START}"),
    ],
)
def test_bytes_that_are_no_spec(data: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(data)
    with pytest.raises(SpecError) as caught:
        load_spec(str(path))
    assert caught.value.problems == [f"{path}{problem}"]


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "llama.yaml").write_text(MINIMAL)
    with pytest.raises(SpecError) as caught:
        load_spec(str(tmp_path / "lama.yaml"))
    assert str(caught.value) == f"{tmp_path}/lama.yaml: no such file; did you mean {tmp_path}/llama.yaml?"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere/x.yaml", "no such file; type the path of a spec, or run: gpuplan init"),
        (".", "is a folder; type the path of a spec in it"),
        (
            "plan.json",
            "no such file; type the path of a spec or a saved plan, or save one: gpuplan plan SPEC --out PATH",
        ),
    ],
)
def test_a_path_that_cannot_be_read(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(str(tmp_path / name))
    assert str(caught.value) == f"{tmp_path / name}: {words.replace('PATH', str(tmp_path / name))}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Llama-2-70b-chat", "did you mean the model meta-llama/Llama-2-70b-chat-hf?"),
        ("zzz", "type the path of a spec, a model as org/name (see `gpuplan models`), or run: gpuplan init"),
    ],
)
def test_a_model_without_its_organization_is_told_how_to_be_typed(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        load_spec(name)
    assert str(caught.value) == f"{name}: no such file; {words}"


def test_a_minus_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MINIMAL.encode())))
    assert load_spec("-").name == "a"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"name: A\n")))
    with pytest.raises(SpecError, match=r"^stdin:1:1: model: missing"):
        load_spec("-")


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=[MINIMAL])
    writer.start()
    assert load_spec(str(pipe)).name == "a"
    writer.join()


HOSTILE = {
    "lists in lists": "[" * 400_000,
    "mappings in mappings": "{a: " * 200_000,
    "dashes in dashes": "- " * 400_000,
    "aliases of aliases": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)),
    "merges of merges": "a0: &a0 {k: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}], k{i}: 1}}\n" for i in range(1, 30)),
    "many keys": "".join(f"k{i}: 1\n" for i in range(60_000)),
    "a long key": "k" * 900_000 + ": 1\n",
    "a long number": MINIMAL + "engine: {max_model_len: " + "9" * 900_000 + "}\n",
    "a long line of quotes": MINIMAL + "region: " + '"' * 500_000,
    "digits and colons": MINIMAL + "region: " + "1:" * 300_000 + "x\n",
    "half a surrogate pair": 'name: "\\ud800"\n',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_refused_shortly(text: str) -> None:
    """Taken as written, some of these would never end, or fill the memory."""
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "s.yaml")
    assert max(map(len, caught.value.problems)) < 400
