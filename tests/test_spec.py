"""The spec: what is read, and what is wrong with it, word for word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from planner.cli import gpuplan
from planner.errors import SpecError
from planner.spec import load_spec, parse_spec
from planner.spec.dump import dump_spec
from planner.spec.json_schema import json_schema
from planner.spec.reference import reference
from tests.test_docs import holds

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
MINIMAL = "name: a\nmodel: {repo: org/m}\n"

# fmt: off
BAD = [
    pytest.param('', ['s.yaml:1:1: file: empty; type name: my-model and model: {repo: org/name}, or run: gpuplan init'], id='empty file'),
    pytest.param('# nothing\n', ['s.yaml:1:1: file: empty; type name: my-model and model: {repo: org/name}, or run: gpuplan init'], id='only a comment'),
    pytest.param('- a\n- b\n', ['s.yaml:1:1: file: a list is not a mapping; type keys such as name: below it, indented'], id='list at top level'),
    pytest.param('just words\n', ['s.yaml:1:1: file: "just words" is not a mapping; type keys such as name: below it, indented'], id='a scalar'),
    pytest.param('name: a\nmodel: {repo: org/m}\n---\nname: a\nmodel: {repo: org/m}\n', ['s.yaml:3:1: file: a second document begins; keep one spec per file, without ---'], id='two documents'),
    pytest.param('name: a\nmodel:\n\trepo: org/m\n', ['s.yaml:3:1: file: a tab indents this line; type spaces'], id='tab'),
    pytest.param('name: [a\n', ["s.yaml:2:1: file: did not find expected ',' or ']'; type valid YAML here"], id='unclosed bracket'),
    pytest.param('name: "a\n', ['s.yaml:2:1: file: found unexpected end of stream; type valid YAML here'], id='unclosed quote'),
    pytest.param('name: a\nname: b\nmodel: {repo: org/m}\n', ['s.yaml:2:1: name: written twice, first on line 1; keep one'], id='duplicate key'),
    pytest.param('name: a\nmodel:\n  repo: org/m\n  repo: org/n\n', ['s.yaml:4:3: model.repo: written twice, first on line 3; keep one'], id='duplicate nested key'),
    pytest.param('a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n', ['s.yaml:5:4: file: more than 10,000 values, aliases counted; type fewer'], id='alias bomb'),
    pytest.param('name: !!python/object/apply:os.system [ls]\nmodel: {repo: org/m}\n', ['s.yaml:1:7: name: unknown tag "!!python/object/apply:os.system"; type the value without a tag', 's.yaml:1:7: name: a list is not text; type for example llama-2-70b-chat'], id='unknown tag'),
    pytest.param('name: a\nmodel: {repo: org/m\x07}\n', ['s.yaml:2:20: file: the character U+0007 cannot stand in YAML; type it without'], id='control character'),
    pytest.param('name: a\n', ['s.yaml:1:1: model: missing; type model: {repo: org/name}'], id='missing model'),
    pytest.param('model: {repo: org/m}\n', ['s.yaml:1:1: name: missing; type name: llama-2-70b-chat'], id='missing name'),
    pytest.param('name: a\nmodel: {}\n', ['s.yaml:2:8: model.repo: missing; type repo: meta-llama/Llama-2-70b-chat-hf'], id='missing repo'),
    pytest.param('name: a\nmodel: {repo: }\n', ['s.yaml:2:9: model.repo: no value; type repo: meta-llama/Llama-2-70b-chat-hf'], id='null repo'),
    pytest.param('name: a\nmodel: org/m\n', ['s.yaml:2:8: model: "org/m" is not a mapping; type keys such as repo: below it, indented'], id='model is a string'),
    pytest.param('name: a\nmodel: {repo: org/m}\nmodle: x\n', ['s.yaml:3:1: modle: unknown key, did you mean model?'], id='unknown top key'),
    pytest.param('name: a\nmodel: {repo: org/m, dtpe: auto}\n', ['s.yaml:2:22: model.dtpe: unknown key, did you mean dtype?'], id='unknown nested key'),
    pytest.param('name: a\nmodel: {repo: org/m}\nmax_model_len: 4096\n', ['s.yaml:3:1: max_model_len: unknown key, did you mean engine.max_model_len?'], id='key of another section'),
    pytest.param('name: a\nmodel: {repo: org/m}\nfrobnicate: 1\n', ['s.yaml:3:1: frobnicate: unknown key; a spec takes name, model, engine, gpu, workload, slo, budget, objective, scaling, resources, secrets, region, environment, target'], id='key without kin'),
    pytest.param('name: Foo\nmodel: {repo: org/m}\n', ['s.yaml:1:7: name: "Foo" is not a to z, 0 to 9 and - (at most 63); type for example llama-2-70b-chat'], id='capitals in name'),
    pytest.param('name: a_b\nmodel: {repo: org/m}\n', ['s.yaml:1:7: name: "a_b" is not a to z, 0 to 9 and - (at most 63); type for example llama-2-70b-chat'], id='name with underscore'),
    pytest.param('name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nmodel: {repo: org/m}\n', ['s.yaml:1:7: name: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…" is not a to z, 0 to 9 and - (at most 63); type for example llama-2-70b-chat'], id='name too long'),
    pytest.param('name: 7\nmodel: {repo: org/m}\n', ['s.yaml:1:7: name: YAML reads 7 as a number or a date; type "7", in quotes'], id='number as name'),
    pytest.param('name: a\nmodel: {repo: llama}\n', ['s.yaml:2:15: model.repo: "llama" is not org/name, as on the hub; type for example meta-llama/Llama-2-70b-chat-hf'], id='repo without org'),
    pytest.param("name: a\nmodel: {repo: 'https://huggingface.co/org/m'}\n", ['s.yaml:2:15: model.repo: "https://huggingface.co/org/m" is not org/name, as on the hub; type for example meta-llama/Llama-2-70b-chat-hf'], id='repo is a url'),
    pytest.param('name: a\nmodel: {repo: org/m, revision: a b}\n', ['s.yaml:2:32: model.revision: "a b" is not a branch, a tag or a 40-hex commit; type for example main'], id='revision with spaces'),
    pytest.param('name: a\nmodel: {repo: org/m, dtype: fp16}\n', ['s.yaml:2:29: model.dtype: "fp16" is not one of auto, bfloat16, float16, float32; did you mean float16?'], id='dtype nickname'),
    pytest.param('name: a\nmodel: {repo: org/m, dtype: int3}\n', ['s.yaml:2:29: model.dtype: "int3" is not one of auto, bfloat16, float16, float32; type auto'], id='dtype unknown'),
    pytest.param('name: a\nmodel: {repo: org/m, trust_remote_code: yes}\n', ['s.yaml:2:41: model.trust_remote_code: "yes" is not true or false; type true or false, without quotes'], id='trust as yes'),
    pytest.param('name: a\nmodel: {repo: org/m, trust_remote_code: "true"}\n', ['s.yaml:2:41: model.trust_remote_code: "true" is not true or false; type true or false, without quotes'], id='trust as string'),
    pytest.param('name: a\nmodel: {repo: org/m, quantization: awq}\n', ['s.yaml:2:36: model.quantization: "awq" is not one of auto, fp8; type auto'], id='quantization unknown'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {version: 0.33}\n', ['s.yaml:3:19: engine.version: YAML reads 0.33 as a number or a date; type "0.33", in quotes'], id='version as float'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {version: "0.0.9"}\n', ['s.yaml:3:19: engine.version: "0.0.9" is older than any vLLM planned here; type "0.1.2" or later'], id='version too old'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {version: latest}\n', ['s.yaml:3:19: engine.version: "latest" is not three numbers in quotes, as in "0.33.0"; type for example 0.33.0'], id='version in words'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {max_model_len: 0}\n', ['s.yaml:3:25: engine.max_model_len: 0 is out of range; type 1 to 2147483647'], id='length zero'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {max_model_len: -1}\n', ['s.yaml:3:25: engine.max_model_len: -1 is out of range; type 1 to 2147483647'], id='length negative'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {max_model_len: 4k}\n', ['s.yaml:3:25: engine.max_model_len: "4k" is not a whole number; type 4000 or 4096 (or auto)'], id='length as 4k'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {max_model_len: 4096.5}\n', ['s.yaml:3:25: engine.max_model_len: "4096.5" is not a whole number; type for example 4096 (or auto)'], id='length as float'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {max_model_len: 99999999999999999999}\n', ['s.yaml:3:25: engine.max_model_len: 99999999999999999999 is out of range; type 1 to 2147483647'], id='length huge'),
    pytest.param("name: a\nmodel: {repo: org/m}\nengine: {max_model_len: '4,096'}\n", ['s.yaml:3:25: engine.max_model_len: "4,096" is not a whole number; type for example 4096 (or auto)'], id='length with comma'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {gpu_memory_utilization: 1.5}\n', ['s.yaml:3:34: engine.gpu_memory_utilization: 1.5 is out of range; type above 0, up to 1'], id='utilization above 1'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {gpu_memory_utilization: 92%}\n', ['s.yaml:3:34: engine.gpu_memory_utilization: "92%" is not a number; type 0.92'], id='utilization percent'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {gpu_memory_utilization: .nan}\n', ['s.yaml:3:34: engine.gpu_memory_utilization: ".nan" is not a number; type for example 0.92'], id='utilization nan'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {kv_cache_dtype: int8}\n', ['s.yaml:3:26: engine.kv_cache_dtype: "int8" is not one of auto, fp8; type auto'], id='kv dtype'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {extra_args: {tensor-parallel-size: 2}}\n', ['s.yaml:3:23: engine.extra_args.tensor-parallel-size: the key gpu.tensor_parallel_size stands for this flag; type it there'], id='flag of a key'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {extra_args: {--seed: 1}}\n', ['s.yaml:3:23: engine.extra_args."--seed": flags stand without dashes; type seed'], id='flag with dashes'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {extra_args: {api-key: x}}\n', ['s.yaml:3:23: engine.extra_args.api-key: a secret never stands on a command line; type secrets.api_key: the name of a secret'], id='api key flag'),
    pytest.param('name: a\nmodel: {repo: org/m}\ngpu: {types: [A100-80G]}\n', ['s.yaml:3:15: gpu.types[0]: unknown GPU "A100-80G", did you mean A100-80GB?'], id='unknown gpu'),
    pytest.param('name: a\nmodel: {repo: org/m}\ngpu: {types: [TPU]}\n', ['s.yaml:3:15: gpu.types[0]: unknown GPU "TPU"; type one of T4, L4, A10, L40S, A100-40GB, A100-80GB, RTX-PRO-6000, H100, H200, B200, B300, A100, A10G, H100!, B200+'], id='far gpu'),
    pytest.param("name: a\nmodel: {repo: org/m}\ngpu: {types: ['H100:2']}\n", ['s.yaml:3:15: gpu.types[0]: "H100:2" is not a GPU name; type for example A100-80GB'], id='gpu with count'),
    pytest.param('name: a\nmodel: {repo: org/m}\ngpu: {types: H100}\n', ['s.yaml:3:14: gpu.types: "H100" is not a list; type [H100]'], id='gpu types as string'),
    pytest.param('name: a\nmodel: {repo: org/m}\ngpu: {types: []}\n', ['s.yaml:3:14: gpu.types: the list is empty; type for example [A100-40GB, A100-80GB], or leave the key out'], id='empty types'),
    pytest.param('name: a\nmodel: {repo: org/m}\ngpu: {types: [H100, H100]}\n', ['s.yaml:3:21: gpu.types[1]: H100 is listed twice; type it once'], id='gpu twice'),
    pytest.param('name: a\nmodel: {repo: org/m}\ngpu: {counts: [9]}\n', ['s.yaml:3:16: gpu.counts[0]: 9 is out of range; type 1 to 8'], id='count 9'),
    pytest.param('name: a\nmodel: {repo: org/m}\ngpu: {counts: [0]}\n', ['s.yaml:3:16: gpu.counts[0]: 0 is out of range; type 1 to 8'], id='count 0'),
    pytest.param('name: a\nmodel: {repo: org/m}\ngpu: {counts: [1, 2], tensor_parallel_size: 4}\n', ['s.yaml:3:45: gpu.tensor_parallel_size: needs a multiple of 4 GPUs, and gpu.counts has only 1, 2; type counts: [4]'], id='split larger than counts'),
    pytest.param('name: a\nmodel: {repo: org/m}\nworkload: {concurrency: -1, input_tokens: 1, output_tokens: 1}\n', ['s.yaml:3:25: workload.concurrency: -1 is out of range; type 1 to 1000000'], id='negative concurrency'),
    pytest.param('name: a\nmodel: {repo: org/m}\nworkload: {concurrency: 1, input_tokens: 1, output_tokens: 0}\n', ['s.yaml:3:60: workload.output_tokens: 0 is out of range; type 1 to 2147483647'], id='output zero'),
    pytest.param('name: a\nmodel: {repo: org/m}\nengine: {max_model_len: 100}\nworkload: {concurrency: 1, input_tokens: 90, output_tokens: 20}\n', ['s.yaml:4:42: workload.input_tokens: 90 and output_tokens 20 are 110 tokens, more than engine.max_model_len 100; type shorter lengths or max_model_len: 110'], id='load longer than context'),
    pytest.param('name: a\nmodel: {repo: org/m}\nslo: {ttft_ms: 0}\n', ['s.yaml:3:16: slo.ttft_ms: 0 is out of range; type above 0, up to 86400000'], id='slo zero'),
    pytest.param('name: a\nmodel: {repo: org/m}\nbudget: {max_usd_per_hour: 0}\n', ['s.yaml:3:28: budget.max_usd_per_hour: 0 is out of range; type above 0, up to 1000000'], id='budget zero'),
    pytest.param('name: a\nmodel: {repo: org/m}\nbudget: {max_usd_per_hour: $10}\n', ['s.yaml:3:28: budget.max_usd_per_hour: "$10" is not a number; type for example 10'], id='budget with dollar'),
    pytest.param('name: a\nmodel: {repo: org/m}\nobjective: cheapest\n', ['s.yaml:3:12: objective: "cheapest" is not one of usd_per_hour, usd_per_million_tokens, latency; type usd_per_hour'], id='objective'),
    pytest.param('name: a\nmodel: {repo: org/m}\nscaling: {min_containers: 3, max_containers: 1}\n', ['s.yaml:3:27: scaling.min_containers: 3 is more than max_containers 1; type max_containers: 3 or more'], id='min above max'),
    pytest.param('name: a\nmodel: {repo: org/m}\nscaling: {scaledown_window_s: 1}\n', ['s.yaml:3:31: scaling.scaledown_window_s: 1 is out of range; type 2 to 3600'], id='window too short'),
    pytest.param('name: a\nmodel: {repo: org/m}\nsecrets: {huggingface: hf_abcdefghijklmnopqrstuvwxyz0123456789}\n', ["s.yaml:3:24: secrets.huggingface: this looks like a secret's value, which must never stand in a spec; type the name of a secret"], id='secret value'),
    pytest.param('name: a\nmodel: {repo: org/m}\nsecrets: {api_key: sk-abcdefghijklmnopqrstuvwxyz012345}\n', ["s.yaml:3:20: secrets.api_key: this looks like a secret's value, which must never stand in a spec; type the name of a secret"], id='secret key'),
    pytest.param('name: a\nmodel: {repo: org/m}\ntarget: aws\n', ['s.yaml:3:9: target: "aws" is not one of modal, local; type modal'], id='target'),
    pytest.param("name: a\nmodel: {repo: org/m}\nregion: 'US East!'\n", ['s.yaml:3:9: region: "US East!" is not a region\'s name; type for example us-east'], id='region'),
]
# fmt: on


@pytest.mark.parametrize(("text", "problems"), BAD)
def test_a_bad_spec_says_where_what_and_what_to_type(text: str, problems: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "s.yaml")
    assert caught.value.problems == problems


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec("name: Foo\nmodel: {repo: x, dtpe: 1}\nobjective: no\n", "s.yaml")
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [
        "name",
        "model.repo",
        "model.dtpe",
        "objective",
    ]


def test_what_is_left_out_has_its_default() -> None:
    spec = parse_spec(MINIMAL, "s.yaml")
    assert spec.engine.version == "0.33.0"
    assert spec.engine.gpu_memory_utilization == 0.92
    assert spec.gpu.types is None
    assert (spec.resources.cpu_cores, spec.resources.memory_gib) == (4, 32)
    assert spec.workload is None
    assert spec.target == "modal"


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_shipped_specs_are_valid_and_tell_editors_their_schema(path: Path) -> None:
    assert load_spec(str(path)).name
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_a_dumped_spec_is_the_same_spec(path: Path) -> None:
    spec = load_spec(str(path))
    assert parse_spec(dump_spec(spec), "dumped") == spec
    assert parse_spec(dump_spec(spec, defaults=True), "dumped") == spec


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "max_model_len": st.one_of(st.just("auto"), st.integers(min_value=1000, max_value=2**31 - 1)),
            "max_num_seqs": st.integers(min_value=1, max_value=4096),
            "gpu_memory_utilization": st.floats(min_value=0.01, max_value=1),
            "enforce_eager": st.booleans(),
            "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
        },
    )
)
def test_parse_dump_parse_is_equal(engine: dict[str, Any]) -> None:
    spec = parse_spec(MINIMAL + f"engine: {json.dumps(engine)}\n", "s.yaml")
    assert parse_spec(dump_spec(spec), "dumped") == spec


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("engine.max_model_len=8192", lambda spec: spec.engine.max_model_len, 8192),
        ("gpu.counts=[2, 4]", lambda spec: spec.gpu.counts, (2, 4)),
        ("model.dtype=float16", lambda spec: spec.model.dtype, "float16"),
        ("slo={tpot_ms: 50}", lambda spec: spec.slo.tpot_ms, 50),
    ],
)
def test_set_reaches_any_key(override: str, read: Callable[[Any], Any], value: Any) -> None:
    assert read(parse_spec(MINIMAL, "s.yaml", [override])) == value


@pytest.mark.parametrize("override", ["engine.max_model_len", "engine.nothing=1", "=", "gpu.counts=[x]"])
def test_a_bad_set_names_itself(override: str) -> None:
    with pytest.raises(SpecError, match="--set"):
        parse_spec(MINIMAL, "s.yaml", [override])


@pytest.mark.parametrize(("data", "words"), [(b"name: \xff\n", "UTF-8"), (b"\xef\xbb\xbfname: a\n", "model")])
def test_bytes_that_are_not_text_are_told(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(data)
    with pytest.raises(SpecError, match=words):
        load_spec(str(path))


def test_the_schema_file_is_what_schema_prints(update_golden: bool) -> None:
    printed = CliRunner().invoke(gpuplan, ["schema"]).stdout
    assert json.loads(printed) == json_schema()
    holds(ROOT / "specs" / "schema.json", printed, update_golden)


def test_the_reference_is_current(update_golden: bool) -> None:
    holds(ROOT / "docs" / "spec.md", reference(), update_golden)


def test_validate_tells_every_file(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(MINIMAL)
    bad.write_text("name: A\n")
    result = CliRunner().invoke(gpuplan, ["validate", str(good), str(bad)])
    assert result.exit_code == 2
    assert result.stdout == f"{good}: ok\n"
    assert result.stderr.count(str(bad)) == 2


def test_init_writes_a_spec_that_validates_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    line = ["init", "--model", "Qwen/Qwen3-8B", "--context", "8192", "--concurrency", "16", "--out", str(path)]
    assert CliRunner().invoke(gpuplan, line).exit_code == 0
    assert load_spec(str(path)).engine.max_model_len == 8192
    again = CliRunner().invoke(gpuplan, line)
    assert isinstance(again.exception, SpecError)
    assert CliRunner().invoke(gpuplan, [*line, "--force"]).exit_code == 0


def test_init_without_a_terminal_asks_nothing() -> None:
    result = CliRunner().invoke(gpuplan, ["init", "--model", "Qwen/Qwen3-8B"])
    assert result.exit_code == 2
    assert "--context is missing" in result.stderr
