"""What the doctor says of real bugs and of sound programs that nobody chose for it: counts, and a row for each case.

    python -m benchmarks.cases.run FOLDER real third        # runs them, some minutes of a core each dozen
    python -m benchmarks.real_cases FOLDER third            # makes the tables of what FOLDER holds
    python -m benchmarks.real_cases FOLDER seen             # the same for all sets, on which rules were made

A case is right where the first finding's cause is in its TRUTH, wrong where it is another one, silent without findings.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from benchmarks.cases.draw import SETS, load, names
from benchmarks.cases.run import REPORTS
from benchmarks.intervals import clustered
from benchmarks.report import table, write_report

TITLES = {
    "development": "first set, for development",
    "held-out": "first set, held out",
    "second": "second set, held out",
    "third": "third set, held out",
    "seen": "all sets, after rules were mended on them",
}


def read(folder: Path, kind: str, part: str) -> dict[str, dict]:
    """Return what `benchmarks.cases.run` kept of each case that is there; `part`: one of SETS, or "seen" for all."""
    paths = [folder / f"{name}.json" for one in (SETS if part == "seen" else [part]) for name in names(kind, one)]
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()}


def truth(name: str) -> tuple[str, ...]:
    return load(name).TRUTH


def judge(said: dict, accepted: tuple[str, ...]) -> str:
    """Return "right", "in three", "wrong" or "silent" for the findings of one report."""
    found = [cause for cause, _ in said["findings"]]
    if not found:
        return "silent"
    if found[0] in accepted:
        return "right"
    return "in three" if set(found[:3]) & set(accepted) else "wrong"


def share(flags: list[bool], clusters: list[str]) -> str:
    low, high = clustered(flags, clusters)
    return f"{sum(flags)} of {len(flags)} ({sum(flags) / len(flags):.0%}; {low:.0%} to {high:.0%})"


def case_table(real: dict[str, dict], sound: dict[str, dict]) -> pd.DataFrame:
    """Return a row for each case: what it is, its scores, and what the doctor says of it.

    `verdict` and `first`, with each kind of report: of the faulty or the sound program; `fixed`: findings of the twin.
    """
    rows = []
    for name, case in (real | sound).items():
        accepted, program = truth(name) if name in real else (), case.get("faulty", case.get("sound"))
        row = {"case": name, "kind": "real" if name in real else "sound", "accepted": "|".join(accepted)}
        row |= {"score": program["score"], "fixed score": case.get("fixed", program)["score"]}
        for key in REPORTS:
            causes = [cause for cause, _ in program[key]["findings"]]
            row |= {f"{key}: verdict": judge(program[key], accepted), f"{key}: first": "|".join(causes[:3])}
            alarms = [cause for cause, _ in case.get("fixed", {key: {"findings": []}})[key]["findings"]]
            row |= {f"{key}: fixed": "|".join(alarms)}
        rows.append(row)
    return pd.DataFrame(rows)


def summary(cases: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return a row for each measure, with a column for each kind of report; cases of one cause are a cluster."""
    real, sound = cases[cases["kind"] == "real"], cases[cases["kind"] == "sound"]
    causes = real["accepted"].str.split("|").str[0].tolist()
    verdicts = {
        "real bugs: right cause first": ("right",),
        "right cause among the first three": ("right", "in three"),
        "a wrong cause first": ("wrong", "in three"),
        "no finding": ("silent",),
    }
    flags = {text: [real[f"{key}: verdict"].isin(accepted) for key in REPORTS] for text, accepted in verdicts.items()}
    rows = [(text, *(share(found.tolist(), causes) for found in both)) for text, both in flags.items()]
    for text, own, column, clusters in (
        ("fixed programs: a finding", real, "fixed", causes),
        ("sound programs: a finding", sound, "first", sound["case"].tolist()),
    ):
        rows.append((text, *(share((own[f"{key}: {column}"] != "").tolist(), clusters) for key in REPORTS)))
    return rows


def case_rows(cases: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return a row of text for each case."""
    return [
        (
            row["case"],
            row["accepted"].replace("|", ", ") or "sound",
            *((row[f"{key}: first"] or "none").replace("|", ", ") for key in REPORTS),
            ("none" if not row["with data: fixed"] else row["with data: fixed"]) if row["kind"] == "real" else "",
            f"{row['score']:.3g}, {row['fixed score']:.3g}" if row["kind"] == "real" else f"{row['score']:.3g}",
        )
        for _, row in cases.iterrows()
    ]


def main(folder: Path, part: str) -> None:
    real, sound = (read(folder, kind, part) for kind in ("real", "sound"))
    programs = [program for case in (real | sound).values() for program in case.values()]
    same, seconds = sum(p["same"] for p in programs), sorted(p["with data"]["seconds"] for p in programs)
    cases, name = case_table(real, sound), f"real_cases_{part.replace('-', '_')}"
    note = f"Scores with and without the doctor are the same in {same} of {len(programs)} programs. A report with data "
    note += (
        f"takes {seconds[len(seconds) // 2]:.1f} s at the median, {seconds[-1]:.0f} s at most. Intervals of 95 % by "
    )
    note += "drawing all cases of a cause again (bootstrap).\n\n## Each case\n\n"
    header = ("case", "accepted", *REPORTS, "fixed program, with data", "score, fixed score")
    note += table(header, case_rows(cases)) + "\n\nCases, and the rule that draws them: cases/RULE.md."
    write_report(
        name,
        f"Real bugs and sound programs, {TITLES[part]}: what the doctor says",
        ("measure", *REPORTS),
        summary(cases),
        note,
        f"real_cases FOLDER {part}",
    )
    cases.to_csv(Path(__file__).with_name(f"{name}.csv"), index=False, lineterminator="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
