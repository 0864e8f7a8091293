"""Proof from outside: the endpoint serves the planned model, commit and length, on the planned GPUs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from planner.errors import plain_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from planner.release import Release

COMPLETION_TIMEOUT_S = 120
PLAN_ID_PREFIX = "plan-"


class Proof(Struct, frozen=True):
    """One thing that was planned and what was seen."""

    what: str
    planned: str
    seen: str
    holds: bool


class UnansweredError(Exception):
    """The endpoint did not answer as an engine does; ``status`` is HTTP's, None where there was no answer."""

    def __init__(self, status: int | None, why: str) -> None:
        super().__init__(why)
        self.status = status


def ask(url: str, path: str, headers: Mapping[str, str], body: Any = None, timeout_s: float = 10) -> Any:
    """One request; JSON in and out, None for an empty answer. Raises UnansweredError."""
    request = urllib.request.Request(  # noqa: S310 - http(s) URLs of the user's own endpoints
        url.rstrip("/") + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    try:
        with OPENER.open(request, timeout=timeout_s) as response:
            text = response.read()
            return json.loads(text) if text.strip() else None
    except urllib.error.HTTPError as error:
        with error:
            raise UnansweredError(
                error.code, f"HTTP {error.code}: {error.read(300).decode(errors='replace')}"
            ) from None
    except (OSError, HTTPException, ValueError) as error:  # HTTPException: an answer that is no HTTP
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UnansweredError(None, plain_words(reason)) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Modal answers a request of more than 150 s with a redirect: that is a wait, not an answer."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


OPENER = urllib.request.build_opener(_NoRedirect)


def model_cards(url: str, headers: Mapping[str, str], timeout_s: float = 10) -> list[dict[str, Any]]:
    """The cards of /v1/models. Raises UnansweredError."""
    answer = ask(url, "/v1/models", headers, timeout_s=timeout_s)
    cards = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards) or not cards:
        raise UnansweredError(200, f"/v1/models has no list of models: {str(answer)[:200]}")
    return cards


def serves_another_plan(cards: Sequence[Mapping[str, Any]], release: Release) -> bool:
    """Whether an older version of the app still answers: engines name their plan as a second model."""
    plans = [card["id"] for card in cards if str(card.get("id", "")).startswith(PLAN_ID_PREFIX)]
    return bool(plans) and release.plan_id not in plans


def prove_model(cards: Sequence[Mapping[str, Any]], release: Release, root: str) -> list[Proof]:
    """Name, root path and longest context; ``root`` is what the path must end in: repo@commit, or a local folder."""
    card = cards[0]
    seen_root = str(card.get("root"))
    return [
        Proof("model", release.repo, str(card.get("id")), card.get("id") == release.repo),
        Proof("weights", root, seen_root, seen_root == root or seen_root.endswith("/" + root)),
        Proof(
            "max_model_len",
            str(release.max_model_len),
            str(card.get("max_model_len")),
            card.get("max_model_len") == release.max_model_len,
        ),
    ]


def prove_gpus(gpus: Sequence[tuple[str, int]], release: Release) -> Proof:
    """Type and count that the provider has for one container."""
    seen = ", ".join(f"{count}×{gpu}" for gpu, count in gpus) or "none"
    holds = [(_plain(gpu), count) for gpu, count in gpus] == [(_plain(release.gpu), release.gpu_count)]
    return Proof("GPUs", f"{release.gpu_count}×{release.gpu}", seen, holds)


def prove_engine(url: str, headers: Mapping[str, str], release: Release) -> Proof | None:
    """vLLM's own version at /version; None where a proxy or another server does not tell."""
    try:
        answer = ask(url, "/version", headers)
    except UnansweredError:
        return None
    seen = answer.get("version") if isinstance(answer, dict) else None
    if not isinstance(seen, str):
        return None
    holds = seen == release.engine_version or seen.startswith(
        (release.engine_version + "+", release.engine_version + ".")
    )
    return Proof("engine", f"vLLM {release.engine_version}", f"vLLM {seen}", holds)


def prove_completion(url: str, headers: Mapping[str, str], release: Release) -> Proof:
    """One real completion by the planned model's name. Raises UnansweredError."""
    body = {"model": release.repo, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    answer = ask(url, "/v1/completions", headers, body, COMPLETION_TIMEOUT_S)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    text = choices[0].get("text") if isinstance(choices, list) and choices else None
    return Proof("completion", "some text", "nothing" if text is None else repr(text[:60]), bool(text))


def _plain(gpu: str) -> str:
    """The GPU's name without what only says how strictly it is meant (H100!, B200+)."""
    return gpu.upper().rstrip("!+").replace("_", "-")
