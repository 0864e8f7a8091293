"""Measurements: what the engine itself said and did on real GPUs, one flat row for each start and load.

The package ships its own rows (catalog/measurements.json). `gpuplan measure` and `gpuplan bench` append theirs to
measurements.jsonl in the user's data folder; --measurements FILE adds more. A row without
``output_tokens_per_second`` is about memory alone.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations
from datetime import date as day
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import NODEFAULT, Struct, ValidationError, convert, field
from msgspec.json import decode
from msgspec.structs import asdict

from planner.catalog.folders import data_folder
from planner.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHIPPED = Path(__file__).parent / "catalog" / "measurements.json"
OWN_FILE = "measurements.jsonl"


class Measurement(Struct, frozen=True, kw_only=True):
    """One row. Bytes are of one GPU (rank 0), times seconds unless named otherwise; None: not measured."""

    model: str  # org/name
    gpu: str  # the catalogue's name
    count: int  # GPUs in all
    tensor_parallel_size: int
    pipeline_parallel_size: int = 1
    engine_version: str  # vLLM's
    dtype: str
    quantization: str | None = None  # vLLM's name of the method
    kv_cache_dtype: str = "auto"
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float = 0.92
    enforce_eager: bool = False
    enable_expert_parallel: bool = False
    flags: Mapping[str, Any] = field(default_factory=dict)  # further settings that were not vLLM's defaults
    overrides: Mapping[str, Any] = field(default_factory=dict)  # of config.json: a model cut short is another model
    load_format: str = "dummy"  # "dummy": random weights; "auto": the checkpoint's

    date: str  # YYYY-MM-DD
    source: str  # who measured, how
    torch: str | None = None
    driver: str | None = None
    device: str | None = None  # as nvidia-smi names it
    note: str | None = None

    started: bool = True
    refusal: str | None = None  # the engine's own words where it did not start
    total_bytes: int | None = None
    free_at_start_bytes: int | None = None
    requested_bytes: int | None = None
    model_loading_bytes: int | None = None
    peak_activation_bytes: int | None = None
    non_torch_bytes: int | None = None
    cuda_graph_bytes: int | None = None  # what vLLM subtracted
    available_kv_bytes: int | None = None
    bytes_per_block: int | None = None
    block_size: int | None = None
    num_blocks: int | None = None
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None
    load_s: float | None = None
    compile_s: float | None = None
    capture_s: float | None = None
    start_s: float | None = None  # from the engine's construction until it takes requests
    compile_cache: str | None = None  # "empty", "kept"

    requests: int | None = None  # one burst of so many
    concurrency: int | None = None  # or a closed loop
    input_tokens: int | None = None
    output_tokens: int | None = None
    runs: int | None = None
    output_tokens_per_second: float | None = None  # mean over the runs
    output_tokens_per_second_stdev: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    representative: bool = True  # False: dummy weights sent a mixture's tokens to the same few experts

    @property
    def is_speed(self) -> bool:
        return self.output_tokens_per_second is not None


NAMES = Measurement.__struct_fields__
DEFAULTS = dict(zip(reversed(NAMES), reversed(Measurement.__struct_defaults__), strict=False))
REQUIRED = frozenset(name for name in NAMES if DEFAULTS.get(name, NODEFAULT) is NODEFAULT)


def load_measurements(file: Path | None = None) -> tuple[Measurement, ...]:
    """The shipped rows, the user's own, and those of ``file``; the last are the most specific.

    Raises SpecError naming the file and the line or row that cannot be used.
    """
    own = own_file()
    rows = [*shipped_measurements()]
    if own.is_file():
        rows += read_rows(own)
    if file is not None:
        rows += read_rows(file)
    return tuple(rows)


@lru_cache(maxsize=1)
def shipped_measurements() -> tuple[Measurement, ...]:
    """The rows of the package, held to be right by a test: no errors to explain, so decoded in a third of the time."""
    return tuple(Measurement(**row) for row in decode(SHIPPED.read_bytes())["measurements"])


def own_file() -> Path:
    """Where this user's rows are kept."""
    return data_folder() / OWN_FILE


def read_rows(path: Path) -> tuple[Measurement, ...]:
    """Rows of a file: one JSON object a line (.jsonl), or {"measurements": [...]}."""
    problems: list[str] = []
    rows = []
    for place, row in _objects(path):
        if problem := row_problem(row):
            problems.append(f"{place}: {problem}")
        else:
            rows.append(Measurement(**row))
    if problems:
        raise SpecError(problems)
    return tuple(rows)


def row_problem(row: Any) -> str | None:
    """What is wrong with one row, and what to do; None where nothing is."""
    if not isinstance(row, dict):
        return "not an object. Type one measurement as `gpuplan measure` writes it."
    if unknown := sorted(set(row) - {*NAMES}):
        return f"unknown key {unknown[0]}. The keys are those of `gpuplan measure --json`."
    if missing := sorted(REQUIRED - set(row)):
        return f"missing: {', '.join(missing)}. Type them."
    wrong = [name for name in COUNTS if row.get(name) is not None and not _is_count(row[name])]
    if wrong:
        return f"{wrong[0]} is {row[wrong[0]]!r}. Type a whole number above 0."
    try:
        found = convert(row, Measurement)
        day.fromisoformat(found.date)
    except ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        return f"{where.rstrip('`') or 'the row'}: {what[0].lower()}{what[1:]}. Type it as `gpuplan measure` writes it."
    except ValueError:
        return f"date is {row['date']!r}. Type it as 2026-11-25."
    return _speed_problem(found)


def _speed_problem(row: Measurement) -> str | None:
    """Rates are above 0, times and spreads not below, and a rate says under which load."""
    rate = row.output_tokens_per_second
    if rate is not None and not 0 < rate < MOST:
        return f"output_tokens_per_second is {rate!r}. Type a number above 0."
    for name in ("output_tokens_per_second_stdev", "ttft_ms", "tpot_ms"):
        value = getattr(row, name)
        if value is not None and not 0 <= value < MOST:
            return f"{name} is {value!r}. Type 0 or more."
    if not row.is_speed:
        return None
    if row.requests is None and row.concurrency is None:
        return "a speed without its load. Type requests (one burst of so many) or concurrency (a steady load)."
    if row.input_tokens is None or row.output_tokens is None:
        return "a speed without its lengths. Type input_tokens and output_tokens."
    return None


MOST = 1e9
COUNTS = (
    "count",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "requests",
    "concurrency",
    "input_tokens",
    "output_tokens",
    "runs",
)


def row_values(row: Measurement) -> dict[str, Any]:
    """A row as plain values; what is at its default is left out."""
    return {
        name: value
        for name, value in asdict(row).items()
        if value != DEFAULTS.get(name, NODEFAULT) and value not in ({}, [])
    }


def append_rows(rows: Iterable[Measurement], path: Path | None = None) -> Path:
    """Add rows to the user's own (or to ``path``), a line each."""
    import json  # a plan that reads no rows of the user's starts without it

    path = path or own_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row_values(row)) + "\n" for row in rows)
    return path


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _objects(path: Path) -> Iterator[tuple[str, Any]]:
    """Each row's place and value."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"{path}: cannot be read ({error}). Type a file of measured rows."]) from error
    lines = [(f"{path}:{number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if path.suffix == ".jsonl":
        for place, line in lines:
            yield place, _parsed(line, place)
        return
    whole = _parsed(text, str(path))
    rows = whole.get("measurements") if isinstance(whole, dict) else whole
    if not isinstance(rows, list):
        raise SpecError([f'{path}: no list of rows. Type {{"measurements": [...]}}.'])
    for index, row in enumerate(rows):
        yield f"{path}: measurements[{index}]", row


def _parsed(text: str, place: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise SpecError([f"{place}: not JSON ({error}). Delete the line, or mend it."]) from error
