"""Find the constants of the speed model from published measurements, and print them.

    python benchmarks/fit_throughput.py CSV... [--all] [--extra CSV...]

Least squares on the logarithm of predicted / measured with a soft-L1 loss, a third of the series held out unless
--all. Rows of a GPU with many rows weigh less each. Constants that physics or a data sheet bounds are drawn to that
value by a prior, so that rows which cannot tell two causes apart do not decide between them. Needs scipy.
"""

from __future__ import annotations

import argparse
from collections import Counter
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from throughput_rows import Case, WrongFileError, make_case, predict_case, read_rows, split

from planner.errors import GpuplanError
from planner.throughput.constants import CONSTANTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.throughput.constants import Constants

HERE = Path(__file__).parent
OWN_ROWS = HERE / "own_rows.csv"  # measured for this model, or quoted for what no other row shows
SCALE = 0.08  # residuals below it count squared, above it linearly
GPU_WEIGHT = 0.35  # a GPU's n rows weigh n ** -0.35 each
LEAST = 0.03

# Constants and where a prior draws them: value, strength. (era, field) for what belongs to a generation.
PRIORS: dict[Any, tuple[float, float]] = {
    "hbm_efficiency": (0.9, 4),  # streaming kernels of data-centre GPUs reach 0.85 to 0.93 of the data sheet
    "gddr_efficiency": (0.88, 4),
    "overlap_norm": (1.5, 0.4),
    "host_norm": (4, 0.4),
    "fp8_kv_efficiency": (0.7, 0.4),
    "widened_per_sm_s": (40e9, 0.4),  # some 24 a clock: three instructions for two weights
    "nvfp4_efficiency": (0.7, 0.4),
    "compute_efficiency": (0.65, 1),  # large dense GEMMs on H100 and A100
    "feeding_exponent": (0.18, 0.2),  # cuBLAS on GeForce, A100 and H100
    "attention_efficiency": (0.45, 0.6),  # FlashAttention 2 and 3, causal
    "narrow_compute_efficiency": (0.75, 0.6),
    "expert_compute_efficiency": (0.4, 0.4),
    "old_capability_efficiency": (0.43, 0.1),
    "layer_s": (42e-6, 0.1),
    "attention_launch_s": (100e-6, 0.1),
    "compiled_launch_s": (300e-6, 0.2),  # Qwen3-32B on eight GPUs, vLLM 0.20.1 (aiconfigurator's fpm_golden_runs)
    "narrow_launch_s": (150e-6, 0.2),
    "expert_launch_s": (150e-6, 0.2),
    "expert_layer_s": (20e-6, 0.1),
    "narrow_expert_layer_s": (40e-6, 0.1),
    "narrow_layer_s": (10e-6, 0.1),
    "block_layer_s": (15e-6, 0.1),  # four kernels of 3 to 5 us
    "nvlink_efficiency": (0.38, 1),  # vLLM's all-reduces of 1 to 64 MB (aiconfigurator, custom_allreduce_perf)
    "pcie_efficiency": (0.5, 0.4),
    "nvlink_s": (5e-6, 1),  # of 128 bytes: 4.3 to 5.7 us on A100, H100 and H200, 6.6 to 7.4 us on B200 and B300
    "nvlink5_s": (7e-6, 1),
    "pcie_s": (25e-6, 0.2),
    "no_peer_s": (60e-6, 0.2),
    "rocm_efficiency": (0.8, 0.1),
    "rocm_compute_efficiency": (0.08, 0.1),
    "rocm_layer_s": (160e-6, 0.1),
    ("2023", "step_s"): (5e-3, 0.1),
    ("2023", "sequence_s"): (840e-6, 0.1),
    ("2023", "launch_s"): (500e-6, 1),  # a dozen launches and the Python around them, PyTorch 2.0
    ("2023", "straggler_s"): (430e-6, 1),  # the note's 1 and 4 A100-40GB, one host
    ("v0", "step_s"): (1.9e-3, 0.1),
    ("v0", "sequence_s"): (60e-6, 0.1),
    ("v0", "cached_token_s"): (16e-9, 0.1),
    ("v1", "step_s"): (1.5e-3, 0.1),
    ("v1", "sequence_s"): (25e-6, 1),
    ("v1-async", "step_s"): (2e-3, 1),  # no public row is bound by it
    ("v1-async", "sequence_s"): (25e-6, 0.2),
}
NAMES = tuple(PRIORS)


def read(constants: Constants, name: Any) -> float:
    """One constant by its name."""
    if isinstance(name, str):
        return float(getattr(constants, name))
    return float(getattr(next(era for era in constants.eras if era.name == name[0]), name[1]))


def with_values(values: Sequence[float]) -> Constants:
    """The constants with NAMES set to ``values``."""
    by_name = dict(zip(NAMES, map(float, values), strict=True))
    eras = tuple(
        replace(era, **{name[1]: value for name, value in by_name.items() if name[0] == era.name})
        for era in CONSTANTS.eras
    )
    return replace(CONSTANTS, **{name: value for name, value in by_name.items() if isinstance(name, str)}, eras=eras)


def bounds(name: Any) -> tuple[float, float]:
    """Fractions stay fractions, times below a second, rates near what a clock allows."""
    if name in {"overlap_norm", "host_norm"}:
        return 1.0, 20.0 if name == "host_norm" else 4.0
    if isinstance(name, str) and name.endswith("efficiency"):
        return LEAST, 1.0
    if name == "widened_per_sm_s":
        return 1e9, 1e12
    return 1e-11, 1.0


def fit(cases: Sequence[Case], start: Constants = CONSTANTS, rounds: int = 40, least_gain: float = 1e-8) -> Constants:
    """The constants with the least error on ``cases``, or where a round's share of what is left is ``least_gain``."""
    import numpy as np
    from scipy.optimize import least_squares

    measured = np.log([case.measured for case in cases])
    rows_of = Counter(case.row["gpu"] for case in cases)
    weights = np.array([rows_of[case.row["gpu"]] ** -GPU_WEIGHT for case in cases])
    weights *= (len(weights) / np.sum(weights**2)) ** 0.5
    centres = np.log([PRIORS[name][0] for name in NAMES])
    strengths = np.array([PRIORS[name][1] for name in NAMES])
    low, high = (np.log([bounds(name)[side] for name in NAMES]) for side in (0, 1))

    def residuals(logs: Any) -> Any:
        constants = with_values(np.exp(logs))
        predicted = np.log([predict_case(case, constants).output_tokens_per_second for case in cases])
        error = weights * (predicted - measured)
        soft = np.sign(error) * SCALE * np.sqrt(2 * (np.sqrt(1 + (error / SCALE) ** 2) - 1))
        return np.concatenate([soft, strengths * (logs - centres)])

    first = np.clip(np.log([read(start, name) for name in NAMES]), low + 1e-6, high - 1e-6)
    found = least_squares(residuals, first, bounds=(low, high), max_nfev=rounds, diff_step=1e-3, ftol=least_gain)
    return with_values(np.exp(found.x))


def understood(rows: Sequence[dict[str, str]]) -> list[Case]:
    """Cases of all rows; a row that is not understood is named and left out."""
    cases = []
    for row in rows:
        try:
            cases.append(make_case(row))
        except (ValueError, GpuplanError) as why:
            print(f"left out: {row['model']} {row['dtype']} on {row['n_gpus']}×{row['gpu']}: {why}")
    if len(cases) < len(rows):
        print(f"{len(rows) - len(cases)} of {len(rows)} rows are left out")
    return cases


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="CSV")
    parser.add_argument("--all", action="store_true", help="fit on every row, none held out")
    asked = parser.parse_args()
    try:
        rows = read_rows(asked.files)
    except WrongFileError as why:
        parser.error(str(why))
    chosen = rows if asked.all else split(rows)[0]
    constants = fit(understood([*chosen, *read_rows([OWN_ROWS])]), with_values([PRIORS[name][0] for name in NAMES]))
    errors = [abs(log(predict_case(c, constants).output_tokens_per_second / c.measured)) for c in understood(chosen)]
    print(f"fitted on {len(chosen)} of {len(rows)} rows, mean |log error| {sum(errors) / len(errors):.3f}")
    for name in NAMES:
        print(f"{name if isinstance(name, str) else '.'.join(name):28} {read(constants, name):.3g}")


if __name__ == "__main__":
    main()
