"""Runs the doctor around cases, each in a process of its own, and keeps what it says.

python -m benchmarks.cases.run FOLDER real|sound development|held-out|second|third|NAME ...

FOLDER gets NAME.json for each case; those that are there are not run again. benchmarks.real_cases reads them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.cases.data import Plain
from benchmarks.cases.draw import SETS, load, names
from doctor import Doctor, Outcome, Report

REPORTS = {"without data": (), "with data": ("probe", "test")}  # by what report() is given


def watch(run, fixed: bool) -> dict:
    """Run a program with and without the doctor; return its scores, and what each report says."""
    plain = run(fixed, Plain)
    begin = time.perf_counter()
    watched = run(fixed, Doctor)
    found = {
        "score": plain["score"],
        "same": plain["score"] == watched["score"],
        "seconds": time.perf_counter() - begin,
    }
    for title, keys in REPORTS.items():
        begin = time.perf_counter()
        data = {key: watched[key] for key in keys if watched["probe"] is not None and watched[key] is not None}
        try:
            report = watched["doctor"].report(**data)
        except ValueError as error:  # such as a probe that is too small
            report = Report([], [], "", (str(error),))
        found[title] = {
            "findings": [(finding.cause, finding.certain) for finding in report.findings],
            "notes": [check.cause for check in report.checks_with(Outcome.NOTE)],
            "impaired": report.impaired,
            "not watched": report.not_watched,
            "text": repr(report),
            "seconds": time.perf_counter() - begin,
        }
    return found


def run_case(kind: str, name: str) -> dict:
    """Return what `watch` says of a case, of a real one for the faulty and the fixed program."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    case = load(name)
    programs = {"faulty": False, "fixed": True} if kind == "real" else {"sound": True}
    return {program: watch(case.run, fixed) for program, fixed in programs.items()}


def start(folder: Path, kind: str, name: str) -> None:
    """Run a case in a process of its own, if it has no result, and print a line."""
    path, begin = folder / f"{name}.json", time.perf_counter()
    if not path.exists():
        command = [sys.executable, "-m", "benchmarks.cases.run", str(folder), kind, name, "--here"]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        outcome = "done" if path.exists() else done.stderr.strip().splitlines()[-1:]
        print(f"{name}: {outcome}, {time.perf_counter() - begin:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=("real", "sound"))
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--here", action="store_true", help="run one case in this process")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.here:
        path = asked.folder / f"{asked.cases[0]}.json"
        text = json.dumps(run_case(asked.kind, asked.cases[0]), indent=1)
        path.with_suffix(".part").write_text(text, encoding="utf-8")
        path.with_suffix(".part").rename(path)
        return
    drawn = {part: names(asked.kind, part) for part in SETS}
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name in [name for case in asked.cases for name in drawn.get(case, [case])]:
            pool.submit(start, asked.folder, asked.kind, name)


if __name__ == "__main__":
    main()
