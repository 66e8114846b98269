"""Claims on fresh seeds: what is read from executed notebooks, and that a run that was cut off goes on."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import replication
from helpers import session


def cell(source, *outputs):
    return {"cell_type": "code", "source": [source], "outputs": list(outputs)}


def says(*lines):
    return {"output_type": "stream", "text": [line + "\n" for line in lines]}


def write_notebook(root, name, *cells):
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": ["# Title"]}, *cells]}))
    return path


HELD, KEPT = "holds: a: b, at c = 0.5: 0.9 (at least 0.8)", "holds: kept: 3 (at least 1 and at most 4)"
FAILED = "FAILS: a: b, at c = 0.5: nan (at least 0.8)"
ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no"}
ASSERTION = {"output_type": "error", "ename": "AssertionError", "evalue": "1 of 2 claims failed"}
SUMMARY = cell("summary()", says("FAILS: a: b, at c = 0.5: nan (at least 0.8)", "1 of 2 hold"), ASSERTION)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one notebook; running it, which nothing here does, fails its live claim."""
    runs = []

    def execute(command, env, cwd, **options):
        runs.append((env["SEEDS_FROM"], env["KEPT_SEEDS_FROM"]))
        folder = Path(command[command.index("--output-dir") + 1])
        (folder / "03_x.ipynb").write_text(json.dumps({"cells": [cell("x", says(FAILED, KEPT), ERROR), SUMMARY]}))
        return SimpleNamespace(returncode=0)

    write_notebook(tmp_path, "03_x", cell("x", says("text", HELD, KEPT)), cell("summary()", says("2 of 2 hold")))
    monkeypatch.setattr(replication, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(replication, "TABLE", tmp_path / "table.md")
    monkeypatch.setattr(replication, "read_versions", lambda python: "Python 3, torch 2")
    monkeypatch.setattr(session, "ROOT", tmp_path)
    monkeypatch.setattr(replication.subprocess, "run", execute)
    return tmp_path, runs


def test_reads_claims_and_errors():
    cells = [cell("x", says("text", HELD, KEPT), ERROR), SUMMARY]
    claims = replication.read_claims(cells[:1])
    assert claims["a: b, at c = 0.5"] == {"verdict": "holds", "number": "0.9", "bound": "at least 0.8"}
    assert claims["kept"]["bound"] == "at least 1 and at most 4" and len(claims) == 2
    assert replication.read_errors(cells) == ["ValueError: no"]


def test_a_run_is_recorded_once_and_again_when_the_code_changes(project):
    root, runs = project
    for _ in range(2):
        replication.main(["03", "--offsets", "1000"])
    assert runs == [("1000", "0")]
    replication.main(["--offsets", "1000", "2000"])
    assert runs == [("1000", "0"), ("2000", "0")]
    replication.main(["03", "--offsets", "2000", "--anew"])
    assert runs[2:] == [("2000", "2000")]
    write_notebook(root, "03_x", cell("y", says(HELD)), cell("summary()"))
    replication.main(["03", "--offsets", "1000"])
    assert len(runs) == 4 and len(replication.read_records()) == 4


def test_the_table_counts_live_claims_and_names_what_failed(project):
    replication.main(["03", "--offsets", "1000"])
    page = replication.TABLE.read_text()
    assert "| 03_x | 1000 | read | Python 3, torch 2 | 1 | 0 | 1 | 0.0 | present |" in page
    assert "seeds from 1000, kept studies read, the first run of each of 1 notebooks: 0 of 1 live claims held" in page
    assert "present code: a: b, at c = 0.5: nan (at least 0.8; saved: 0.9)\n" in page
    assert "error: ValueError: no\n" in page


def test_a_kill_leaves_the_results_whole(project, monkeypatch):
    replication.main(["03", "--offsets", "1000"])
    whole = replication.RESULTS.read_text()
    monkeypatch.setattr(replication.json, "dumps", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        replication.add_record({"notebook": "03_x"})
    assert replication.RESULTS.read_text() == whole


def test_an_unknown_notebook_is_an_error_that_says_what_to_do(project):
    with pytest.raises(ValueError, match="no notebook '77': give the beginning of a name"):
        replication.main(["77"])


def test_an_interpreter_without_nbconvert_is_an_error_that_names_it(project, monkeypatch):
    failed = SimpleNamespace(returncode=1, stderr="usage\nNo module named nbconvert\n")
    monkeypatch.setattr(replication.subprocess, "run", lambda *command, **options: failed)
    with pytest.raises(RuntimeError, match=r"03_x.ipynb cannot be run with .*: No module named nbconvert"):
        replication.main(["03"])
    assert not replication.RESULTS.exists()
