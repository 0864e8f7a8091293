"""Headers against config.json: agreement is silent, a difference is told in bytes with the tensors that make it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from planner.model.agreement import find_disagreement
from planner.model.architectures import make_facts
from planner.model.described import describe
from planner.model.folder import read_folder
from planner.model.headers import TensorInfo
from planner.model.identity import Checkpoint
from planner.model.quantization import engine_quantization, scheme_for
from planner.model.stored import is_weight
from planner.model.tensor_runs import tensor_runs
from tests.checkpoints import (
    LLAMA,
    LLAVA,
    QWEN3_MOE,
    Shapes,
    awq,
    fp8_block,
    gptq,
    llama,
    llava,
    nvfp4,
    packed,
    qwen3_moe,
    sized,
    tensors_of,
)
from tests.command import gpuplan
from tests.hub_server import Repo, safetensors, serve_hub
from tests.made_facts import catalog, facts_of
from tests.published import GPTQ, PUBLISHED

if TYPE_CHECKING:
    from pathlib import Path

    from planner.model.agreement import Disagreement
    from planner.model.facts import ModelFacts

TIED = {**LLAMA, "tie_word_embeddings": True}
WITH_MTP = {**LLAMA, "num_nextn_predict_layers": 1}
BUFFERS: Shapes = {
    "model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", [32]),
    "model.layers.0.self_attn.attn.bias": ("BOOL", [1, 1, 64, 64]),
    "model.layers.0.self_attn.k_scale": ("F32", []),
    "model.position_ids": ("I64", [1, 4096]),
}


def disagreement(config: dict[str, Any], shapes: Shapes) -> Disagreement | None:
    facts = make_facts(Checkpoint(f"acme/{len(shapes)}-{hash(json.dumps(config))}", "path", config))
    return find_disagreement(facts, config, tensor_runs(tensors_of(shapes)))


def quantized(config: dict[str, Any]) -> dict[str, Any]:
    return {**LLAMA, "quantization_config": config}


@pytest.mark.parametrize(
    ("config", "shapes"),
    [
        pytest.param(LLAMA, llama(), id="plain"),
        pytest.param(TIED, llama(head=False), id="tied"),
        pytest.param(TIED, llama(), id="tied-and-stored-twice"),
        pytest.param(LLAMA, llama() | BUFFERS, id="buffers"),
        pytest.param(WITH_MTP, llama(layers=3), id="prediction-layer-past-the-last"),
        pytest.param(LLAMA, llama() | {"mtp.fc.weight": ("BF16", [256, 512])}, id="prediction-beside"),
        pytest.param(LLAMA, {name: ("F32", shape) for name, (_, shape) in llama().items()}, id="stored-in-fp32"),
        pytest.param(QWEN3_MOE, qwen3_moe(), id="experts-apart"),
        pytest.param(QWEN3_MOE, qwen3_moe(fused=True), id="experts-fused"),
        pytest.param(quantized(PUBLISHED["awq"]), llama(linear=awq), id="awq"),
        pytest.param(quantized(GPTQ), llama(linear=gptq), id="gptq"),
        pytest.param(quantized(PUBLISHED["ct_w4a16"]), llama(linear=packed), id="pack-quantized"),
        pytest.param(quantized(PUBLISHED["fp8_block"]), llama(linear=fp8_block), id="fp8-block"),
        pytest.param(quantized(PUBLISHED["mo_nvfp4"]), llama(linear=nvfp4), id="nvfp4"),
        pytest.param(LLAVA, llava(), id="encoder-layer-past-the-last-that-is-read"),
        pytest.param(LLAMA, {}, id="no-headers"),
    ],
)
def test_agreement_is_silent(config: dict[str, Any], shapes: Shapes) -> None:
    assert disagreement(config, shapes) is None


def test_an_encoder_layer_that_is_read_is_missed() -> None:
    assert disagreement(LLAVA, llava(layers=1)) is not None


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "counted"),
    [
        ("h.0.attn.bias", "F32", (1, 1, 1024, 1024), False),
        ("h.0.attn.c_attn.bias", "F32", (2304,), True),
        ("gpt_neox.layers.0.attention.masked_bias", "F16", (), False),
        ("gpt_neox.layers.0.attention.rotary_emb.inv_freq", "F32", (32,), False),
        ("model.layers.0.mlp.gate.e_score_correction_bias", "F32", (256,), True),
        ("model.layers.0.mlp.experts.gate_up_proj_blocks", "U8", (32, 5760, 90, 16), True),
        ("model.layers.0.mlp.experts.gate_up_proj_scales", "U8", (32, 5760, 90), False),
        ("model.layers.0.mlp.experts.gate_up_proj_bias", "BF16", (32, 5760), True),
        ("model.layers.0.self_attn.sinks", "BF16", (64,), True),
        ("model.layers.0.self_attn.k_proj.k_scale", "F32", (), False),
        ("model.layers.0.self_attn.o_proj.pre_quant_scale", "BF16", (4096,), False),
        ("model.layers.0.self_attn.o_proj.weight_global_scale", "F32", (1,), False),
        ("model.layers.0.self_attn.o_proj.input_scale_ub", "F32", (1,), False),
        ("model.layers.0.self_attn.q_proj.g_idx", "I32", (4096,), False),
        ("model.layers.0.router.per_expert_scale", "BF16", (128,), True),
        ("model.mtp_layers.0.input_proj.weight", "BF16", (8, 8), False),
        ("mtp.fc.weight", "BF16", (8, 8), False),
        ("lm_head.weight", "BF16", (1000, 64), True),
    ],
)
def test_what_counts_as_a_parameter(name: str, dtype: str, shape: tuple[int, ...], counted: bool) -> None:
    (run,) = tensor_runs([TensorInfo(name, dtype, shape, 0)])
    assert is_weight(run) is counted


LAYER_BYTES = 2 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256 + 2 * 256)
TABLE_BYTES = 2 * 1000 * 256


@pytest.mark.parametrize(
    ("config", "shapes", "more_bytes", "only_stored", "only_described"),
    [
        pytest.param(
            LLAMA, llama(layers=3), LAYER_BYTES, "model.layers.#.mlp.down_proj.weight (BF16 [256, 512])", None,
            id="a-layer-more",
        ),
        pytest.param(LLAMA, llama(layers=1), -LAYER_BYTES, None, "mlp.gate_up_proj", id="a-layer-less"),
        pytest.param(LLAMA, llama(head=False), -TABLE_BYTES, None, "lm_head", id="no-head"),
        pytest.param(
            LLAMA, llama(vocab_size=1200), 2 * 2 * 200 * 256, "lm_head.weight (BF16 [1200, 256])", "model.embed_tokens",
            id="another-vocabulary",
        ),
        pytest.param(
            LLAMA, llama() | {"visual.merger.weight": ("BF16", [512, 512])}, 2 * 512 * 512,
            "visual.merger.weight (BF16 [512, 512])", None, id="a-tensor-more",
        ),
        pytest.param(
            LLAMA, llama(linear=fp8_block), -2 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256),
            "model.layers.#.mlp.down_proj.weight (F8_E4M3 [256, 512])", "mlp.gate_up_proj", id="quantized-unannounced",
        ),
        pytest.param(
            quantized(PUBLISHED["awq"]), llama(), 3 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256),
            "model.layers.#.mlp.down_proj.weight (BF16 [256, 512])", "mlp.gate_up_proj", id="not-quantized-at-all",
        ),
        pytest.param(
            QWEN3_MOE, qwen3_moe() | {"model.layers.1.mlp.shared.weight": ("BF16", [256, 256])}, 2 * 256 * 256,
            "model.layers.#.mlp.shared.weight (BF16 [256, 256])", None, id="a-shared-expert-more",
        ),
    ],
)  # fmt: skip
def test_a_difference_is_told_in_bytes_with_its_tensors(
    config: dict[str, Any], shapes: Shapes, more_bytes: int, only_stored: str | None, only_described: str | None
) -> None:
    found = disagreement(config, shapes)
    assert found is not None
    assert found.stored_bytes - found.described_bytes == more_bytes
    assert next(iter(found.only_stored), None) == only_stored
    assert next(iter(found.only_described), None) == only_described


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("BF16",), "bfloat16"),
        (("F16", "I32", "F16"), "float16"),
        (("F8_E4M3", "BF16"), "bfloat16"),
        (("BF16", "F32"), "float32"),
        (("I64",), "float32"),
        ((), "float32"),
    ],
)
def test_tensors_tell_the_dtype_that_config_json_leaves_out(dtypes: tuple[str, ...], expected: str) -> None:
    unstated = {key: value for key, value in LLAMA.items() if key != "torch_dtype"}
    tensors = tensor_runs(tensors_of({f"t{number}": (dtype, [1]) for number, dtype in enumerate(dtypes)}))
    repo = "acme/" + "-".join(dtypes)
    assert make_facts(Checkpoint(repo, "path", unstated, tensors=tensors)).dtype == expected
    assert make_facts(Checkpoint(f"{repo}-stated", "path", LLAMA, tensors=tensors)).dtype == "bfloat16"


@pytest.mark.parametrize(("config", "linear"), [(PUBLISHED["awq"], awq), (GPTQ, gptq)], ids=["awq", "gptq"])
def test_modules_left_alone_are_read_off_the_tensors(config: dict[str, Any], linear: Any) -> None:
    shapes = llama(linear=linear)
    name = "model.layers.1.self_attn.o_proj"
    shapes = {key: one for key, one in shapes.items() if not key.startswith(name)}
    shapes |= {f"{name}.weight": ("BF16", [256, 256])}
    checkpoint = Checkpoint(f"acme/{name}", "path", quantized(config), tensors=tensor_runs(tensors_of(shapes)))
    facts = make_facts(checkpoint)
    assert find_disagreement(facts, checkpoint.config, checkpoint.tensors) is None
    quantization = engine_quantization(facts)
    kept = [scheme_for(quantization, f"model.layers.{layer}.self_attn.o_proj", "linear") is None for layer in (0, 1)]
    assert kept == [False, True]


def write(folder: Path, shapes: Shapes, config: dict[str, Any] = LLAMA) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors(sized(shapes)))
    spec = folder / "spec.yaml"
    spec.write_text("name: toy\nmodel: {repo: acme/toy, path: .}\ngpu: {types: [L4], counts: [1]}\n")
    return spec


def test_a_folder_that_agrees_has_no_warning(tmp_path: Path) -> None:
    done = gpuplan("plan", str(write(tmp_path, llama())), "--json")
    assert done.code == 0
    assert json.loads(done.out)["warnings"] == []


def test_a_folder_that_does_not_agree_warns_with_the_difference(tmp_path: Path) -> None:
    done = gpuplan("plan", str(write(tmp_path, llama(layers=3))), "--json")
    assert done.code == 0
    (warning,) = json.loads(done.out)["warnings"]
    assert warning.startswith("model.path: the safetensors headers of acme/toy hold ")
    assert (
        f" {LAYER_BYTES:,} bytes more. Not described: model.layers.#.mlp.down_proj.weight (BF16 [256, 512])" in warning
    )
    assert "and 6 more. The plan counts what config.json describes" in warning


def test_weights_half_fetched_are_not_compared(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    index = {"metadata": {"total_size": 5}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "m-1.safetensors").write_bytes(safetensors(sized(llama(layers=1))))
    assert read_folder(tmp_path, "acme/toy", whole=False).tensors == ()


@pytest.mark.network
def test_the_hub_is_compared_at_once_and_again_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {
        "config.json": json.dumps(LLAMA).encode(),
        "model.safetensors": safetensors(sized(llama(head=False))),
    }
    spec = tmp_path / "spec.yaml"
    spec.write_text("name: toy\nmodel: {repo: acme/chat}\ngpu: {types: [L4], counts: [1]}\n")
    with serve_hub({"acme/chat": Repo(files)}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        online = json.loads(gpuplan("plan", str(spec), "--json").out)
    offline = json.loads(gpuplan("plan", str(spec), "--json", "--offline").out)
    (warning,) = online["warnings"]
    assert offline["warnings"] == [warning]
    assert warning.startswith("model.repo: the safetensors headers of acme/chat hold ")
    assert f": {TABLE_BYTES:,} bytes fewer. Not stored: lm_head. The plan counts" in warning


DTYPE_OF_BITS = {8: "F8_E4M3", 4: "U8"}


def written_as_described(facts: ModelFacts) -> list[TensorInfo]:
    """A checkpoint that holds exactly what the facts describe, projections apart and quantized ones packed."""
    quantization = engine_quantization(facts)
    packs = any(scheme.storage == "int" for scheme in quantization.all_schemes())
    outside = (*facts.embedding, *facts.lm_head, *facts.final, *facts.everywhere, *facts.first_only, *facts.tower)
    layers = [run.layer.modules for run in facts.layers for _ in range(run.count)]
    tensors = []
    for index, modules in enumerate((outside, *layers), -1):
        prefix = "" if index < 0 else f"{facts.layers_prefix}.{index}."
        for number, module in enumerate(modules):
            if (one := describe(module, prefix, quantization)) is None:
                continue
            for part, elements in enumerate((*one.apart, *one.biases_apart)):
                name = f"{prefix}{letters(number)}.{letters(part)}"
                packed = one.bits if part < len(one.apart) else None
                if packed and packs:
                    tensors.append(TensorInfo(f"{name}.qweight", "I32", (elements * packed // 32,), 0))
                elif packed:
                    tensors.append(TensorInfo(f"{name}.weight", DTYPE_OF_BITS[packed], (elements * packed // 8,), 0))
                else:
                    leaf = "bias" if part >= len(one.apart) or one.name.endswith("bias") else "weight"
                    tensors.append(TensorInfo(f"{name}.{leaf}", "BF16", (elements,), 0))
    return tensors


def letters(number: int) -> str:
    """A name without digits."""
    return "m" + "".join(chr(ord("a") + int(digit)) for digit in str(number))


@pytest.mark.parametrize("repo", sorted(catalog().model_names()))
def test_a_checkpoint_written_as_described_agrees(repo: str) -> None:
    checkpoint = catalog().find_model(repo)
    assert checkpoint is not None
    facts = facts_of(repo)
    tensors = written_as_described(facts)
    assert find_disagreement(facts, checkpoint.config, tensor_runs(tensors)) is None
    if engine_quantization(facts).method not in {"auto_gptq", "inc"}:  # whose exports' biases are not looked at
        largest = max(tensors, key=lambda tensor: tensor.shape)
        fewer = [tensor for tensor in tensors if tensor is not largest]
        assert find_disagreement(facts, checkpoint.config, tensor_runs(fewer)) is not None
