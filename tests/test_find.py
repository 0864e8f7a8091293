"""Where a model's facts come from when no hub is asked: folder, own rows, catalogue, caches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from planner.catalog import load_catalog
from planner.errors import ModelError
from planner.model.find import find_checkpoint
from planner.spec.schema import ModelSpec

if TYPE_CHECKING:
    from planner.model.identity import Checkpoint

ROOT = Path(__file__).resolve().parent.parent
LLAMA = "meta-llama/Llama-2-70b-chat-hf"
QWEN = "Qwen/Qwen3-8B"  # its commit is known
COMMIT = "b" * 40


def find(repo: str, revision: str = "main", path: str | None = None, base_dir: Path | None = None) -> Checkpoint:
    model = ModelSpec(repo=repo, revision=revision, path=path)
    return find_checkpoint(model, load_catalog(), offline=True, base_dir=base_dir or Path.cwd())


def test_a_path_is_relative_to_the_spec(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    found = find("acme/chat", path="./model", base_dir=tmp_path)
    assert (found.source, found.revision, found.repo) == ("path", None, "acme/chat")
    assert find("acme/chat", COMMIT, "./model", tmp_path).revision == COMMIT


def test_the_catalogue_answers_offline() -> None:
    found = find(LLAMA)
    assert (found.source, found.revision, found.warnings) == ("catalogue", None, ())
    assert found.config["max_position_embeddings"] == 4096


def test_a_known_commit_is_told() -> None:
    known = find(QWEN).revision
    assert known
    assert len(known) == 40
    assert find(QWEN, known).warnings == ()


def test_another_revision_than_the_catalogues_is_a_warning() -> None:
    found = find(LLAMA, COMMIT)
    assert found.revision == COMMIT
    assert found.warnings == (
        f"model.revision: the catalogue's facts of {LLAMA} are those of main, not checked against {COMMIT}",
    )
    branch = find(QWEN, "refs/pr/1")
    assert branch.revision is None
    assert "are those of commit b968826d9c46, not checked against refs/pr/1" in branch.warnings[0]


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ModelError) as caught:
        find("meta-llama/Llama-2-70b-chat")
    assert str(caught.value) == (
        "model.repo: meta-llama/Llama-2-70b-chat: not in the catalogue and never fetched here, and offline nothing "
        f"can be asked. Did you mean {LLAMA}? Plan once without --offline (and HF_HUB_OFFLINE), "
        "or set model.path to a folder with its config.json."
    )


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_environment_can_forbid_the_hub(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    model = ModelSpec(repo=LLAMA)
    assert find_checkpoint(model, load_catalog(), offline=False, base_dir=Path.cwd()).warnings == ()


def snapshot(repo: str, commit: str, branch: str | None = None) -> Path:
    """A folder in huggingface_hub's cache."""
    import os

    folder = Path(os.environ["HF_HOME"]) / "hub" / f"models--{repo.replace('/', '--')}"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 7}))
    if branch:
        (folder / "refs").mkdir()
        (folder / "refs" / branch).write_text(commit)
    return folder


def test_huggingface_hubs_cache_answers_offline() -> None:
    snapshot("acme/chat", COMMIT, "main")
    found = find("acme/chat")
    assert (found.source, found.revision, found.config["hidden_size"]) == ("hub", COMMIT, 7)
    assert find("acme/chat", COMMIT) == found


def test_a_commit_in_huggingface_hubs_cache_goes_before_the_catalogues_main() -> None:
    snapshot(LLAMA, COMMIT)
    assert find(LLAMA, COMMIT).config["hidden_size"] == 7
    assert find(LLAMA).source == "catalogue"


def test_ones_own_row_goes_before_everything(tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text(f"models:\n- {{repo: {LLAMA}, source: ours, config: {{hidden_size: 5}}}}\n")
    model = ModelSpec(repo=LLAMA)
    found = find_checkpoint(model, load_catalog(file), offline=False, base_dir=tmp_path)
    assert (found.source, found.config["hidden_size"]) == ("catalogue", 5)


@pytest.mark.network
def test_offline_imports_no_hub() -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom planner.catalog import load_catalog\n"
        "from planner.model.find import find_checkpoint\nfrom planner.spec.schema import ModelSpec\n"
        f"find_checkpoint(ModelSpec(repo={LLAMA!r}), load_catalog(), offline=True, base_dir=Path('.'))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"huggingface_hub", "platformdirs", "pydantic", "modal", "click", "httpx", "httpx2"}
