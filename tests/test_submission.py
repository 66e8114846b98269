"""What is handed in is checked, each fault is one sentence, and what is packed opens on its own."""

import json
import os
import re
import signal
import subprocess
import sys
from zipfile import ZipFile

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from helpers import handin, session, submission
from helpers.handin import ASSIGNMENTS, faults_of

GROUP = {"group": "Grüppe 7", "names": ["Ada Lovelace", "Kurt Gödel"]}
SHOWN = "group: Grüppe 7   names: Ada Lovelace, Kurt Gödel   (from group.json)\n"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def cell(number, source, *outputs):
    return new_code_cell(source, execution_count=number, outputs=list(outputs))


def text(printed):
    return new_output("stream", name="stdout", text=printed)


def notebook(*more):
    """Return a notebook as a whole run would leave it."""
    cells = [
        new_markdown_cell("# Title\n\n[a table](../benchmarks/speed.md)"),
        cell(1, "from helpers import session\n\nsession.describe()", text(SHOWN)),
        cell(2, "x = 1"),
        cell(3, "figure", new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})),
        cell(4, "summary()", text("holds: it learns: 0.98 (at least 0.9)\n")),
    ]
    return new_notebook(cells=cells + list(more))


@pytest.fixture(scope="session")
def movie(tmp_path_factory):
    """Return the bytes of a movie of 100 frames."""
    path = tmp_path_factory.mktemp("movie") / "a.gif"
    frames = [Image.new("P", (2, 2), i % 2) for i in range(100)]
    for i, frame in enumerate(frames):
        frame.putpalette([i, 0, 0, 0, i, 255])
    frames[0].save(path, save_all=True, append_images=frames[1:], optimize=False)
    return path.read_bytes()


@pytest.fixture
def bundle(tmp_path, movie):
    """Make a small bundle in which all is in order, in a folder with a blank and an umlaut."""
    root = tmp_path / "Übung 3"
    for folder in ("notebooks", "gifs", "helpers", "benchmarks", "runs/kept/01-study"):
        (root / folder).mkdir(parents=True)
    (root / "group.json").write_text(json.dumps(GROUP), encoding="utf-8")
    (root / "requirements.txt").write_text("torch\n", encoding="utf-8")
    (root / "benchmarks" / "speed.md").write_text("# Speed\n", encoding="utf-8")
    (root / "runs" / "kept" / "01-study" / "a.jsonl").write_text("{}\n", encoding="utf-8")
    for module in ("__init__", "session", "claims", "unused"):
        (root / "helpers" / f"{module}.py").write_text("", encoding="utf-8")
    (root / "helpers" / "style.mplstyle").write_text("", encoding="utf-8")
    (root / "helpers" / "session.py").write_text("from helpers import claims\n", encoding="utf-8")
    for name in (name for assignment in ASSIGNMENTS.values() for name in assignment.notebooks):
        nbformat.write(notebook(), root / "notebooks" / f"{name}.ipynb")
    for name in handin.movie_names():
        (root / "gifs" / f"{name}.gif").write_bytes(movie)
    findings = (
        f"{SHOWN}1. He learns best. Why. It keeps the signal.\n\n2. Odd: nothing else matters, because of batch norm.\n"
    )
    (root / "gifs" / "findings.txt").write_text(findings, encoding="utf-8")
    return root


@pytest.mark.parametrize("assignment", ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_nothing_is_said_of_what_is_in_order(assignment, bundle):
    assert faults_of(assignment, bundle) == []


# ---- each fault in turn


def edited(change):
    """Return a function that changes the first notebook as `change(notebook)` says."""

    def edit(root):
        path = root / "notebooks" / "01_low_level_mlp.ipynb"
        given = nbformat.read(path, as_version=4)
        change(given)
        nbformat.write(given, path)

    return edit


def added(*outputs, source="print(x)"):
    return edited(lambda given: given.cells.append(cell(5, source, *outputs)))


def group(**fields):
    return lambda root: (root / "group.json").write_text(json.dumps(GROUP | fields), encoding="utf-8")


def path_of(root):
    return root / "notebooks" / "01_low_level_mlp.ipynb"


HOME = "/".join(("", "home", "ada"))

FAULTS = {
    "missing": (lambda root: path_of(root).unlink(), "is missing"),
    "no JSON": (lambda root: path_of(root).write_text("{", encoding="utf-8"), "is no notebook, or half of one"),
    "truncated": (lambda root: path_of(root).write_bytes(path_of(root).read_bytes()[:-40]), "is no notebook, or half"),
    "no notebook": (lambda root: path_of(root).write_text("[1, 2]", encoding="utf-8"), "is no notebook"),
    "not in order": (edited(lambda n: n.cells[2].update(execution_count=7)), "whole run in order"),
    "never run": (edited(lambda n: n.cells[2].update(execution_count=None)), "whole run in order"),
    "error": (added(new_output("error", ename="KeyError", evalue="1", traceback=[])), "cell 5 ends with KeyError"),
    "no outputs": (edited(lambda n: n.cells[3].update(outputs=[])), "cell 3 should show something"),
    "quick run": (added(text("QUICK=1: a short smoke run")), "outputs of a quick run"),
    "stand-in": (added(text("!!! A GENERATED STAND-IN")), "ran on stand-in data"),
    "failed claim": (added(text("FAILS: it learns: 0.1 (at least 0.9)\n")), r'a claim failed \("it learns"\)'),
    "omitted": (edited(lambda n: n.metadata.update(colab={"private_outputs": True})), "omit code cell output"),
    "widget": (
        added(new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": ""})),
        "cell 5 shows a widget",
    ),
    "path": (added(text(f"saved in {HOME}/runs")), f"cell 5 shows {HOME}/runs, which is of your own machine"),
    "Windows path": (added(text(r"saved in C:\Users\ada\runs")), "which is of your own machine"),
    "other names": (group(names=["Emmy Noether"]), "does not show group and names of group.json"),
    "no group": (group(group=""), "names no group"),
    "no names": (group(names=[]), "has no names"),
    "an empty name": (group(names=["Ada", " "]), "has no names, or an empty one"),
    "four names": (group(names=["A", "B", "C", "D"]), "4 names: a group has 3 at most"),
    "names as text": (group(names="Ada"), "does not show group"),
    "no group.json": (lambda root: (root / "group.json").unlink(), "group.json should read"),
}


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_said_in_one_sentence(spoil, sentence, bundle):
    spoil(bundle)
    faults = faults_of(ASSIGNMENTS["1"], bundle)
    assert [fault for fault in faults if re.search(sentence, fault)]
    assert all(fault.endswith(".") and "\n" not in fault for fault in faults)
    assert len(faults) <= 2


def test_the_own_name_is_no_secret_where_it_is_a_name_of_the_group(bundle, monkeypatch):
    added(text("written by kurt"))(bundle)
    monkeypatch.setattr(handin.getpass, "getuser", lambda: "kurt")
    [fault] = faults_of(ASSIGNMENTS["1"], bundle)
    assert "cell 5 shows kurt" in fault
    monkeypatch.setattr(handin.getpass, "getuser", lambda: "Gödel")
    assert faults_of(ASSIGNMENTS["1"], bundle) == []


def some_movie(root):
    return root / "gifs" / "he_raw_none_bn-none.gif"


SHEET_3 = {
    "missing": (lambda root: some_movie(root).unlink(), "1 of 84 movies are missing, such as he_raw_none_bn-none.gif"),
    "truncated": (lambda root: some_movie(root).write_bytes(some_movie(root).read_bytes()[:99]), "gif (cannot|has)"),
    "no movie": (lambda root: some_movie(root).write_text("GIF"), "gif cannot be read"),
    "frames": (lambda root: Image.new("P", (2, 2)).save(some_movie(root)), "has 1 frames instead of 100"),
    "one finding": (lambda root: findings(root, SHOWN + "1. Odd. Why. So.\n2. Odd.\n"), "has 1 findings with a why"),
    "no findings": (lambda root: (root / "gifs" / "findings.txt").unlink(), "findings.txt cannot be read"),
    "names": (lambda root: findings(root, "1. A. Why. B.\n2. C. Why. D.\n"), "does not show group and names"),
}


def findings(root, text):
    (root / "gifs" / "findings.txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("spoil", "sentence"), SHEET_3.values(), ids=SHEET_3)
def test_a_part_of_sheet_3_that_is_missing_is_said(spoil, sentence, bundle):
    spoil(bundle)
    [fault] = faults_of(ASSIGNMENTS["3"], bundle)
    assert re.search(sentence, fault)


def test_a_file_that_is_too_large_is_said(bundle):
    [fault] = faults_of(ASSIGNMENTS["1"], bundle, limit=0.0005)
    assert re.search(r"01_low_level_mlp.ipynb has 0.0 MB, more than the 0.0005 of an upload", fault)


# ---- the zips


def names_in(path):
    with ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_a_zip_holds_what_its_notebook_needs_and_nothing_else(bundle, tmp_path):
    [path] = submission.pack(ASSIGNMENTS["1"], [], tmp_path / "to", 20, bundle)
    assert path.name == "Assignment-1_group-Grueppe-7.zip"
    inner = [name.removeprefix("Assignment-1_group-Grueppe-7/") for name in names_in(path)]
    assert sorted(inner) == sorted([
        "01_low_level_mlp.html", "notebooks/01_low_level_mlp.ipynb", "helpers/__init__.py", "helpers/session.py",
        "helpers/claims.py", "helpers/style.mplstyle",
        "requirements.txt", "group.json", "benchmarks/speed.md", "runs/kept/01-study/a.jsonl",
    ])  # fmt: skip


def test_kept_studies_go_with_their_notebooks(bundle):
    for study in ("07-doctor", "doctor-rivals", "02-other"):
        (bundle / "runs" / "kept" / study).mkdir()
        (bundle / "runs" / "kept" / study / "a.jsonl").touch()
    names = submission.contents(ASSIGNMENTS["more"], [], bundle)
    assert {name.split("/")[2] for name in names if name.startswith("runs/")} == {"07-doctor", "doctor-rivals"}


def test_the_command_says_in_a_sentence_that_a_file_is_too_large(command, capsys):
    assert command("pack", "1", "--limit", "0.01") == 1
    assert "Nothing was written: 01_low_level_mlp.html has" in capsys.readouterr().out


def test_pages_hold_figures_and_movies(bundle, movie, tmp_path):
    import base64

    gif = base64.b64encode(movie).decode()
    added(new_output("display_data", {"image/gif": gif, "text/plain": "<Movie>"}), source="movie")(bundle)
    page = submission.as_html(bundle / "notebooks" / "01_low_level_mlp.ipynb").decode()
    assert f"data:image/gif;base64,{gif}" in page
    assert "data:image/png;base64," in page


def test_the_same_content_gives_the_same_bytes(bundle, tmp_path):
    first, second = (submission.pack(ASSIGNMENTS["3"], [], tmp_path / to, 20, bundle)[0] for to in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_parts_stay_below_the_limit_and_together_hold_everything(bundle, tmp_path):
    [whole] = submission.pack(ASSIGNMENTS["3"], [], tmp_path / "whole", 20, bundle)
    limit = 0.4 * whole.stat().st_size / 1e6
    parts = submission.pack(ASSIGNMENTS["3"], [], tmp_path / "parts", limit, bundle)
    assert len(parts) >= 3
    assert all(part.stat().st_size <= limit * 1e6 for part in parts)
    assert [part.name[-11:] for part in parts] == [f"_{i}-of-{len(parts)}.zip" for i in range(1, len(parts) + 1)]
    assert sorted(name for part in parts for name in names_in(part)) == sorted(names_in(whole))
    again = submission.pack(ASSIGNMENTS["3"], [], tmp_path / "parts", 20, bundle)
    assert list((tmp_path / "parts").iterdir()) == again  # no part of the earlier packing is left


def test_a_file_that_fits_into_no_part_is_named_and_nothing_is_lost(bundle, tmp_path):
    [old] = submission.pack(ASSIGNMENTS["1"], [], tmp_path, 20, bundle)
    before = old.read_bytes()
    with pytest.raises(submission.TooLarge, match=r"01_low_level_mlp.html has .* raise --limit"):
        submission.pack(ASSIGNMENTS["1"], [], tmp_path, 0.01, bundle)
    assert old.read_bytes() == before


NAMES = {
    "7": "Assignment-1_group-7",
    "Group 7": "Assignment-1_Group-7",
    "Ünïcode / ..\\..: *?": "Assignment-1_group-Uenicode",
    "グループ": "Assignment-1_group",
}


@pytest.mark.parametrize(("given", "name"), NAMES.items())
def test_names_are_such_as_windows_and_e_learning_accept(given, name, bundle):
    group(group=given)(bundle)
    assert submission.stem(ASSIGNMENTS["1"], bundle) == name


# ---- the command


@pytest.fixture
def command(bundle, monkeypatch):
    """Return a function that runs the command on the bundle."""
    monkeypatch.setattr(session, "ROOT", bundle)
    return lambda *arguments: submission.main([*arguments])


def test_check_and_pack(command, bundle, capsys):
    assert command("check") == 0
    assert capsys.readouterr().out.count("in order") == len(ASSIGNMENTS)
    assert command("pack", "1", "2") == 0
    assert len(list((bundle / "handin").glob("*.zip"))) == 2


def test_nothing_is_written_if_the_check_fails_unless_told_to(command, bundle, capsys):
    FAULTS["error"][0](bundle)
    assert command("pack", "1") == 1
    assert "Nothing was written" in capsys.readouterr().out
    assert not (bundle / "handin").exists()
    assert command("pack", "1", "--anyway") == 1
    [path] = (bundle / "handin").iterdir()
    assert path.name == "Assignment-1_group-Grueppe-7_NOT-IN-ORDER.zip"
    with ZipFile(path) as archive:
        assert b"KeyError" in archive.read("Assignment-1_group-Grueppe-7_NOT-IN-ORDER/NOT_IN_ORDER.txt")


@pytest.mark.parametrize("arguments", [("check", "4"), ("pack", "--limit", "0"), ("send",)])
def test_bad_arguments_are_answered_in_a_sentence(arguments, command, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(*arguments)
    assert "error: " in capsys.readouterr().err


SLOW = """
import sys, time
from pathlib import Path
from helpers import submission
from helpers.handin import ASSIGNMENTS

write = submission.write_zip
def slowly(path, files):
    write(path, files)
    print("written", flush=True)
    time.sleep(60)

submission.write_zip = slowly
submission.pack(ASSIGNMENTS["1"], [], Path(sys.argv[2]), 20, Path(sys.argv[1]))
"""


def test_kill_9_leaves_the_old_zip_and_nothing_that_looks_like_one(bundle, tmp_path):
    to = tmp_path / "to"
    [old] = submission.pack(ASSIGNMENTS["1"], [], to, 20, bundle)
    before = old.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(bundle), str(to)], cwd=session.ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [path.name for path in to.glob("*.zip")] == [old.name]
    assert old.read_bytes() == before
