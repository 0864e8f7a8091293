"""Ready-made calls of an endpoint. Secrets stand as names of environment variables, never as values. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.spec import Spec

PROXY_HEADERS = {"Modal-Key": "MODAL_PROXY_TOKEN_ID", "Modal-Secret": "MODAL_PROXY_TOKEN_SECRET"}


def client_snippets(spec: Spec, url: str) -> str:
    """curl, then the OpenAI SDK for Python."""
    proxy = PROXY_HEADERS if spec.target == "modal" else {}
    return f"{_curl(spec, url, proxy)}\n\n{_openai(spec, url, proxy)}"


def _curl(spec: Spec, url: str, proxy: dict[str, str]) -> str:
    headers = ['-H "Content-Type: application/json"']
    headers += [f'-H "{name}: ${variable}"' for name, variable in proxy.items()]
    if spec.secrets.api_key:
        headers.append('-H "Authorization: Bearer $VLLM_API_KEY"')
    body = f'{{"model": "{spec.model.repo}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    return " \\\n  ".join([f'curl "{url}/v1/chat/completions"', *headers, f"-d '{body}'"])


def _openai(spec: Spec, url: str, proxy: dict[str, str]) -> str:
    key = 'os.environ["VLLM_API_KEY"]' if spec.secrets.api_key else '"none"'
    base = 'os.environ["URL"] + "/v1"' if url == "$URL" else f'"{url}/v1"'
    lines = ["import os", "", "from openai import OpenAI", "", "client = OpenAI(", f"    base_url={base},"]
    lines.append(f"    api_key={key},")
    if proxy:
        lines.append("    default_headers={")
        lines += [f'        "{name}": os.environ["{variable}"],' for name, variable in proxy.items()]
        lines += [
            '        "Modal-Session-ID": "one-per-conversation",  # same container: its prefix cache is warm',
            "    },",
        ]
    lines += [
        ")",
        "answer = client.chat.completions.create(",
        f'    model="{spec.model.repo}",',
        '    messages=[{"role": "user", "content": "Hello"}],',
        ")",
        "print(answer.choices[0].message.content)",
    ]
    return "\n".join(lines)
