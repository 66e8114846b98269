"""How often the doctor names the right cause, how soon, and how often a sound run alarms it: doctor_benchmark.md.

    python -m benchmarks.doctor_benchmark                 # reads what is kept, and runs what is not: hours

Beside it, doctor_benchmark.csv has a row for each case, for notebook 07 (`case_table` says what is in it). The rule by
which cases are drawn and held out is doctor_rule.md.
"""

import itertools
import math
import sys
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks import doctor_cases, rival_cases
from benchmarks.faults import FIXES
from benchmarks.intervals import clustered
from benchmarks.programs import TEST_IMAGES
from benchmarks.report import table, write_report
from benchmarks.rivals import RIVALS
from doctor import CAUSES
from helpers import session

HURTS = 0.03  # accuracy that a fault has to take, or it does not count
DAMAGE = (HURTS, 0.1, 0.3, 1.01)  # bounds of what it takes
MOMENTS = ("at 2", "at 100", "watching only", "end")  # when the doctor was asked: columns of the causes it named
EXACT = (  # causes in the loop and in the loss, to be told within two steps
    "gradients-not-zeroed",
    "no-optimizer-step",
    "parameters-not-in-optimizer",
    "layer-frozen",
    "not-in-eval-mode",
    "softmax-before-loss",
    "softmax-wrong-dim",
    "wrong-loss",
    "loss-sign",
    "loss-summed",
)
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


def rate(flags: pd.Series, clusters: pd.Series) -> str:
    """Write a share with its count and its interval; `clusters` names the cluster of each case."""
    if not len(flags):
        return "none"
    low, high = clustered(flags, clusters[flags.index])
    return f"{flags.mean():.1%} ({int(flags.sum())} of {len(flags)}; {low:.1%} to {high:.1%})"


def faulty_rows(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the faulty cases that count, with columns that tell how far the doctor is right at each moment."""
    rows = cases[cases["cause"].notna()].copy()
    rows = rows[rows["sound"] - rows["faulty"] >= HURTS]
    for moment in MOMENTS:
        pairs = list(zip(rows["cause"], rows[moment], strict=True))
        rows[f"{moment}: any"] = [bool(named) for _, named in pairs]
        rows[f"{moment}: first"] = [tuple(named[:1]) == (cause,) for cause, named in pairs]
        rows[f"{moment}: three"] = [cause in named[:3] for cause, named in pairs]
    rows["won back"] = ((rows["fixed"] - rows["faulty"]) / (rows["sound"] - rows["faulty"])).fillna(0.0)
    return rows


def healthy_rows(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the healthy cases that count, with what alarms there are at each moment."""
    rows = cases[cases["cause"].isna()].copy()
    odd = rows["faulty"] - 0.1 > 10 * math.sqrt(0.1 * 0.9 / TEST_IMAGES)
    slow = rows["variant"].isin(["warm-up"])  # odd on purpose: it need only have left chance
    rows = rows[(rows["faulty"] >= rows["sound"] - HURTS) | (slow & odd)]
    for moment in MOMENTS:
        rows[f"{moment}: any"] = [bool(named) for named in rows[moment]]
    return rows


def clusters_of(*tables: pd.DataFrame) -> pd.Series:
    """Return a name for what cases have in common: runs of one variant of a fault or an oddity come out alike."""
    return pd.concat([table["cause"].fillna("healthy") + ": " + table["variant"] for table in tables])


def summary(rows: pd.DataFrame, sound: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the figures by which the doctor is judged."""
    share = partial(rate, clusters=clusters_of(rows, sound))
    exact = rows["cause"].isin(EXACT)
    right = rows[rows["end: first"]]
    layers = rows[rows["layer"].map(len) > 0]["layer"].map(lambda layer: layer[0])
    return [
        ("right cause first", share(rows["end: first"])),
        ("right cause among the first three", share(rows["end: three"])),
        ("any finding", share(rows["end: any"])),
        ("healthy runs with a finding", share(sound["end: any"])),
        ("without experiments: right cause first", share(rows["watching only: first"])),
        ("without experiments: healthy runs with a finding", share(sound["watching only: any"])),
        ("faults of loop and loss: right cause first after 2 steps", share(rows[exact]["at 2: first"])),
        ("the others: right cause first after 100 steps", share(rows[~exact]["at 100: first"])),
        ("healthy runs with a finding after 2 steps", share(sound["at 2: any"])),
        ("healthy runs with a finding after 100 steps", share(sound["at 100: any"])),
        ("layer named rightly, where it is one or some", share(layers)),
        ("the first finding's fix wins back 80 % or more", share(rows["won back"] >= 0.8)),
        ("the same, where the cause is right", share(right["won back"] >= 0.8)),
    ]


def damage_rows(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return a row for each size of what a fault takes."""
    damage, lines = rows["sound"] - rows["faulty"], []
    for low, high in itertools.pairwise(DAMAGE):
        own = rows[(damage >= low) & (damage < high)]
        shares = [rate(own[f"{moment}: first"], clusters_of(own)) for moment in ("end", "watching only")]
        lines.append((f"{100 * low:.0f} to {100 * min(high, 1):.0f} points", *shares))
    return lines


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
    first = [named[0] if named else "no finding" for named in rows["end"]]
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
        lines.append(f"- healthy, {row.variant} ({setting}): {row.end[0]}")
    return "\n".join(lines) or "None."


def kind_rows(sound: pd.DataFrame, cases: pd.DataFrame) -> list[tuple[str, ...]]:
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


def rival_rows(verdicts: pd.DataFrame, rows: pd.DataFrame, sound: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return a row for the doctor and for each rival that was asked, by the cases that it saw."""
    share = partial(rate, clusters=clusters_of(rows, sound))
    lines = [("doctor", *(share(rows[f"end: {what}"]) for what in ("first", "three", "any")), share(sound["end: any"]))]
    for name in RIVALS:
        places, alarms = verdicts[f"{name}: place"].dropna(), verdicts[f"{name}: alarms"].dropna()
        faults, healthy = places.index.intersection(rows.index), places.index.intersection(sound.index)
        place, alarm = places[faults], alarms[faults] > 0
        lines.append((name, share(place == 1), share(place.between(1, 3)), share(alarm), share(alarms[healthy] > 0)))
    return lines


def case_table(cases: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each case, ready to be written; an empty cell is a missing value, and "nan" is a cause.

    The case: cause (empty: healthy), variant, network, data, optimizer, program_seed; `exact`: a cause in EXACT;
    `counts`: the fault hurts, or the run is healthy indeed. Accuracies: sound, faulty, fixed. MOMENTS: the causes named
    then, most certain first, with "|" between them. `layer`: 1 where the first finding names the right one, empty where
    that cannot be told; `rate`: the factor of the doctor's proof. Seconds of a processor. For each rival: the place of
    the right cause among its alarms (0: not there), how many alarms there are, and whether it `knows` the cause.
    """
    first = ["cause", "variant", "network", "data", "optimizer", "program_seed", "sound", "faulty", "fixed"]
    seconds = ["took", *(f"seconds {moment}" for moment in MOMENTS)]
    rows = cases[first].copy()
    rows["exact"] = rows["cause"].isin(EXACT)
    rows["counts"] = rows.index.isin([*faulty_rows(cases).index, *healthy_rows(cases).index])
    for moment in MOMENTS:
        rows[moment] = cases[moment].map("|".join)
    rows["layer"] = [layer[0] if layer else math.nan for layer in cases["layer"]]
    rows[["rate", *seconds]] = cases[["rate", *seconds]].round(4)
    for name, rival in RIVALS.items():
        for what in ("place", "alarms"):
            rows[f"{name}: {what}"] = verdicts[f"{name}: {what}"].astype("Int64")
        rows[f"{name}: knows"] = rows["cause"].isin({cause for causes in rival.MEANS.values() for cause in causes})
    return rows


def unfixed(rows: pd.DataFrame) -> str:
    """Say for which causes that came first no fix is known, "" if there is none: these win nothing back."""
    counts = pd.Series([named[0] for named in rows["end"] if named and named[0] not in FIXES]).value_counts()
    listed = ", ".join(f"{cause} ({n})" for cause, n in counts.items())
    return f" No fix known in faults.py, so that nothing is won back: {listed}." if listed else ""


def describe(cases: pd.DataFrame, verdicts: pd.DataFrame, rows: pd.DataFrame, sound: pd.DataFrame) -> str:
    """Return the tables and what explains them."""
    took = cases[["took", "seconds watching only", "seconds end"]].median()
    faults, others = cases["cause"].notna().sum(), cases["cause"].isna().sum()
    return f"""\
The trials are kept in runs/kept, and when they ran stands there; the machine above made the tables of them. The rule \
of drawing is doctor_rule.md. Faults are planted, one at a time, in small image classifiers. Shares stand with counts \
and intervals of 95 %, for which whole variants of a fault are drawn again (bootstrap). {len(rows)} of \
{faults} faulty runs lose {100 * HURTS:.0f} points of accuracy or more and count, and {len(sound)} of {others} healthy \
ones are sound. The doctor watches every {doctor_cases.EVERY}th step and gets {doctor_cases.PROBE:,} training samples \
and the test data for experiments; "without experiments" it gets neither. Median seconds of a processor: \
{took.iloc[0]:.1f} for a watched run, {took.iloc[1]:.1f} for a report, {took.iloc[2]:.1f} for one with experiments.\
{unfixed(rows)}

## By cause

Right first: the first finding names the cause. Any: there is a finding. After 2, after 100: right first, after as \
many steps. Fixed: the first finding's fix wins back 80 % or more of what the fault takes.

{table(BY_CAUSE, cause_rows(rows, cases))}

## By what the fault takes

{table(["accuracy that the fault takes", "right cause first", "without experiments"], damage_rows(rows))}

## Healthy runs

{table(["kind", "count", "with a finding", "without experiments"], kind_rows(sound, cases))}

## Mistakes

{mistakes(rows, sound)}

## Beside others

{table(RIVALRY, rival_rows(verdicts, rows, sound))}

Packages see every eighth case. Each message of a rival counts as right for every cause that it can mean, so their \
shares are upper bounds; what is not comparable stands in rivals.py."""


def main(part: str = "fresh") -> None:
    """Write the tables of a part's cases."""
    verdicts = rival_cases.study(part)  # first, as it may need packages that are not there
    cases = doctor_cases.study(part)
    rows, sound = faulty_rows(cases), healthy_rows(cases)
    figures, note = summary(rows, sound), describe(cases, verdicts, rows, sound)
    if session.caveats:
        print(*figures, note, f"No report: {', '.join(session.caveats)}.", sep="\n")
        return
    title = "What the doctor says of planted faults"
    write_report("doctor_benchmark", title, ["measure", "share (count; interval)"], figures, note)
    path = Path(__file__).with_suffix(".csv")
    case_table(cases, verdicts).to_csv(path, index=False, lineterminator="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
