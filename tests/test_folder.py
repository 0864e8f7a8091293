"""A local folder: config.json with or without weights, and what is wrong with a broken one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from planner.errors import ModelError
from planner.model.folder import read_folder
from tests.hub_server import safetensors

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = b'{"model_type": "llama"}'
ONE = safetensors({"a": ("BF16", [8], 16)})
TWO = safetensors({"b": ("F32", [8], 32)})
INDEX = json.dumps(
    {"metadata": {"total_size": 48}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
).encode()


def write(folder: Path, **files: bytes) -> Path:
    """Files by name with "." written as "__" and "-" as "_"."""
    for name, data in files.items():
        (folder / name.replace("__", ".").replace("_", "-").replace("hf-quant-config", "hf_quant_config")).write_bytes(
            data
        )
    return folder


def test_config_alone_has_no_sizes(tmp_path: Path) -> None:
    checkpoint = read_folder(write(tmp_path, config__json=CONFIG), "acme/chat")
    assert (checkpoint.source, checkpoint.revision) == ("path", None)
    assert checkpoint.checkpoint_bytes is None
    assert checkpoint.config == {"model_type": "llama"}


def test_one_file_is_measured_by_its_header(tmp_path: Path) -> None:
    checkpoint = read_folder(write(tmp_path, config__json=CONFIG, model__safetensors=ONE), "acme/chat", "a" * 40)
    assert (checkpoint.checkpoint_bytes, checkpoint.revision) == (16, "a" * 40)


def test_a_header_without_its_weights_can_be_planned_from(tmp_path: Path) -> None:
    length = 8 + int.from_bytes(ONE[:8], "little")
    checkpoint = read_folder(write(tmp_path, config__json=CONFIG, model__safetensors=ONE[:length]), "acme/chat")
    assert checkpoint.checkpoint_bytes == 16
    (warning,) = checkpoint.warnings
    assert warning.startswith("model.path: 1 of 1 safetensors files in ")


def test_files_without_an_index_are_all_read(tmp_path: Path) -> None:
    write(tmp_path, config__json=CONFIG, m_1__safetensors=ONE, m_2__safetensors=TWO)
    assert read_folder(tmp_path, "acme/chat").checkpoint_bytes == 48


def test_the_index_names_the_files(tmp_path: Path) -> None:
    write(tmp_path, config__json=CONFIG, m_1__safetensors=ONE, m_2__safetensors=TWO, other__safetensors=b"junk")
    (tmp_path / "model.safetensors.index.json").write_bytes(INDEX)
    assert read_folder(tmp_path, "acme/chat").checkpoint_bytes == 48


def test_the_index_alone_tells_the_size(tmp_path: Path) -> None:
    write(tmp_path, config__json=CONFIG)
    (tmp_path / "model.safetensors.index.json").write_bytes(INDEX)
    assert read_folder(tmp_path, "acme/chat").checkpoint_bytes == 48


def test_what_stands_beside_is_read(tmp_path: Path) -> None:
    (tmp_path / "hf_quant_config.json").write_bytes(b'{"quantization": {}}')
    checkpoint = read_folder(write(tmp_path, config__json=CONFIG), "acme/chat")
    assert checkpoint.hf_quant_config == {"quantization": {}}


BROKEN: dict[str, tuple[dict[str, bytes], str]] = {
    "no config": ({}, r"model.path: .*: no config.json in it. Type the folder that holds it, or fetch it: hf download"),
    "Mistral's own": ({"params.json": b"{}"}, r"no config.json in it, but params.json alone, which the planner"),
    "half a config": ({"config.json": b'{"a": 1,\n'}, r"config.json:2:1: not JSON: "),
    "config in UTF-16": ({"config.json": b"\xff\xfe{\0}\0"}, r"config.json: not UTF-8 at byte 0"),
    "config as a list": ({"config.json": b"[]"}, r"config.json: a list, not a mapping"),
    "config as a number": ({"config.json": b"5"}, r"config.json: only 5, not a mapping"),
    "a long number": (
        {"config.json": b'{"vocab_size": ' + b"9" * 5000 + b"}"},
        r"config.json: a number in it has thousands of digits",
    ),
    "half a character": ({"config.json": b'{"model_type": "\\ud800"}'}, r"config.json: holds half a character"),
    "half a character in a name": (
        {"config.json": CONFIG, "model.safetensors": (18).to_bytes(8, "little") + b'{"\\ud800": [1, 2]}'},
        r"a name in its header holds half a character",
    ),
    "config nested": ({"config.json": b"[" * 200_000}, r"config.json: nested too deeply|config.json:1"),
    "a pointer for config": (
        {"config.json": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"},
        r"config.json: a git-lfs pointer, not the file. Run `git lfs pull`",
    ),
    "a pointer for weights": (
        {"config.json": CONFIG, "model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"},
        r"model.safetensors: a git-lfs pointer",
    ),
    "weights cut off": ({"config.json": CONFIG, "model.safetensors": ONE[:-3]}, r"its tensors end at byte"),
    "an empty file": ({"config.json": CONFIG, "model.safetensors": b""}, r"the file ends after 0 bytes"),
    "a missing shard": (
        {"config.json": CONFIG, "model.safetensors.index.json": INDEX, "m-1.safetensors": ONE},
        r"1 of the 2 files that model.safetensors.index.json names are missing, such as m-2.safetensors",
    ),
    "an index without a map": (
        {"config.json": CONFIG, "model.safetensors.index.json": b"{}"},
        r"index.json: no weight_map",
    ),
    "an index that leads away": (
        {"config.json": CONFIG, "model.safetensors.index.json": b'{"weight_map": {"a": "../x.safetensors"}}'},
        r"weight_map names '../x.safetensors', which is no safetensors file beside it",
    ),
    "a tensor twice": (
        {"config.json": CONFIG, "a.safetensors": ONE, "b.safetensors": ONE},
        r"two safetensors files hold a",
    ),
}


@pytest.mark.parametrize(("files", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_says_what_is_wrong(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match=says) as caught:
        read_folder(tmp_path, "acme/chat")
    assert caught.value.exit_code == 6


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ModelError, match=r"config.json: not a file\. Type a folder whose config.json is one"):
        read_folder(tmp_path, "acme/chat")


def test_an_index_with_an_endless_size_claims_none(tmp_path: Path) -> None:
    claims = b'{"metadata": {"total_size": Infinity}, "weight_map": {"a": "x.safetensors"}}'
    write(tmp_path, config__json=CONFIG)
    (tmp_path / "model.safetensors.index.json").write_bytes(claims)
    assert read_folder(tmp_path, "acme/chat").checkpoint_bytes is None


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model.path: .*nowhere: no such folder"):
        read_folder(tmp_path / "nowhere", "acme/chat")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model.path: .*file: a file; name its folder"):
        read_folder(tmp_path / "file", "acme/chat")


def test_a_part_of_the_weights_will_do_where_they_are_being_fetched(tmp_path: Path) -> None:
    write(tmp_path, config__json=CONFIG, m_1__safetensors=ONE)
    (tmp_path / "model.safetensors.index.json").write_bytes(INDEX)
    assert read_folder(tmp_path, "acme/chat", whole=False).checkpoint_bytes == 48
