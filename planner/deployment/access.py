"""How a request gets in: the headers of a provider's proxy and of vLLM, from the environment, never from a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PROXY_KEY = "MODAL_PROXY_TOKEN_ID"  # wk-...
PROXY_SECRET = "MODAL_PROXY_TOKEN_SECRET"  # noqa: S105 - the variable's name; its value is ws-...
API_KEY = "VLLM_API_KEY"


def auth_headers(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Modal's proxy takes Modal-Key and Modal-Secret, vLLM takes a bearer token; each only where it is set."""
    headers = {}
    if environ.get(PROXY_KEY) and environ.get(PROXY_SECRET):
        headers["Modal-Key"] = environ[PROXY_KEY]
        headers["Modal-Secret"] = environ[PROXY_SECRET]
    if environ.get(API_KEY):
        headers["Authorization"] = f"Bearer {environ[API_KEY]}"
    return headers
