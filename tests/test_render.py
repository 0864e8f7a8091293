from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from planner.release import Release, read_release, release_values, startup_timeout_s
from planner.render import download_timeout_s, expiry_cron, release_tags, render_release, weights_app_name
from tests.releases import COMMIT, LLAMA_70B

if TYPE_CHECKING:
    from types import ModuleType

GOLDEN = Path(__file__).parent / "golden"
LOCAL = replace(LLAMA_70B, target="local", local_path="/models/llama")
EVIL = '"; import os; os.system("id") #\'\'\' """ {{ 7 * 7 }} {% raw %} {braces} \\ \n\r\u2028__import__("os")'
VARIANTS = {
    "plain": LLAMA_70B,
    "unpinned": replace(LLAMA_70B, revision=None, weights_bytes=None),
    "expires": replace(LLAMA_70B, expires_at="2026-12-01T14:30:00+00:00"),
    "region": replace(LLAMA_70B, region="us-east", environment="prod"),
    "no secrets": replace(LLAMA_70B, secret_huggingface=None, secret_api_key=None),
    "all secrets": replace(LLAMA_70B, secret_wandb="wandb-secret"),
    "long": replace(LLAMA_70B, repo="o/" + "r" * 80, asked_revision="v" * 66),
    "evil": replace(
        LLAMA_70B,
        spec_path=EVIL,
        repo=EVIL,
        asked_revision=EVIL,
        secret_api_key=EVIL,
        region=EVIL,
        engine_args=(("--hf-overrides", EVIL), ("--flag",)),
    ),
    "local": LOCAL,
    "local expires": replace(LOCAL, expires_at="2026-12-01T14:30:00+00:00", local_path=EVIL),
}


def app_of(release: Release) -> str:
    files = render_release(release)
    assert list(files) == ["app.py"]
    return files["app.py"]


def constants(source: str) -> dict[str, Any]:
    """Module-level names that are literals."""
    found = {}
    for node in ast.parse(source).body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and node.value is not None:  # type: ignore[union-attr]
            try:
                found[target.id] = ast.literal_eval(node.value)  # type: ignore[union-attr]
            except ValueError:
                continue
    return found


def keywords(source: str, decorator: str) -> dict[str, str]:
    """The arguments of a decorator such as app.server, as source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == decorator:
            return {keyword.arg or "": ast.unparse(keyword.value) for keyword in node.keywords}
    raise AssertionError(f"no {decorator}")


@pytest.mark.parametrize("target", ["modal", "local"])
def test_the_rendered_app_is_the_golden_one(target: str, update_golden: bool) -> None:
    path = GOLDEN / f"app_{target}.py.txt"
    text = app_of(LLAMA_70B if target == "modal" else LOCAL)
    if update_golden:
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("release", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_compiles(release: Release) -> None:
    compile(app_of(release), "app.py", "exec")


@pytest.mark.network
def test_every_variant_is_formatted_and_clean(tmp_path: Path) -> None:
    for name, release in VARIANTS.items():
        (tmp_path / f"{name.replace(' ', '_')}.py").write_text(app_of(release))
    usual = [str(tmp_path / f"{name}.py") for name in ("plain", "expires", "region", "local")]
    for command in (
        ["check", str(tmp_path)],
        ["format", "--diff", str(tmp_path)],
        ["format", "--diff", "--line-length", "120", *usual],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[:3000]


def test_hostile_values_end_up_as_data() -> None:
    found = constants(app_of(VARIANTS["evil"]))
    assert found["REPO"] == found["ASKED_REVISION"] == EVIL
    assert found["ENGINE_ARGS"] == [("--hf-overrides", EVIL), ("--flag",)]
    plain, evil = (ast.dump(ast.parse(app_of(VARIANTS[name]))) for name in ("plain", "evil"))
    assert evil.count("func=Name(id='__import__'") == plain.count("func=Name(id='__import__'") == 0
    assert evil.count("attr='system'") == 0


def test_hostile_values_in_a_header_comment_stay_on_their_line() -> None:
    header = app_of(VARIANTS["evil"]).split('"""Serve one model')[0]
    assert all(line.startswith("#") for line in header.splitlines())


def test_constants_are_the_release() -> None:
    found = constants(app_of(LLAMA_70B))
    assert found["APP_NAME"] == "llama"
    assert (found["REPO"], found["REVISION"], found["GPU"]) == (LLAMA_70B.repo, COMMIT, "A100-80GB:2")
    assert found["ENGINE_ARGS"] == list(LLAMA_70B.engine_args)
    assert found["PLAN_ID"] == LLAMA_70B.plan_id
    assert found["TAGS"]["spec"] == ("ab" * 32)[:40]


def test_the_server_is_closed_bounded_and_reads_weights_only() -> None:
    source = app_of(LLAMA_70B)
    server = keywords(source, "app.server")
    assert server["unauthenticated"] == "False"
    assert server["gpu"] == "GPU"
    assert server["startup_timeout"] == "STARTUP_TIMEOUT_S"
    assert int(server["exit_grace_period"]) >= 25
    assert "read_only=True" in server["volumes"]
    assert "required_keys=['VLLM_API_KEY']" in server["secrets"]
    assert "HF_TOKEN" not in server["secrets"]
    download = keywords(source, "weights.function")
    assert "gpu" not in download
    assert "required_keys=['HF_TOKEN']" in download["secrets"]


def test_the_header_says_where_it_comes_from() -> None:
    header = app_of(LLAMA_70B)[:900]
    for said in ("gpuplan 0.1.0", "specs/70b.yaml", "ab" * 32, LLAMA_70B.plan_id, COMMIT, "2026-10-08", "Do not edit"):
        assert said in header


def test_an_app_that_expires_stops_itself_by_a_schedule() -> None:
    source = app_of(VARIANTS["expires"])
    assert keywords(source, "app.function")["schedule"] == "modal.Cron('30 14 1 12 *')"
    assert "modal.App.lookup(APP_NAME).stop()" in source
    assert "app.function" not in app_of(LLAMA_70B)


def test_a_value_that_a_template_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import jinja2

    (tmp_path / "modal").mkdir()
    (tmp_path / "modal" / "app.py.j2").write_text("{{ release.nmae }}")
    monkeypatch.setattr("planner.render.template_folder", lambda: tmp_path)
    with pytest.raises(jinja2.UndefinedError, match="nmae"):
        render_release(LLAMA_70B)


@pytest.mark.parametrize(
    "release", [VARIANTS[name] for name in ("plain", "unpinned", "expires", "region", "no secrets", "all secrets")]
)
def test_it_imports_under_the_real_client(release: Release, tmp_path: Path) -> None:
    import modal

    app = load(app_of(release), tmp_path)
    assert isinstance(app.app, modal.App)
    assert isinstance(app.weights, modal.App)
    assert isinstance(app.Engine, modal.Server)
    assert isinstance(app.download, modal.Function)


def load(source: str, folder: Path) -> ModuleType:
    path = folder / "rendered_app.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("rendered_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rendered_app"] = module
    spec.loader.exec_module(module)
    return module


CHANGES: dict[str, Any] = {
    "environment": "prod",
    "region": "us",
    "revision": "0" * 40,
    "secret_wandb": "w",
    "local_path": "/m",
    "expires_at": "2026-12-01T14:30:00+00:00",
    "engine_args": (("--enforce-eager",),),
}
NOT_IN_THE_PLAN_ID = {
    "min_containers",
    "max_containers",
    "scaledown_window_s",
    "usd_per_hour",
    "prices_as_of",
    "spec_path",
    "spec_sha256",
    "weights_bytes",
    "total_bytes",
    "model_loading_bytes",
    "available_kv_bytes",
}


@pytest.mark.parametrize("name", Release.__struct_fields__)
def test_the_plan_id_follows_what_runs_and_not_its_price(name: str) -> None:
    value = getattr(LLAMA_70B, name)
    other = CHANGES.get(name) or (value + 1 if isinstance(value, int | float) else f"{value}x")
    changed = replace(LLAMA_70B, **{name: other})
    assert (changed.plan_id != LLAMA_70B.plan_id) == (name not in NOT_IN_THE_PLAN_ID)


@pytest.mark.parametrize("release", VARIANTS.values(), ids=VARIANTS)
def test_a_release_survives_being_recorded(release: Release) -> None:
    import json

    assert read_release(json.loads(json.dumps(release_values(release)))) == release


@pytest.mark.parametrize("release", VARIANTS.values(), ids=VARIANTS)
def test_tags_are_what_modal_accepts(release: Release) -> None:
    from modal._utils.name_utils import check_tag_dict

    if release is not VARIANTS["evil"]:  # a repository's name cannot hold such letters; the spec refuses them
        check_tag_dict(release_tags(release))


@pytest.mark.parametrize("name", ["a", "a" * 63])
def test_the_weights_app_has_a_name_modal_accepts(name: str) -> None:
    from modal._utils.name_utils import check_object_name

    check_object_name(weights_app_name(name), "App")


def test_time_limits_follow_the_bytes() -> None:
    assert startup_timeout_s(0) == 600
    assert startup_timeout_s(195_000_000_000) == 1900  # public starts of 195 GB: 1,190 to 1,530 s
    assert download_timeout_s(140_000_000_000) == 4600
    assert download_timeout_s(10**15) == 86_400
    assert expiry_cron(None) is None
