from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.literal import literal

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = [
    'a"b',
    "a'b",
    "both \" and '",
    "\\",
    "\\'",
    "line\nbreak",
    "carriage\rreturn",
    "nul\0",
    "{{ 7 * 7 }}",
    "{% raw %}",
    '"""',
    "'''",
    "{braces}",
    '__import__("os").system("id")',
    "\u2028\u2029\x85",
    "\u202e right to left",
    "# comment",
    "é ü 日本",
    "\ud800",
    "a" * 200,
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(VALUES)
def test_a_literal_is_the_value_again(value: Any) -> None:
    assert ast.literal_eval(literal(value)) == value


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_on_one_line(text: str) -> None:
    source = literal(text)
    assert ast.literal_eval(source) == text
    assert len(source.splitlines()) == 1


def test_what_has_no_literal_is_refused() -> None:
    with pytest.raises(TypeError, match="no literal for set"):
        literal({1})


@pytest.mark.network
def test_literals_are_laid_out_as_ruff_does(tmp_path: Path) -> None:
    texts = [text for text in HOSTILE if text.isprintable()]
    values: list[Any] = [
        *texts,
        texts[:3],
        [("--a", "b"), ("--flag",), ("--long", '{"x": "' + "y" * 90 + '"}')],
        {"k": "v"},
        {"key": "v" * 50, "other": ["w" * 30]},
        [],
        (),
        {},
        ["HF_TOKEN"],
        None,
        -1,
        1e300,
    ]
    path = tmp_path / "literals.py"
    path.write_text("".join(f"A{number:02} = {literal(value, 6)}\n" for number, value in enumerate(values)))
    for width in ("88", "120"):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", width, "--diff", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stdout
