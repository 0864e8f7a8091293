"""Peers of gpuplan, each in an environment of its own, and one question for all: a mixture of experts in a folder.

Two folders: Mixtral-8x7B with its 995 tensors, DeepSeek-V3 with its 90,427. Each holds the catalogue's config.json and
a safetensors file whose header is whole and whose weights are a hole, so that a peer that reads local files finds what
it wants and nothing is downloaded. Peers that know Mixtral by a name of their own are asked by that name. Left out:
hf-mem and llm-d-planner speak to the hub alone; servcalc and vramscout refuse these models from a folder;
aiconfigurator and accelerate take seconds for their imports.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import venv
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


CATALOGUE = Path(__file__).resolve().parent.parent / "planner" / "catalog" / "models"
REPOS = {"Mixtral-8x7B": "mistralai/Mixtral-8x7B-v0.1", "DeepSeek-V3": "deepseek-ai/DeepSeek-V3"}
READS = "from its files"
FP8_BLOCK = 128
BYTES = {"BF16": 2, "F32": 4, "F8_E4M3": 1}


class Peer(NamedTuple):
    """A distribution, its program, and how it is asked; ``{folder}`` stands for the model's."""

    distribution: str
    program: str
    arguments: tuple[str, ...]

    @property
    def reads(self) -> bool:
        """Whether it reads the model's files; the others look a name up in a table of their own."""
        return any("{folder}" in word for word in self.arguments)


PEERS = (
    Peer("modelinfo-cli", "modelinfo", ("{folder}/model.safetensors",)),
    Peer("ridgepoint", "ridgepoint", ("fit", "mixtral-8x7b", "--gpu", "h100-80gb:2")),
    Peer("llm-sizer", "llm-sizer", ("--model", "mixtral-8x7b")),
    Peer("vllm-wizard", "vllm-wizard", ("plan", "--model", "{folder}", "--gpu", "H100", "--vram-gb", "80")),
)


def reading(program: str, model: str) -> str:
    """How a command that reads a folder is called in the table."""
    return f"{program}, {model} {READS}"


def peer_commands(environments: Path, folders: Mapping[str, Path]) -> dict[str, list[str]]:
    """What to run for each peer and folder, installed below ``environments`` where it is not yet."""
    commands = {}
    for peer in PEERS:
        program = environments / peer.distribution / "bin" / peer.program
        if not program.exists():
            _install(peer, environments / peer.distribution)
        if not peer.reads:
            commands[f"{peer.program}, Mixtral by its name"] = [str(program), *peer.arguments]
            continue
        for model, folder in folders.items():
            words = [word.format(folder=folder) for word in peer.arguments]
            commands[reading(peer.program, model)] = [str(program), *words]
    return commands


def _install(peer: Peer, environment: Path) -> None:
    print(f"installing {peer.distribution} in {environment}", file=sys.stderr)
    venv.create(environment, with_pip=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", peer.distribution]
    subprocess.run(pip, check=True)


class Tensor(NamedTuple):
    """A name without its ".weight", and what the header says of it."""

    name: str
    shape: list[int]
    dtype: str = "BF16"
    suffix: str = ".weight"


def write_models(folder: Path) -> dict[str, Path]:
    """The folder of each mixture by its name: config.json, safetensors that take no room on the disk, and a spec."""
    return {model: _write_model(folder / model, repo, TENSORS[model]) for model, repo in REPOS.items()}


def _write_model(folder: Path, repo: str, tensors_of: Callable[[dict[str, Any]], Iterator[Tensor]]) -> Path:
    folder.mkdir(parents=True)
    config = json.loads((CATALOGUE / f"{repo.replace('/', '--')}.json").read_text())["config"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "spec.yaml").write_text(f"name: mixture\nmodel: {{repo: {repo}, path: .}}\n")
    header, end = {}, 0
    for tensor in tensors_of(config):
        start, end = end, end + prod(tensor.shape) * BYTES[tensor.dtype]
        header[tensor.name + tensor.suffix] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return folder


def _mixtral(config: dict[str, Any]) -> Iterator[Tensor]:
    """Names and shapes as Mixtral's checkpoint has them."""
    hidden, width = config["hidden_size"], config["intermediate_size"]
    kv_width = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    yield from _outside(config)
    for layer in (f"model.layers.{index}" for index in range(config["num_hidden_layers"])):
        yield from (Tensor(f"{layer}.{name}_layernorm", [hidden]) for name in ("input", "post_attention"))
        yield from (Tensor(f"{layer}.self_attn.{name}_proj", [hidden, hidden]) for name in "qo")
        yield from (Tensor(f"{layer}.self_attn.{name}_proj", [kv_width, hidden]) for name in "kv")
        experts = config["num_local_experts"]
        yield Tensor(f"{layer}.block_sparse_moe.gate", [experts, hidden])
        for expert in (f"{layer}.block_sparse_moe.experts.{index}" for index in range(experts)):
            yield from (Tensor(f"{expert}.{name}", [width, hidden]) for name in ("w1", "w3"))
            yield Tensor(f"{expert}.w2", [hidden, width])


def _deepseek_v3(config: dict[str, Any]) -> Iterator[Tensor]:
    """Names, shapes and formats as DeepSeek-V3's checkpoint has them, without its layer for multi-token prediction."""
    hidden, heads, experts = config["hidden_size"], config["num_attention_heads"], config["n_routed_experts"]
    query, latent, rotary = config["q_lora_rank"], config["kv_lora_rank"], config["qk_rope_head_dim"]
    yield from _outside(config)
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        yield from (Tensor(f"{layer}.{name}_layernorm", [hidden]) for name in ("input", "post_attention"))
        yield from (
            Tensor(f"{layer}.self_attn.{name}_a_layernorm", [rank]) for name, rank in (("q", query), ("kv", latent))
        )
        for name, out, width in (
            ("q_a_proj", query, hidden),
            ("q_b_proj", heads * (config["qk_nope_head_dim"] + rotary), query),
            ("kv_a_proj_with_mqa", latent + rotary, hidden),
            ("kv_b_proj", heads * (config["qk_nope_head_dim"] + config["v_head_dim"]), latent),
            ("o_proj", hidden, heads * config["v_head_dim"]),
        ):
            yield from _in_fp8(f"{layer}.self_attn.{name}", out, width)
        if index < config["first_k_dense_replace"]:
            yield from _mlp(f"{layer}.mlp", hidden, config["intermediate_size"])
            continue
        yield Tensor(f"{layer}.mlp.gate", [experts, hidden])
        yield Tensor(f"{layer}.mlp.gate", [experts], "F32", ".e_score_correction_bias")
        for expert in (*(f"experts.{number}" for number in range(experts)), "shared_experts"):
            yield from _mlp(f"{layer}.mlp.{expert}", hidden, config["moe_intermediate_size"])


def _outside(config: dict[str, Any]) -> Iterator[Tensor]:
    yield from (
        Tensor(name, [config["vocab_size"], config["hidden_size"]]) for name in ("model.embed_tokens", "lm_head")
    )
    yield Tensor("model.norm", [config["hidden_size"]])


def _mlp(name: str, hidden: int, width: int) -> Iterator[Tensor]:
    yield from _in_fp8(f"{name}.gate_proj", width, hidden)
    yield from _in_fp8(f"{name}.up_proj", width, hidden)
    yield from _in_fp8(f"{name}.down_proj", hidden, width)


def _in_fp8(name: str, out: int, width: int) -> Iterator[Tensor]:
    yield Tensor(name, [out, width], "F8_E4M3")
    yield Tensor(name, [-(-out // FP8_BLOCK), -(-width // FP8_BLOCK)], "F32", ".weight_scale_inv")


TENSORS: dict[str, Callable[[dict[str, Any]], Iterator[Tensor]]] = {
    "Mixtral-8x7B": _mixtral,
    "DeepSeek-V3": _deepseek_v3,
}
