"""The benchmarks: cases and causes are told apart by name, and nothing of the user's is in danger."""

import ast
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import (
    doctor_benchmark,
    doctor_cases,
    draws,
    faults,
    intervals,
    measure,
    real_cases,
    rival_cases,
    rivals,
)
from benchmarks.cases import draw
from doctor import CAUSES
from helpers import data, session

ROOT = Path(__file__).resolve().parents[1]
MOMENTS = doctor_benchmark.MOMENTS


def read_kept(study: str, version: int = doctor_cases.VERSION) -> list[dict]:
    lines = (ROOT / "runs" / "kept" / study / f"v{version}.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, filter(None, lines)) if "config" in record]


def all_cases(part: str) -> list[draws.Case]:
    return draws.faulty_cases(part) + draws.healthy_cases(part)


@pytest.mark.parametrize(("part", "version", "count"), [("held out", 1, 1156), ("fresh", 2, 345)])
def test_the_cases_that_are_drawn_are_those_that_are_kept(part, version, count):
    kept = [record["config"] for record in read_kept("doctor", version)]
    drawn = [doctor_cases.config_of(case) for case in all_cases(part)]
    assert len(kept) == count and sorted(map(json.dumps, kept)) == sorted(map(json.dumps, drawn))


def test_packages_were_asked_about_every_eighth_case():
    kept = read_kept("doctor-rivals", rival_cases.VERSION)
    packages = [record["config"] for record in kept if record["config"]["packages"]]
    cases = draws.every_eighth("held out") + draws.every_eighth("fresh")
    eighth = [doctor_cases.config_of(case, packages=True) for case in cases]
    assert sorted(map(json.dumps, packages)) == sorted(map(json.dumps, eighth))


@pytest.mark.parametrize("part", draws.PARTS)
def test_a_new_variant_and_a_new_cause_leave_all_other_cases(part, monkeypatch):
    before, eighth = all_cases(part), draws.every_eighth(part)
    new = faults.Variant("new", faults.change(rate=0.0))
    added = {}
    for cause, variants in faults.FAULTS.items():
        added[cause] = (variants[0], new, *variants[1:]) if cause == "loss-sign" else variants
        if cause == "lr-too-high":
            added["lr-is-zero"] = (new,)
    monkeypatch.setattr(draws, "FAULTS", added)
    monkeypatch.setattr(draws, "ODDITIES", (new, *faults.ODDITIES))

    after = all_cases(part)
    expected = draws.PARTS[part].faulty
    for cause, count in (("loss-sign", expected), ("lr-is-zero", expected), (None, draws.PARTS[part].healthy)):
        assert sum((case.cause, case.variant) == (cause, "new") for case in after) == count
    assert [case for case in after if case.variant != "new"] == before
    assert [case for case in draws.every_eighth(part) if case.variant != "new"] == eighth


def test_causes_go_by_names_of_the_vocabulary():
    results = [(record["result"], MOMENTS) for record in read_kept("doctor")]
    named = {cause for result, keys in results for key in keys for cause in result[key]}
    assert named | set(doctor_benchmark.EXACT) | faults.FAULTS.keys() | faults.FIXES.keys() <= set(CAUSES)


def test_a_cause_without_a_fix_wins_nothing_back_and_is_named(monkeypatch):
    monkeypatch.delitem(faults.FIXES, "loss-sign")
    monkeypatch.setattr(doctor_cases, "accuracies", lambda cases, fixes, rates, recheck: [0.9 for _ in fixes])
    cases = draws.faulty_cases("held out")[:3]
    told = pd.DataFrame({"end": [("loss-sign",), ("nan", "loss-sign"), ()], "rate": [1.0, 1.0, 1.0]})
    fixed = doctor_cases.fix_accuracies(cases, told, recheck=0)
    assert fixed.isna().tolist() == [True, False, True]
    assert "loss-sign (1)" in doctor_benchmark.unfixed(told)


def test_the_table_of_cases_gives_the_figures_of_the_report():
    table = pd.read_csv(ROOT / "benchmarks" / "doctor_benchmark.csv", keep_default_na=False, na_values=[""])
    assert len(table) == 345
    assert set(table["cause"].dropna()) == set(faults.FAULTS) <= set(CAUSES)  # "nan" is one of them
    rows = table[table["cause"].notna() & table["counts"]]
    right = rows["end"].fillna("").str.split("|").str[0] == rows["cause"]
    report = (ROOT / "benchmarks" / "doctor_benchmark.md").read_text(encoding="utf-8")
    assert f"| right cause first | {right.mean():.1%} ({right.sum()} of {len(rows)};" in report


def test_the_doctor_says_of_a_kept_case_what_it_said():
    if data.load("MNIST").source != "torchvision":
        pytest.skip("needs the data")
    chosen = {"cause": "symmetric-init", "variant": "constant", "network": "MLP 5x80", "data": "MNIST"}
    record = next(r for r in read_kept("doctor") if chosen.items() <= r["config"].items())
    result = doctor_cases.diagnosis(record["config"], record["seed"])
    assert {moment: result[moment] for moment in MOMENTS} == {moment: record["result"][moment] for moment in MOMENTS}


def test_intervals_of_clusters_are_wider_than_those_of_cases():
    flags = [True] * 30 + [False] * 30
    alone, together = intervals.clustered(flags, range(60)), intervals.clustered(flags, [i // 10 for i in range(60)])
    assert together[0] < alone[0] < 0.5 < alone[1] < together[1]
    assert alone == pytest.approx(intervals.wilson(30, 60), abs=0.02)
    assert intervals.clustered([True] * 60, [i // 10 for i in range(60)]) == intervals.wilson(6, 6)


def said(*causes: str) -> dict:
    return {"score": 0.5} | {key: {"findings": [(cause, False) for cause in causes]} for key in real_cases.REPORTS}


def test_a_real_case_is_right_wrong_or_silent_by_its_first_finding(monkeypatch):
    monkeypatch.setattr(real_cases, "truth", lambda name: ("nan", "loss-sign"))
    real = {
        "a": {"faulty": said("loss-sign", "dead-relu"), "fixed": said()},
        "b": {"faulty": said("dead-relu", "nan"), "fixed": said("dead-relu")},
        "c": {"faulty": said("dead-relu"), "fixed": said()},
        "d": {"faulty": said(), "fixed": said()},
    }
    cases = real_cases.case_table(real, {"e": {"sound": said("nan")}, "f": {"sound": said()}})
    assert cases["with data: verdict"].tolist() == ["right", "in three", "wrong", "silent", "wrong", "silent"]
    counts = [row[1].split(" (")[0] for row in real_cases.summary(cases)]
    assert counts == ["1 of 4", "2 of 4", "2 of 4", "1 of 4", "1 of 4", "1 of 2"]
    assert len(real_cases.case_rows(cases)) == 6


def test_cases_that_are_held_out_stay_so():
    """The rule of drawing depends on a file's name alone; none has gone."""
    real, sound = ([draw.names(kind, part) for part in draw.SETS] for kind in draw.KINDS)
    assert [len(part) for part in real] == [25, 34, 34, 24] and [len(part) for part in sound] == [39, 55, 30, 16]


def test_each_case_is_found_by_its_name():
    names = [name for kind in draw.KINDS for part in draw.SETS for name in draw.names(kind, part)]
    assert len(names) == len(set(names))
    assert draw.load(names[0]).__name__.endswith(names[0])
    with pytest.raises(ValueError, match="There is no case 'none'"):
        draw.load("none")


# ---- packages that are not there


@pytest.fixture
def unavailable(monkeypatch):
    class Unavailable(rivals.Package):
        NAME, VERSION, MODULES = "no-such-package", "1.0", ("no_such_package",)

    for name in ("RIVALS", "PACKAGES"):
        monkeypatch.setattr(rival_cases, name, {"no-such-package": Unavailable})


@pytest.mark.usefixtures("unavailable")
def test_a_missing_package_is_an_error_and_no_result():
    config = doctor_cases.config_of(draws.faulty_cases("held out")[0], packages=True)
    with pytest.raises(ImportError, match="no_such_package"):
        rival_cases.verdicts(config, 0)


@pytest.mark.usefixtures("unavailable")
def test_missing_packages_are_named_before_anything_runs(monkeypatch):
    monkeypatch.setattr(rival_cases, "keep_study", lambda *_: pytest.fail("it began"))
    with pytest.raises(ImportError, match="no-such-package"):
        rival_cases.study("development")


# ---- the user's folders


def test_a_benchmark_writes_to_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNS", str(tmp_path / "user"))
    with measure.own_results() as folder:
        session.folder("runs").joinpath("result").write_text("1")
        assert (folder / "result").exists()
    assert not folder.exists() and os.environ["RUNS"] == str(tmp_path / "user")


def test_no_benchmark_deletes_files():
    for path in (ROOT / "benchmarks").rglob("*.py"):
        called = {node.attr for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)}
        assert not called & {"rmtree", "unlink", "rmdir", "removedirs"}, path.name
