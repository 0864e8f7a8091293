"""The hub, read through a loopback stand-in: what is asked, what comes of it, and what is said when it fails."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from planner.catalog import load_catalog
from planner.cli import main
from planner.errors import ModelError
from planner.model import hub as hub_module
from planner.model import hub_http
from planner.model.find import find_checkpoint
from planner.spec.schema import ModelSpec
from tests.hub_server import CONFIG, SHA, HubServer, Repo, Virtual, header, safetensors, serve_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from planner.model.identity import Checkpoint

pytestmark = pytest.mark.network

TENSORS = {"model.embed_tokens.weight": ("BF16", [100, 64], 12_800), "model.norm.weight": ("F32", [64], 256)}
FILES: dict[str, bytes | Virtual] = {
    "config.json": json.dumps(CONFIG).encode(),
    "model.safetensors": safetensors(TENSORS),
}
GATED = "meta-llama/Llama-2-70b-chat-hf"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with serve_hub({"acme/chat": Repo(FILES)}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(hub_module, "RESOLVE_SECONDS", 60.0)  # a busy machine's loopback takes its time
        yield server


def find(repo: str = "acme/chat", revision: str = "main", *, offline: bool = False) -> Checkpoint:
    from pathlib import Path

    return find_checkpoint(
        ModelSpec(repo=repo, revision=revision), load_catalog(), offline=offline, base_dir=Path.cwd()
    )


def replace_files(hub: HubServer, **files: bytes | Virtual | None) -> None:
    """Files of acme/chat by name with "." and "-" written as "_"."""
    kept = {**FILES}
    for name, content in files.items():
        real = {
            "config": "config.json",
            "quant": "hf_quant_config.json",
            "index": "model.safetensors.index.json",
            "weights": "model.safetensors",
            "first": "model-1.safetensors",
            "second": "model-2.safetensors",
        }[name]
        kept.pop(real, None)
        if content is not None:
            kept[real] = content
    hub.repos["acme/chat"] = Repo(kept)


def test_a_branch_becomes_a_commit_and_headers_become_sizes(hub: HubServer) -> None:
    checkpoint = find()
    assert checkpoint.source == "hub"
    assert checkpoint.revision == SHA
    assert checkpoint.config == CONFIG
    assert checkpoint.hf_quant_config is None
    assert checkpoint.checkpoint_bytes == 12_800 + 256
    assert checkpoint.warnings == ()


def test_the_second_plan_asks_only_for_the_commit(hub: HubServer) -> None:
    first = find()
    hub.asked.clear()
    assert find() == first
    assert hub.asked == ["GET /api/models/acme/chat/revision/main"]


def test_a_full_commit_is_not_asked_about_twice(hub: HubServer) -> None:
    first = find(revision=SHA)
    hub.asked.clear()
    assert find(revision=SHA) == first
    assert hub.asked == []


def test_a_moved_branch_is_read_anew(hub: HubServer) -> None:
    find()
    hub.repos["acme/chat"] = Repo({**FILES, "config.json": b'{"hidden_size": 128}'}, sha="f" * 40)
    moved = find()
    assert (moved.revision, moved.config) == ("f" * 40, {"hidden_size": 128})
    assert find(revision=SHA).config == CONFIG


def test_offline_answers_from_what_the_hub_said_before(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find()
    hub.asked.clear()
    assert find(offline=True) == first
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find() == first
    assert hub.asked == []


def test_a_spoilt_cache_is_read_anew(hub: HubServer) -> None:
    from planner.catalog.folders import cache_folder

    first = find()
    (kept,) = cache_folder().rglob(f"{SHA}.json")
    kept.write_text(kept.read_text()[:-20])
    assert find() == first
    kept.write_text(kept.read_text().replace('"checkpoint_bytes"', '"checkpoint_bites"'))
    assert find() == first


def test_no_more_of_the_weights_is_read_than_their_headers(hub: HubServer) -> None:
    size = 5 * 2**30
    head, _ = header({"w": ("U8", [size], size)})
    replace_files(hub, weights=Virtual(head, len(head) + size))
    assert find().checkpoint_bytes == size
    assert hub.sent_bytes < 200_000
    assert any(line.endswith("bytes=0-99999") for line in hub.asked)


def test_a_server_that_ignores_ranges_is_not_read_to_the_end(hub: HubServer) -> None:
    size = 2**30
    head, _ = header({"w": ("U8", [size], size)})
    replace_files(hub, weights=Virtual(head, len(head) + size))
    hub.manners.ignore_ranges = True
    assert find().checkpoint_bytes == size
    assert hub.sent_bytes < 64 * 2**20  # what the sockets' buffers took before the connection was closed


@pytest.mark.parametrize("ignore_ranges", [False, True])
def test_a_long_header_takes_a_second_range(hub: HubServer, ignore_ranges: bool) -> None:
    tensors = {f"model.layers.{i}.mlp.experts.w": ("BF16", [4, 4], 32) for i in range(2_000)}
    replace_files(hub, weights=safetensors(tensors))
    hub.manners.ignore_ranges = ignore_ranges
    assert find().checkpoint_bytes == 2_000 * 32
    assert sum("/cdn/" in line for line in hub.asked) == 2


def test_shards_are_read_by_the_index(hub: HubServer) -> None:
    index = {"metadata": {"total_size": 1}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    replace_files(
        hub,
        weights=None,
        index=json.dumps(index).encode(),
        first=safetensors({"a": ("BF16", [8], 16)}),
        second=safetensors({"b": ("F32", [8], 32)}),
    )
    checkpoint = find()
    assert checkpoint.checkpoint_bytes == 48  # of the tensors, whatever the index claims


def test_an_index_that_names_an_absent_shard_is_an_error(hub: HubServer) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    replace_files(hub, weights=None, index=json.dumps(index).encode(), first=safetensors({"a": ("BF16", [8], 16)}))
    with pytest.raises(ModelError, match=r"index.json names model-2.safetensors, which is not there"):
        find()


def test_quantization_that_stands_in_its_own_file_is_read(hub: HubServer) -> None:
    replace_files(hub, quant=b'{"quantization": {"quant_algo": "FP8"}}')
    assert find().hf_quant_config == {"quantization": {"quant_algo": "FP8"}}


def test_a_model_without_safetensors_has_no_sizes(hub: HubServer) -> None:
    replace_files(hub, weights=None)
    checkpoint = find()
    assert (checkpoint.checkpoint_bytes, checkpoint.warnings) == (None, ())


def test_a_repository_without_config_is_an_error(hub: HubServer) -> None:
    replace_files(hub, config=None)
    with pytest.raises(ModelError, match=r"acme/chat: no config.json at 0123456789ab"):
        find()


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    hub.manners.redirect_to = hub.url.replace("127.0.0.1", "localhost")
    assert find().checkpoint_bytes == 13_056
    seen = {host.split(":")[0]: token for host, token in hub.tokens}
    assert seen == {"127.0.0.1": "Bearer hf_secretsecret", "localhost": None}


def test_a_gated_model_says_what_to_do(hub: HubServer) -> None:
    hub.repos["acme/secret"] = Repo(FILES, gated=True)
    with pytest.raises(ModelError) as caught:
        find("acme/secret")
    assert str(caught.value) == (
        "model.repo: acme/secret: gated; its files need an accepted licence and a token. "
        "Accept it at https://huggingface.co/acme/secret, then run `hf auth login` (or set HF_TOKEN). "
        "To deploy it, keep HF_TOKEN in a secret of the provider and name that in secrets.huggingface."
    )
    assert caught.value.exit_code == 6


def test_a_gated_model_of_the_catalogue_is_planned_and_pinned(hub: HubServer) -> None:
    hub.repos[GATED] = Repo(FILES, gated=True)
    checkpoint = find(GATED)
    assert (checkpoint.source, checkpoint.revision, checkpoint.gated) == ("catalogue", SHA, True)
    assert checkpoint.config["num_hidden_layers"] == 80
    assert "Planned from the catalogue's facts." in checkpoint.warnings[0]


def test_a_gate_that_opened_since_is_believed(hub: HubServer) -> None:
    find()
    hub.repos["acme/chat"].gated = True
    assert find().gated


@pytest.mark.parametrize(("status", "says"), [(403, "gated"), (401, "not on the hub, or private"), (404, "not on")])
def test_bare_refusals_are_understood(hub: HubServer, status: int, says: str) -> None:
    hub.manners.status["/"] = status
    with pytest.raises(ModelError, match=says):
        find()


def test_an_unknown_repository_gets_the_nearest_name(hub: HubServer) -> None:
    with pytest.raises(ModelError) as caught:
        find("qwen/Qwen3_8")
    assert "qwen/Qwen3_8: not on the hub, or private (401)" in str(caught.value)
    assert str(caught.value).endswith("Did you mean Qwen/Qwen3-8B?")


def test_an_unknown_revision_is_an_error(hub: HubServer) -> None:
    with pytest.raises(ModelError, match=r"model.revision: acme/chat has no revision v9"):
        find(revision="v9")


@pytest.mark.parametrize("answer", [b"<html>a portal</html>", b"[]", b'{"id": "acme/chat"}'])
def test_an_api_that_is_none_gives_way_to_the_files(hub: HubServer, answer: bytes) -> None:
    hub.manners.body["/api/"] = answer
    assert find().checkpoint_bytes == 13_056


def test_a_mirror_without_the_api_is_read_by_files(hub: HubServer) -> None:
    hub.manners.status["/api/"] = 404
    checkpoint = find()
    assert (checkpoint.revision, checkpoint.checkpoint_bytes) == (SHA, 13_056)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failing_hub_gives_way_to_the_catalogue(hub: HubServer, status: int) -> None:
    hub.manners.status["/"] = status
    checkpoint = find(GATED)
    assert (checkpoint.source, checkpoint.revision) == ("catalogue", None)
    assert checkpoint.warnings == (f"model.repo: {hub.url} answered {status}; planned from the catalogue",)
    with pytest.raises(ModelError, match=f"answered {status}, and neither the catalogue nor a cache has it"):
        find()


def test_a_silent_hub_costs_a_bounded_time(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "RESOLVE_SECONDS", 0.3)
    hub.manners.delay["/"] = 3  # then it answers, and would be what is planned from
    assert find(GATED).source == "catalogue"


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (warning,) = find(GATED).warnings
    assert warning.startswith("model.repo: http://127.0.0.1:9 gave no answer")
    assert warning.endswith("planned from the catalogue")


@pytest.mark.parametrize(
    "endpoint", ["not-a-url", "ftp://127.0.0.1", "http://[::1", "http://127.0.0.1:99999", "http://"]
)
def test_an_endpoint_that_is_none(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    (warning,) = find(GATED).warnings
    assert warning.endswith("planned from the catalogue")


def test_a_hub_that_goes_silent_later_leaves_the_last_answer(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    find()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    checkpoint = find()
    assert (checkpoint.source, checkpoint.revision) == ("hub", SHA)
    assert checkpoint.warnings[0].endswith("planned from an earlier answer")


def test_a_config_that_drips_is_given_up(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "CONFIG_SECONDS", 0.3)
    hub.manners.drip["config.json"] = 0.05  # it comes whole in the end
    with pytest.raises(ModelError, match=r"gave no answer for config.json"):
        find()


def test_a_config_that_breaks_off_is_no_config(hub: HubServer) -> None:
    hub.manners.cut["config.json"] = 10
    with pytest.raises(ModelError, match=r"config.json.*neither the catalogue nor a cache has it"):
        find()


@pytest.mark.parametrize("manners", [{"cut": {"/cdn/": 50}}, {"status": {"/cdn/": 503}}, {"drip": {"/cdn/": 0.05}}])
def test_headers_that_do_not_come_leave_a_warning(
    hub: HubServer, manners: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "HEADER_SECONDS", 0.4)
    for name, table in manners.items():
        setattr(hub.manners, name, table)
    checkpoint = find()
    assert (checkpoint.revision, checkpoint.checkpoint_bytes) == (SHA, None)
    assert "the sizes of acme/chat's weights are unknown" in checkpoint.warnings[0]
    hub.manners = type(hub.manners)()
    assert find().checkpoint_bytes == 13_056  # an answer with a hole is not kept


LYING = {
    "a huge length": ((2**40).to_bytes(8, "little") + b"{}", "its header claims 1,099,511,627,776 bytes"),
    "a length past the end": ((500).to_bytes(8, "little") + b"{}", "its header claims 500 bytes, but the file has 10"),
    "no header": (b"abc", "the file ends after 3 bytes"),
    "not JSON": ((2).to_bytes(8, "little") + b"{]", "its header is not JSON"),
    "cut short": (safetensors(TENSORS)[:-1], "its tensors end at byte"),
    "a wrong shape": (safetensors({"w": ("BF16", [3], 16)}), r"w is BF16 \[3\], 6 bytes, but its offsets span 16"),
}


@pytest.mark.parametrize(("weights", "says"), LYING.values(), ids=LYING)
def test_a_header_that_lies_is_an_error(hub: HubServer, weights: bytes, says: str) -> None:
    replace_files(hub, weights=weights)
    with pytest.raises(ModelError, match=says):
        find()


def test_an_empty_file_is_an_error(hub: HubServer) -> None:
    replace_files(hub, weights=b"")
    with pytest.raises(ModelError, match="the file ends after 0 bytes"):
        find()


def test_many_headers_are_announced(hub: HubServer, tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    replace_files(
        hub,
        weights=None,
        index=json.dumps(index).encode(),
        first=safetensors({"a": ("BF16", [8], 16)}),
        second=safetensors({"b": ("F32", [8], 32)}),
    )
    said: list[str] = []
    find_checkpoint(ModelSpec(repo="acme/chat"), load_catalog(), offline=False, base_dir=tmp_path, progress=said.append)
    assert said == ["Reading the headers of 2 safetensors files of acme/chat ..."]


def test_a_call_that_hangs_is_left_behind() -> None:
    never = threading.Event()
    with pytest.raises(hub_http.HubUnreachableError, match=r"did not answer within 0.05 s"):
        hub_http.within(0.05, never.wait)
    never.set()


def run(*arguments: str) -> int:
    """The exit code of gpuplan."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_a_plan_from_the_hub_tells_its_commit(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    llama = load_catalog().find_model("meta-llama/Llama-2-7b-hf")
    assert llama
    replace_files(hub, config=json.dumps(dict(llama.config)).encode())
    for _ in range(2):
        assert run("plan", "acme/chat", "--json") == 0
        assert json.loads(capsys.readouterr().out)["model"] == {
            "repo": "acme/chat",
            "revision": SHA,
            "parameters": 6_738_415_616,
            "checkpoint_bytes": 13_056,
            "architecture": "LlamaForCausalLM",
            "source": "hub",
        }


UNUSABLE = {
    "gated": (Repo(FILES, gated=True), "model.repo: acme/odd: gated;"),
    "no config": (Repo({"model.gguf": b""}), "model.repo: acme/odd: no config.json at 0123456789ab"),
    "unknown": (Repo({"config.json": b'{"architectures": ["OddForCausalLM"]}'}), "OddForCausalLM"),
    "broken": (Repo({"config.json": b"{"}), "acme/odd@0123456789ab/config.json:1:2: not JSON"),
    "lying": (Repo({**FILES, "model.safetensors": b"\xff" * 20}), "model.safetensors: not a usable safetensors file"),
}


@pytest.mark.parametrize(("repo", "says"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_planned_ends_with_6(
    hub: HubServer, repo: Repo, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos["acme/odd"] = repo
    assert run("plan", "acme/odd") == 6
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""
