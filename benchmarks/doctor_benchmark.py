"""How often the doctor names the right cause, how soon, and how often a sound run alarms it: doctor_benchmark.md.

    python -m benchmarks.doctor_benchmark                 # reads what is kept, and runs what is not: hours

The rule by which cases are drawn and held out is doctor_rule.md.
"""

import math
import sys

import pandas as pd

from benchmarks import doctor_cases, rival_cases
from benchmarks.programs import TEST_IMAGES
from benchmarks.report import table, write_report
from benchmarks.rivals import RIVALS
from helpers import session
from doctor import CAUSES

HURTS = 0.03  # of the accuracy: less is no fault that counts
EXACT = CAUSES[:4] + CAUSES[5:6] + CAUSES[9:14]  # of loop and loss, to be told within two steps
BY_CAUSE = (
    "cause",
    "count",
    "right first",
    "among three",
    "any",
    "without experiments",
    "after 2",
    "after 100",
    "fixed",
)
RIVALRY = ("", "right first", "right among three", "any alarm", "healthy runs with an alarm")


def interval(right: int, of: int) -> tuple[float, float]:
    """Return Wilson's interval of 95 % for a share."""
    z, share = 1.96, right / of
    middle, width = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, (middle - width) / (1 + z * z / of)), (middle + width) / (1 + z * z / of)


def rate(flags: pd.Series) -> str:
    """Write a share with its count and interval."""
    if not len(flags):
        return "none"
    low, high = interval(int(flags.sum()), len(flags))
    return f"{flags.mean():.1%} ({int(flags.sum())} of {len(flags)}; {low:.1%} to {high:.1%})"


def faulty(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the faulty cases that count, with columns that tell how far the doctor is right at each moment."""
    rows = cases[cases["cause"].notna()].copy()
    rows = rows[rows["sound"] - rows["faulty"] >= HURTS]
    for moment in ("at 2", "at 100", "watching only", "end"):
        found = [[CAUSES[i] for i in causes] for causes in rows[moment]]
        rows[f"{moment}: any"] = [bool(causes) for causes in found]
        rows[f"{moment}: first"] = [c[:1] == [cause] for c, cause in zip(found, rows["cause"], strict=True)]
        rows[f"{moment}: three"] = [cause in c[:3] for c, cause in zip(found, rows["cause"], strict=True)]
    rows["won back"] = ((rows["fixed"] - rows["faulty"]) / (rows["sound"] - rows["faulty"])).fillna(0.0)
    return rows


def healthy(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the healthy cases that count, with what alarms there are at each moment."""
    rows = cases[cases["cause"].isna()].copy()
    odd = rows["faulty"] - 0.1 > 10 * math.sqrt(0.1 * 0.9 / TEST_IMAGES)
    slow = rows["variant"].isin(["warm-up"])  # odd on purpose: it need only have left chance
    rows = rows[(rows["faulty"] >= rows["sound"] - HURTS) | (slow & odd)]
    for moment in ("at 2", "at 100", "watching only", "end"):
        rows[f"{moment}: any"] = [bool(causes) for causes in rows[moment]]
    return rows


def summary(rows: pd.DataFrame, sound: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the figures by which the doctor is judged."""
    exact = rows["cause"].isin(EXACT)
    right = rows[rows["end: first"]]
    layers = pd.Series([layer[0] for layer in rows["layer"] if layer], dtype=float)
    return [
        ("right cause first", rate(rows["end: first"])),
        ("right cause among the first three", rate(rows["end: three"])),
        ("any finding", rate(rows["end: any"])),
        ("healthy runs with a finding", rate(sound["end: any"])),
        ("without experiments: right cause first", rate(rows["watching only: first"])),
        ("without experiments: healthy runs with a finding", rate(sound["watching only: any"])),
        ("faults of loop and loss: right cause first after 2 steps", rate(rows[exact]["at 2: first"])),
        ("the others: right cause first after 100 steps", rate(rows[~exact]["at 100: first"])),
        ("healthy runs with a finding after 2 steps", rate(sound["at 2: any"])),
        ("healthy runs with a finding after 100 steps", rate(sound["at 100: any"])),
        (
            "layer named rightly, where it is one or some",
            rate(layers),
        ),
        ("the first finding's fix wins back 80 % or more", rate(rows["won back"] >= 0.8)),
        ("the same, where the cause is right", rate(right["won back"] >= 0.8)),
    ]


def cause_rows(rows: pd.DataFrame, cases: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return a row for each cause."""
    lines = []
    for cause in CAUSES:
        own, drawn = rows[rows["cause"] == cause], (cases["cause"] == cause).sum()
        if not len(own):
            lines.append((cause, f"0 of {drawn}", *[""] * 7))
            continue
        moments = ("end: first", "end: three", "end: any", "watching only: first", "at 2: first", "at 100: first")
        shares = [f"{own[moment].mean():.0%}" for moment in moments]
        lines.append((cause, f"{len(own)} of {drawn}", *shares, f"{(own['won back'] >= 0.8).mean():.0%}"))
    return lines


def confusions(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how often each first finding (columns) is named for each cause (rows); the last column is none at all."""
    first = [CAUSES[causes[0]] if causes else "no finding" for causes in rows["end"]]
    return pd.crosstab(rows["cause"], pd.Series(first, rows.index)).reindex(
        index=CAUSES, columns=[*CAUSES, "no finding"], fill_value=0
    )


def mistakes(rows: pd.DataFrame, sound: pd.DataFrame) -> str:
    """List what is named instead of the right cause, and the false alarms."""
    counts = confusions(rows).stack()
    wrong = counts[(counts > 0) & (counts.index.get_level_values(0) != counts.index.get_level_values(1))]
    lines = [f"- {n} x {cause}: {named}" for (cause, named), n in wrong.sort_values(ascending=False).items()]
    for row in sound[sound["end: any"]].itertuples():
        setting = f"{row.network}, {row.data}, {row.optimizer}, {row.program_seed}"
        lines.append(f"- healthy, {row.variant} ({setting}): {CAUSES[row.end[0]]}")
    return "\n".join(lines) or "None."


def healthy_rows(sound: pd.DataFrame, cases: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return a row for each kind of healthy run."""
    drawn = cases[cases["cause"].isna()]["variant"].value_counts(sort=False)
    return [
        (
            kind,
            f"{len(own)} of {drawn[kind]}",
            *(str(own[f"{moment}: any"].sum()) for moment in ("end", "watching only")),
        )
        for kind, own in ((kind, sound[sound["variant"] == kind]) for kind in drawn.index)
    ]


def rival_rows(told: pd.DataFrame, rows: pd.DataFrame, sound: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return a row for the doctor and for each rival that was asked, by the cases that it saw."""
    lines = [("doctor", *(rate(rows[f"end: {what}"]) for what in ("first", "three", "any")), rate(sound["end: any"]))]
    for name in (name for name in RIVALS if f"{name}: place" in told):
        places, alarms = told[f"{name}: place"].dropna(), told[f"{name}: alarms"].dropna()
        mine, healthy_ones = places.index.intersection(rows.index), places.index.intersection(sound.index)
        place, alarm = places[mine], alarms[mine] > 0
        lines.append((name, rate(place == 1), rate(place.between(1, 3)), rate(alarm), rate(alarms[healthy_ones] > 0)))
    return lines


def main(part: str = "held out") -> None:
    """Write the tables; those of the rivals only where their packages are installed or their results are kept."""
    cases = doctor_cases.study(part)
    rows, sound = faulty(cases), healthy(cases)
    told = rival_cases.study(part)
    took = cases[["took", "seconds watching only", "seconds end"]].median()
    faults, others = cases["cause"].notna().sum(), cases["cause"].isna().sum()
    note = f"""\
The rule of drawing is doctor_rule.md; shares stand with counts and Wilson's intervals of 95 %. {len(rows)} of \
{faults} faulty runs lose {100 * HURTS:.0f} points of accuracy or more and count, and {len(sound)} of {others} healthy \
ones are sound. The doctor watches every {doctor_cases.EVERY}th step and gets {doctor_cases.PROBE:,} training samples \
and the test data for experiments; "without experiments" it gets neither. Median seconds of a processor: \
{took.iloc[0]:.1f} for a watched run, {took.iloc[1]:.1f} for a report, {took.iloc[2]:.1f} for one with experiments.

## By cause

Right first: the first finding names the cause. Any: there is a finding. After 2, after 100: right first, after as \
many steps. Fixed: the first finding's fix wins back 80 % or more of what the fault takes.

{table(BY_CAUSE, cause_rows(rows, cases))}

## Healthy runs

{table(["kind", "count", "with a finding", "without experiments"], healthy_rows(sound, cases))}

## Mistakes

{mistakes(rows, sound)}

## Beside others

{table(RIVALRY, rival_rows(told, rows, sound))}

Packages see every {rival_cases.PACKAGES_SEE}th case. Each message of a rival counts as right for every cause that it \
can mean, so their shares are upper bounds; what is not comparable stands in rivals.py."""
    title = f"What the doctor says of {part.replace('held out', 'held-out')} cases"
    if session.caveats:
        print(*summary(rows, sound), note, f"No report: {', '.join(session.caveats)}.", sep="\n")
    else:
        write_report("doctor_benchmark", title, ["measure", "share (count; interval)"], summary(rows, sound), note)


if __name__ == "__main__":
    main(*sys.argv[1:])
