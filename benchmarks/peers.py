"""Peers of gpuplan, each in an environment of its own, and one question for all: a mixture of experts in a folder.

The folder holds Mixtral-8x7B's config.json and a safetensors file whose header is whole and whose weights are a hole,
so that a peer that reads local files finds what it wants and nothing is downloaded. Peers that know the model by a
name of their own are asked by that name. Left out: hf-mem and llm-d-planner speak to the hub alone; servcalc and
vramscout refuse this model from a folder; aiconfigurator and accelerate take seconds for their imports.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import venv
from math import prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

REPO = "mistralai/Mixtral-8x7B-v0.1"
HIDDEN, INTERMEDIATE, VOCAB, LAYERS, EXPERTS, KV_WIDTH = 4096, 14336, 32000, 32, 8, 1024
CONFIG = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_local_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
}
READS = "from its files"
SPEC = f"name: mixtral\nmodel: {{repo: {REPO}, path: .}}\n"


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


def peer_commands(environments: Path, folder: Path) -> dict[str, list[str]]:
    """What to run for each peer, installed below ``environments`` where it is not yet."""
    commands = {}
    for peer in PEERS:
        program = environments / peer.distribution / "bin" / peer.program
        if not program.exists():
            _install(peer, environments / peer.distribution)
        words = [word.format(folder=folder) for word in peer.arguments]
        commands[f"{peer.program}, {READS if peer.reads else 'by its name'}"] = [str(program), *words]
    return commands


def _install(peer: Peer, environment: Path) -> None:
    print(f"installing {peer.distribution} in {environment}", file=sys.stderr)
    venv.create(environment, with_pip=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", peer.distribution]
    subprocess.run(pip, check=True)


def write_model(folder: Path) -> None:
    """config.json, one safetensors file of 87 GiB that takes no room on the disk, and a spec that names the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "spec.yaml").write_text(SPEC)
    header, end = {}, 0
    for name, shape in _tensors():
        start, end = end, end + prod(shape) * 2
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def _tensors() -> list[tuple[str, list[int]]]:
    """Names and shapes as Mixtral's checkpoint has them."""
    found = [("model.embed_tokens", [VOCAB, HIDDEN]), ("lm_head", [VOCAB, HIDDEN]), ("model.norm", [HIDDEN])]
    for layer in (f"model.layers.{index}" for index in range(LAYERS)):
        found += [(f"{layer}.{name}_layernorm", [HIDDEN]) for name in ("input", "post_attention")]
        found += [(f"{layer}.self_attn.{name}_proj", [HIDDEN, HIDDEN]) for name in "qo"]
        found += [(f"{layer}.self_attn.{name}_proj", [KV_WIDTH, HIDDEN]) for name in "kv"]
        found.append((f"{layer}.block_sparse_moe.gate", [EXPERTS, HIDDEN]))
        for expert in (f"{layer}.block_sparse_moe.experts.{index}" for index in range(EXPERTS)):
            found += [(f"{expert}.{name}", [INTERMEDIATE, HIDDEN]) for name in ("w1", "w3")]
            found.append((f"{expert}.w2", [HIDDEN, INTERMEDIATE]))
    return [(f"{name}.weight", shape) for name, shape in found]
