from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from planner.verify import (
    UnansweredError,
    ask,
    model_cards,
    prove_completion,
    prove_engine,
    prove_gpus,
    prove_model,
    serves_another_plan,
)
from tests.releases import COMMIT, LLAMA_70B

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = f"{LLAMA_70B.repo}@{COMMIT}"
CARD = {"id": LLAMA_70B.repo, "root": f"/weights/{ROOT}", "max_model_len": 4096}


@pytest.mark.parametrize(
    ("card", "fails"),
    [
        ({}, []),
        ({"id": "other/model"}, ["model"]),
        ({"root": f"/weights/{LLAMA_70B.repo}@{'0' * 40}"}, ["weights"]),
        ({"root": f"/weights/evil-{ROOT}"}, ["weights"]),
        ({"root": LLAMA_70B.repo}, ["weights"]),
        ({"root": None}, ["weights"]),
        ({"max_model_len": 2048}, ["max_model_len"]),
        ({"max_model_len": "4096"}, ["max_model_len"]),
        ({"id": None, "root": None, "max_model_len": None}, ["model", "weights", "max_model_len"]),
    ],
)
def test_what_a_model_card_proves(card: dict[str, Any], fails: list[str]) -> None:
    proofs = prove_model([CARD | card], LLAMA_70B, ROOT)
    assert [proof.what for proof in proofs if not proof.holds] == fails


@pytest.mark.parametrize(
    ("gpus", "holds"),
    [
        ([("A100-80GB", 2)], True),
        ([("a100-80gb", 2)], True),
        ([("A100_80GB", 2)], True),
        ([("A100-80GB", 1)], False),
        ([("A100-40GB", 2)], False),
        ([("A100-80GB", 2), ("H100", 2)], False),
        ([], False),
    ],
)
def test_what_the_provider_says_of_gpus(gpus: list[tuple[str, int]], holds: bool) -> None:
    assert prove_gpus(gpus, LLAMA_70B).holds == holds


@pytest.mark.parametrize(
    ("ids", "another"),
    [
        ([LLAMA_70B.repo, LLAMA_70B.plan_id], False),
        ([LLAMA_70B.repo, "plan-000000000000"], True),
        ([LLAMA_70B.repo], False),
    ],
)
def test_an_engine_names_its_plan(ids: list[str], another: bool) -> None:
    assert serves_another_plan([{"id": name} for name in ids], LLAMA_70B) == another


class Answers(BaseHTTPRequestHandler):
    """Status and body by path."""

    table: ClassVar[dict[str, tuple[int, bytes]]] = {}

    def do_GET(self) -> None:
        status, body = self.table.get(self.path, (404, b"no"))
        self.send_response(status)
        if status == 303:
            self.send_header("Location", "/v1/models")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.network
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, b"no replica", "HTTP 503: no replica"),
        (401, b"modal-http: missing credentials", "HTTP 401"),
        (303, b"", "HTTP 303"),
        (200, b"not json", "Expecting value"),
        (200, b"[]", "no list of models"),
        (200, b'{"data": []}', "no list of models"),
        (200, b'{"data": ["x"]}', "no list of models"),
        (200, b"\xff\xfe", ""),
    ],
)
def test_what_is_no_answer(url: str, status: int, body: bytes, said: str) -> None:
    Answers.table = {"/v1/models": (status, body)}
    with pytest.raises(UnansweredError) as unanswered:
        model_cards(url, {})
    assert said in str(unanswered.value)


@pytest.mark.network
@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        ({"choices": [{"text": " Paris"}]}, True),
        ({"choices": [{"text": ""}]}, False),
        ({"choices": []}, False),
        ({"error": "x"}, False),
    ],
)
def test_a_completion_has_text(url: str, answer: dict[str, Any], holds: bool) -> None:
    Answers.table = {"/v1/completions": (200, json.dumps(answer).encode())}
    assert prove_completion(url, {}, LLAMA_70B).holds == holds


@pytest.mark.network
@pytest.mark.parametrize(
    ("status", "answer", "holds"),
    [
        (200, {"version": "0.33.0"}, True),
        (200, {"version": "0.33.0+cu129"}, True),
        (200, {"version": "0.33.0.post1"}, True),
        (200, {"version": "0.33.01"}, False),
        (200, {"version": "0.32.0"}, False),
        (200, {}, None),
        (404, {}, None),
    ],
)
def test_the_engines_own_version(url: str, status: int, answer: dict[str, Any], holds: bool | None) -> None:
    Answers.table = {"/version": (status, json.dumps(answer).encode())}
    proof = prove_engine(url, {}, LLAMA_70B)
    assert (proof.holds if proof else None) == holds


@pytest.mark.network
def test_an_empty_answer_and_no_server(url: str) -> None:
    Answers.table = {"/health": (200, b"")}
    assert ask(url, "/health", {}) is None
    with pytest.raises(UnansweredError) as unanswered:
        ask("http://127.0.0.1:9", "/health", {})
    assert unanswered.value.status is None
