"""Recorded trainings -> one HTML page that compares them: it holds its numbers, and asks no network for anything.

A record is a mapping of three mappings, alike for all records of a page. L: Linear layers, R: ReLUs, T: batches.

    {
        "factors": {"init": "he", "inputs": "raw", ...},         # what was varied, name -> level
        "results": {"val_loss": 1.95, "accuracy": 0.29, ...},    # a number each; the table is sorted by them
        "series": {"losses": ..., ...},                          # arrays as in SERIES; those of NORM may be left out
    }

The page is made of the files in helpers/page/. It draws with uPlot (MIT), which lies there as well.
"""

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers import session

PAGE = Path(__file__).with_name("page")
QUANTILES = 5  # 1, 25, 50, 75 and 99 %
SERIES = {
    "losses": "2 T",  # training and validation
    "weights": "L T+1 Q",  # quantiles, from the initial weights on
    "net_values": "R T Q",
    "outputs": "R T Q",
    "net_rms": "R T",  # root mean squares
    "output_rms": "R T",
    "dead": "R T",  # share of dead units, 0 to 1
    "update_ratio": "L T",  # |Δw| / |w|
}
NORM = {"norm_input": "R T", "norm_output": "R T"}  # root mean squares before and after batch norm


def write_gallery(path: str | Path, records: Sequence[Mapping], guess: float | None = None) -> Path:
    """Write the page that compares `records`, which this module describes; return its path.

    `guess`: the loss of guessing, as a guide line. Numbers of series are stored as float16: with a relative error of at
    most 2^-11 (0.05 %) from 6.1e-5 to 65504, an absolute one of 3e-8 below, and as Inf beyond; NaN and Inf stay. Raises
    ValueError for no records and for records that do not fit together; session.CannotSave where it cannot be written.
    """
    if not records:
        raise ValueError("A gallery needs at least one record, and there are none: record a training first.")
    sizes = _sizes(records[0])
    for number, record in enumerate(records, 1):
        _check(record, number, records[0], sizes)
    seen = {}
    for number, record in enumerate(records, 1):
        if (other := seen.setdefault(tuple(record["factors"].values()), number)) != number:
            raise ValueError(f"Records {other} and {number} have the same factors: keep one of them.")
    data = {"guess": guess, "batches": sizes["T"], "records": [_packed(record) for record in records]}
    embedded = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", r"\u003c")  # no </script> in it
    parts = {file.name: file.read_text(encoding="utf-8").strip() for file in PAGE.iterdir() if file.is_file()}
    page = re.sub(r"\{\{([\w.]+)\}\}", lambda match: (parts | {"data": embedded})[match[1]], parts["page.html"])
    with session.saving(Path(path)), session.new_file(path) as temporary:
        temporary.write_text(page + "\n", encoding="utf-8", newline="\n")
    return Path(path)


def _sizes(record: Mapping) -> dict[str, int]:
    """Return L, R, T, T+1 and Q by the update ratios and the dead units of a record; 0 where there are none."""
    series = record.get("series", {})
    (layers, batches), (relus, _) = (_shape(series.get(name)) for name in ("update_ratio", "dead"))
    return {"2": 2, "L": layers, "R": relus, "T": batches, "T+1": batches + 1, "Q": QUANTILES}


def _shape(values) -> tuple[int, int]:
    """Return the shape of a two-dimensional array, (0, 0) for anything else."""
    return np.shape(values) if np.ndim(values) == 2 else (0, 0)


def _check(record: Mapping, number: int, first: Mapping, sizes: Mapping[str, int]) -> None:
    """Raise ValueError, with a sentence that says what to do, if a record does not fit to the first one."""
    if missing := {"factors", "results", "series"} - set(record):
        raise ValueError(f"Record {number} has no {min(missing)}: give it factors, results and series.")
    for part in ("factors", "results"):
        if list(record[part]) != list(first[part]) or not record[part]:
            names = f"{', '.join(record[part])}, the first record {', '.join(first[part])}"
            raise ValueError(f"Record {number} has the {part} {names}: give all the same, in one order.")
    series = record["series"]
    expected = SERIES | (NORM if NORM.keys() & series.keys() else {})
    if series.keys() != expected.keys():
        names = ", ".join(sorted(series.keys() ^ expected.keys()))
        raise ValueError(f"Record {number} lacks these series, or has them in excess: {names}; record the others only.")
    for name, letters in expected.items():
        shape = tuple(sizes[letter] for letter in letters.split())
        if np.shape(series[name]) != shape:
            advice = "record all with the same batches and layers"
            raise ValueError(f"Record {number} has {name} {np.shape(series[name])} instead of {shape}: {advice}.")


def _packed(record: Mapping) -> dict:
    """Return a record for JSON: its series as one base64 text, in the order of "shapes"; null: a result not finite."""
    arrays = {name: np.asarray(values, dtype=float) for name, values in record["series"].items()}
    with np.errstate(over="ignore"):  # Inf is meant
        numbers = np.concatenate([values.ravel() for values in arrays.values()]).astype("<f2")
    return {
        "factors": {name: str(level) for name, level in record["factors"].items()},
        "results": {k: float(v) if math.isfinite(v) else None for k, v in record["results"].items()},
        "shapes": {name: values.shape for name, values in arrays.items()},
        "numbers": b64encode(numbers.tobytes()).decode(),
    }
