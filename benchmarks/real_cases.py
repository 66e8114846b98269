"""What the doctor says of real bugs and of sound programs that nobody chose for it: counts, and a row for each case.

    python -m benchmarks.cases.run FOLDER real held-out     # runs them, some minutes of a core each dozen
    python -m benchmarks.real_cases FOLDER held-out         # makes the tables of what FOLDER holds

A case is right where the first finding's cause is in its TRUTH, wrong where it is another one, silent without findings.
"""

import importlib
import json
import sys
from pathlib import Path

from benchmarks.cases.draw import names
from benchmarks.cases.run import REPORTS
from benchmarks.doctor_benchmark import interval
from benchmarks.report import table, write_report


def read(folder: Path, kind: str, development: bool) -> dict[str, dict]:
    """Return what `benchmarks.cases.run` kept of each case that is there."""
    paths = [folder / f"{name}.json" for name in names(kind, development)]
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()}


def truth(name: str) -> tuple[str, ...]:
    return importlib.import_module(f"benchmarks.cases.real.{name}").TRUTH


def judge(said: dict, accepted: tuple[str, ...]) -> str:
    """Return "right", "in three", "wrong" or "silent" for the findings of one report."""
    found = [cause for cause, _ in said["findings"]]
    if not found:
        return "silent"
    if found[0] in accepted:
        return "right"
    return "in three" if set(found[:3]) & set(accepted) else "wrong"


def share(count: int, total: int) -> str:
    low, high = interval(count, total)
    return f"{count} of {total} ({count / total:.0%}; {low:.0%} to {high:.0%})"


def summary(real: dict[str, dict], sound: dict[str, dict]) -> list[tuple[str, ...]]:
    """Return a row for each measure, with a column for each kind of report."""
    verdicts = {key: [judge(case["faulty"][key], truth(name)) for name, case in real.items()] for key in REPORTS}
    counted = {
        "real bugs: right cause first": lambda v: v == "right",
        "right cause among the first three": lambda v: v in ("right", "in three"),
        "a wrong cause first": lambda v: v in ("wrong", "in three"),
        "no finding": lambda v: v == "silent",
    }
    rows = [
        (text, *(share(sum(map(is_one, v)), len(v)) for v in verdicts.values())) for text, is_one in counted.items()
    ]
    for text, cases, program in (("fixed programs", real, "fixed"), ("sound programs", sound, "sound")):
        alarms = [sum(bool(case[program][key]["findings"]) for case in cases.values()) for key in REPORTS]
        rows += [(f"{text}: a finding", *(share(count, len(cases)) for count in alarms))] if cases else []
    return rows


def case_rows(real: dict[str, dict], sound: dict[str, dict]) -> list[tuple[str, ...]]:
    rows = []
    for name, case in (real | sound).items():
        accepted, faulty = truth(name) if name in real else (), case.get("faulty", case.get("sound"))
        said = [", ".join(cause for cause, _ in faulty[key]["findings"]) or "none" for key in REPORTS]
        fixed = case.get("fixed", {"score": faulty["score"]} | {key: {"findings": []} for key in REPORTS})
        alarms = ", ".join(cause for cause, _ in fixed["with data"]["findings"]) or "none"
        rows.append(
            (name, ", ".join(accepted) or "sound", *said, alarms, f"{faulty['score']:.3g}, {fixed['score']:.3g}")
        )
    return rows


def main(folder: Path, part: str) -> None:
    real, sound = (read(folder, kind, part == "development") for kind in ("real", "sound"))
    programs = [program for case in (real | sound).values() for program in case.values()]
    same, seconds = sum(p["same"] for p in programs), sorted(p["with data"]["seconds"] for p in programs)
    note = f"Scores with and without the doctor are the same in {same} of {len(programs)} programs. A report with data "
    note += f"takes {seconds[len(seconds) // 2]:.1f} s at the median, {seconds[-1]:.0f} s at most.\n\n## Each case\n\n"
    header = ("case", "accepted", *REPORTS, "fixed program", "score, fixed score")
    note += table(header, case_rows(real, sound)) + "\n\nCases, and the rule that draws them: cases/RULE.md."
    title = f"Real bugs and sound programs, {part}: what the doctor says"
    name = f"real_cases_{part.replace('-', '_')}"
    write_report(name, title, ("measure", *REPORTS), summary(real, sound), note)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
