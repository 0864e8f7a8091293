"""Source: the bytes of a spec file to text, and YAML text to nodes with places. Nothing is ever constructed from tags.

libyaml's events are followed here instead of `yaml.compose`, which recurses in C (a deeply nested file ends the whole
process) and expands nothing but also counts nothing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from msgspec.structs import replace

from planner.errors import SpecError
from planner.spec.node import Node, Place
from planner.spec.problems import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.spec.problems import Problems

LARGEST_BYTES = 1 << 20  # a spec is a few kB; this is no place to read a model from
DEEPEST = 16  # levels of nesting; a spec has four
MOST_NODES = 10_000  # aliases counted as often as they are used
STANDARD = ("str", "int", "float", "bool", "null", "seq", "map")
TAG = "tag:yaml.org,2002:"
STANDARD_TAGS = {None, "!", *(TAG + name for name in STANDARD)}
BARE_TAGS = {TAG + name for name in STANDARD[1:5]}  # an explicit !!int makes a number of what stands in quotes
UNPRINTABLE = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]"
UTF_16_AND_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
SUFFIXES = (".yaml", ".yml")
START = "name: my-model and model: {repo: org/name}"


class UnreadableError(Exception):
    """The text cannot be read on from here."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


def read_source(path: str) -> str:
    """The text of a file, or of standard input for "-". Raises SpecError."""
    if not path:
        raise SpecError(["SPEC: is empty; type the path of a spec, or set the shell variable that it comes from"])
    try:
        if path == "-":
            data = sys.stdin.buffer.read(LARGEST_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise SpecError([f"{path}: {_unopened(path, error)}"]) from error
    if len(data) > LARGEST_BYTES:
        raise SpecError([f"{label_of(path)}:1:1: file: larger than 1 MiB; a spec is a few lines of YAML, type {START}"])
    return _decoded(data, label_of(path))


def label_of(path: str) -> str:
    """The file's name in messages."""
    return "stdin" if path == "-" else path


def compose(text: str, label: str, problems: Problems) -> Node | None:
    """The one document in the text as nodes, a null where it is empty; None after a problem."""
    text = text.removeprefix("\ufeff")
    try:
        if not text.replace("\n", "").isprintable() and (bad := re.search(UNPRINTABLE, text)):
            place = _place_at(text, bad.start(), label)
            raise UnreadableError(place, f"the character U+{ord(bad[0]):04X} cannot stand in YAML; type it without")
        return _Composer(text, label, problems).document()
    except UnreadableError as error:
        problems.add(error.place, "file", error.message)
    except yaml.MarkedYAMLError as error:
        mark, message = _syntax(error, text)
        problems.add(Place(label, mark.line + 1, mark.column + 1) if mark else Place(label, 1, 1), "file", message)
    return None


class _Composer:
    """Follows the parser's events to one tree of nodes, with a limit on depth and on what aliases add up to."""

    def __init__(self, text: str, label: str, problems: Problems) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[Any] = yaml.parse(text, Loader=loader)
        self._label = label
        self._problems = problems
        self._anchors: dict[str, Node | None] = {}  # None while the anchored node is still open

    def document(self) -> Node:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return Node("", Place(self._label, 1, 1), plain=True)
        node = self._node(next(self._events), "", 0)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise UnreadableError(self._place(after), "a second document begins; keep one spec per file, without ---")
        return node

    def _place(self, event: Any) -> Place:
        return Place(self._label, event.start_mark.line + 1, event.start_mark.column + 1)

    def _node(self, event: Any, path: str, depth: int) -> Node:
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(str(event.anchor), place)
        if depth > DEEPEST:
            raise UnreadableError(place, f"nested more than {DEEPEST} deep; a spec has 4 levels, type no more")
        if event.tag not in STANDARD_TAGS:
            tag = event.tag.replace(TAG, "!!")
            self._problems.add(place, path or "file", f"unknown tag {quoted(tag)}; type the value without a tag")
        if event.anchor:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = Node(event.value, place, plain=event.implicit[0] or event.tag in BARE_TAGS)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(place, path, depth)
        else:
            node = self._mapping(place, path, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _aliased(self, anchor: str, place: Place) -> Node:
        if anchor not in self._anchors:
            raise UnreadableError(place, f"no anchor {quoted(anchor)} stands before this alias; type the value itself")
        node = self._anchors[anchor]
        if node is None:
            raise UnreadableError(
                place, f"the alias {quoted(anchor)} stands inside its own anchor; type the value itself"
            )
        return replace(node, place=place)

    def _list(self, place: Place, path: str, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, f"{path}[{len(items)}]", depth + 1))
        return self._sized(Node(items, place), items)

    def _mapping(self, place: Place, path: str, depth: int) -> Node:
        entries: dict[str, tuple[Place, Node]] = {}
        merged: list[Node] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, path, depth + 1)
            if not isinstance(key.value, str):
                raise UnreadableError(key.place, "a key must be a word; type for example name:")
            child_path = f"{path}.{quoted(key.value)[1:-1]}" if path else quoted(key.value)[1:-1]
            child = self._node(next(self._events), child_path, depth + 1)
            if key.plain and key.value == "<<":
                merged.append(child)
            elif key.value in entries:
                first = entries[key.value][0]
                self._problems.add(key.place, child_path, f"written twice, first on line {first.line}; keep one")
            else:
                entries[key.value] = (key.place, child)
        children = [child for _, child in entries.values()]
        for source in merged:
            self._merge(source, entries)
        return self._sized(Node(entries, place), children + merged)

    def _merge(self, source: Node, entries: dict[str, tuple[Place, Node]]) -> None:
        """YAML's merge key: what is written beside << wins, then the first of several sources."""
        for mapping in source.value if isinstance(source.value, list) else [source]:
            if not isinstance(mapping.value, dict):
                raise UnreadableError(mapping.place, "<< merges mappings only; type an alias of one, as in <<: *base")
            for key, entry in mapping.value.items():
                entries.setdefault(key, entry)

    def _sized(self, node: Node, children: list[Node]) -> Node:
        size = 1 + sum(child.size for child in children)
        if size > MOST_NODES:
            raise UnreadableError(node.place, f"more than {MOST_NODES:,} values, aliases counted; type fewer")
        return replace(node, size=size)


def _decoded(data: bytes, label: str) -> str:
    if data.startswith(UTF_16_AND_32):
        raise SpecError([f"{label}:1:1: file: this is UTF-16 or UTF-32; save the file as UTF-8"])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place_at(data[: error.start].decode("utf-8"), error.start, label)
        byte = data[error.start]
        raise SpecError([f"{place}: file: the byte 0x{byte:02X} is not UTF-8; save the file as UTF-8"]) from error


def _place_at(text: str, index: int, label: str) -> Place:
    before = text[:index]
    return Place(label, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _unopened(path: str, error: OSError) -> str:
    """Why a file cannot be read, and what to type."""
    target = Path(path)
    if isinstance(error, FileNotFoundError):
        return f"no such file; {_nearest(target)}"
    if isinstance(error, IsADirectoryError):
        return "is a folder; type the path of a spec in it"
    return f"cannot be read ({error.strerror}); type a path that you may read"


def _nearest(path: Path) -> str:
    """What was meant by a path that leads nowhere: a spec beside it, a model without its organization, or neither."""
    from planner.spec.advice import near_model

    siblings = path.parent.iterdir() if path.parent.is_dir() else ()
    specs = {entry.stem: entry for entry in siblings if entry.suffix in SUFFIXES}
    if near := did_you_mean(path.stem, specs):
        return f"did you mean {specs[near]}?"
    if path.suffix == ".json":
        return f"type the path of a spec or a saved plan, or save one: gpuplan plan SPEC --out {path}"
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        return "type the path of a spec, or run: gpuplan init"
    if model := near_model(path.name):
        return f"did you mean the model {model}?"
    return "type the path of a spec, a model as org/name (see `gpuplan models`), or run: gpuplan init"


BEGUN = {  # told at the place where what is wrong begins
    "',' or ']'": "this list is not closed; type ] at its end",
    "',' or '}'": "this mapping is not closed; type } at its end",
    "unexpected end of stream": "this quote is not closed; type the closing quote",
    "expected ':'": "this line is no key: value; type a colon and a space after the key",
}
MISPLACED = {
    "expected node content": "a value is missing here, or a [ or { above is not closed; type the value, or ] or }",
    "mapping values are not allowed": 'a second ": " stands in this line; type the value in quotes',
    "cannot start any token": "a value cannot begin with this character; type the value in quotes",
    "expected key": "no key stands where one must; type key: value, as far indented as its neighbours",
    "expected <block end>": "no key stands where one must; type key: value, as far indented as its neighbours",
    "incompatible YAML document": "a version of YAML that is not read here; type no %YAML line",
}


def _syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[Any, str]:
    """The parser's complaint in the words of someone who edits a spec, and the mark of where it is."""
    problem, mark = error.problem or "not YAML", error.problem_mark or error.context_mark
    for sign, message in BEGUN.items():
        if sign in problem:
            return error.context_mark or mark, message
    line = dict(enumerate(text.split("\n"))).get(mark.line, "") if mark else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return mark, "a tab indents this line; type spaces"
    for sign, message in MISPLACED.items():
        if sign in problem:
            return mark, message
    return mark, f"{problem}; type valid YAML here"
