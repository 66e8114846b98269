"""What is handed in is checked, each fault is one sentence, and what is packed opens on its own."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import submission
from helpers import session
from submission import ASSIGNMENTS, find_faults

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
    for name in submission.movie_names():
        (root / "gifs" / f"{name}.gif").write_bytes(movie)
    findings = (
        f"{SHOWN}1. He learns best. Why. It keeps the signal.\n\n2. Odd: nothing else matters, because of batch norm.\n"
    )
    (root / "gifs" / "findings.txt").write_text(findings, encoding="utf-8")
    return root


@pytest.mark.parametrize("assignment", ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_nothing_is_said_of_what_is_in_order(assignment, bundle):
    assert find_faults(assignment, bundle) == []


# ---- each fault in turn


def edited(change):
    """Return a function that changes the first notebook as `change(notebook)` says."""

    def edit(root):
        path = root / "notebooks" / "01_low_level_mlp.ipynb"
        given = nbformat.read(path, as_version=4)
        change(given)
        nbformat.write(given, path)

    return edit


def edited_json(change):
    """Return a function that changes the cells of the first notebook without nbformat, which would mend them."""

    def edit(root):
        given = json.loads(path_of(root).read_text(encoding="utf-8"))
        change(given["cells"])
        path_of(root).write_text(json.dumps(given), encoding="utf-8")

    return edit


def added(*outputs, source="print(x)"):
    return edited(lambda given: given.cells.append(cell(5, source, *outputs)))


def group(**fields):
    return lambda root: (root / "group.json").write_text(json.dumps(GROUP | fields), encoding="utf-8")


def path_of(root):
    return root / "notebooks" / "01_low_level_mlp.ipynb"


def a_copy(root):
    return root / "notebooks" / "01_low_level_mlp (1).ipynb"  # as browsers name a second download


HOME = "/".join(("", "home", "ada"))

FAULTS = {
    "missing": (lambda root: path_of(root).unlink(), "is missing"),
    "renamed": (lambda root: path_of(root).rename(a_copy(root)), r"beside it lies 01_low_level_mlp \(1\).ipynb: keep"),
    "a copy": (lambda root: a_copy(root).write_text("{}"), r"beside it lies 01_low_level_mlp \(1\).ipynb: keep"),
    "no JSON": (lambda root: path_of(root).write_text("{", encoding="utf-8"), "is no notebook, or half of one"),
    "truncated": (lambda root: path_of(root).write_bytes(path_of(root).read_bytes()[:-40]), "is no notebook, or half"),
    "no notebook": (lambda root: path_of(root).write_text("[1, 2]", encoding="utf-8"), "is no notebook"),
    "not in order": (edited(lambda n: n.cells[2].update(execution_count=7)), "whole run in order"),
    "never run": (edited(lambda n: n.cells[2].update(execution_count=None)), "whole run in order"),
    "error": (added(new_output("error", ename="KeyError", evalue="1", traceback=[])), "cell 5 ends with KeyError"),
    "no outputs": (edited(lambda n: n.cells[3].update(outputs=[])), "nothing is shown by code cell 3"),
    "quick run": (added(text("QUICK=1: a short smoke run")), "outputs of a quick run"),
    "sample": (added(text("!!! A SAMPLE of real images")), "ran on a sample"),
    "failed claim": (added(text("FAILS: it learns: 0.1 (at least 0.9)\n")), r'a claim failed \("it learns"\)'),
    "failed claim with a colon": (added(text("FAILS: fail 1: best: 0.1 (at least 0.9)\n")), r'\("fail 1: best"\)'),
    "failed claims": (added(text("FAILS: a: 0.1 (at least 1)\nFAILS: b: 0\n")), r'2 claims failed \("a"\)'),
    "omitted": (edited(lambda n: n.metadata.update(colab={"private_outputs": True})), "omit code cell output"),
    "error in Colab": (
        edited_json(
            lambda cells: cells[3].update(
                outputs=[
                    {
                        "output_type": "error",
                        "ename": "E",
                        "evalue": "",
                        "traceback": [],
                        "errorDetails": {"actions": []},
                    }
                ]
            )
        ),
        "cell 3 ends with E",
    ),
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
    "names as text": (group(names="Ada"), "group.json should read"),
    "a number as name": (group(names=[7]), "group.json should read"),
    "group null": (group(group=None), "group.json should read"),
    "names in one": (group(names=["Ada, Karl"]), 'has "Ada, Karl" as one name'),
    "names joined": (group(names=["Ada und Karl"]), 'has "Ada und Karl" as one name'),
    "as in the example": (group(names=["...", "..."]), "has no names, or an empty one"),
    "fewer names": (group(names=GROUP["names"][:1]), "does not show group and names of group.json"),
    "no output of an expression": (added(source="table.round(2)"), "nothing is shown by code cell 5"),
    "no output in a loop": (added(source="for x in y:\n    print(x)"), "nothing is shown by code cell 5"),
    "invalid": (
        edited_json(lambda cells: cells[3].update(outputs=[{"output_type": "display_data"}])),
        "is no notebook",
    ),
    "no source": (edited_json(lambda cells: cells[3].pop("source")), "is no notebook"),
    "path in a picture": (
        added(new_output("display_data", {"image/svg+xml": f"<svg>{HOME}/a</svg>"})),
        f"cell 5 shows {HOME}/a",
    ),
    "a comma too many": (
        lambda root: (root / "group.json").write_text('{"group",}'),
        r"should read .* \(line 1: ",
    ),
    "no group.json": (lambda root: (root / "group.json").unlink(), "group.json should read"),
}


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_said_in_one_sentence(spoil, sentence, bundle):
    spoil(bundle)
    faults = find_faults(ASSIGNMENTS["1"], bundle)
    assert [fault for fault in faults if re.search(sentence, fault)]
    assert all(fault.endswith(".") and "\n" not in fault for fault in faults)
    assert len(faults) <= 2


QUIET = [
    "x = 1",
    "rows.append(3)",
    "%matplotlib inline",
    "figure;",
    "figure;  # shown below",
    "if not torch.cuda.is_available():\n    print('no GPU')",
    "try:\n    import x\nexcept ImportError:\n    print('no x')",
    "with open('x', 'w') as file:\n    print(1, file=file)",
    "def f():\n    print(1)",
    '"""Text."""',
    "# nothing",
]


@pytest.mark.parametrize("source", QUIET)
def test_cells_that_show_nothing_are_in_order_without_outputs(source, bundle):
    added(source=source)(bundle)
    assert find_faults(ASSIGNMENTS["1"], bundle) == []


@pytest.mark.parametrize(
    "shown",
    [
        f"file://{HOME}/x", f"saved to:{HOME}", f"PATH=/usr/bin:{HOME}", f"\x1b[32m{HOME}", "Path('C:/Users/ada')",
        "c:" + r"\users\ada", "/".join(("", "Volumes", "disk")),
        r"D:\Studium\DL", str(session.ROOT / "runs"),
    ],
)  # fmt: skip
def test_what_tells_of_the_own_machine_is_found(shown):
    assert submission.find_private(f"some text {shown} and more")


CELLS = "/".join(("", "tmp", "ipykernel_12", "345.py")), "/".join(("", "tmp", "ipython-input-1-123.py"))
WARNINGS = [f"{cell}:1: FutureWarning" for cell in CELLS]


@pytest.mark.parametrize(
    "shown",
    ["ada is the group", "https://example.org/home/x", "/content/bundle", "runs/ada-1", "a/tmp/b", *WARNINGS],
)
def test_other_texts_are_not_accused(shown):
    assert not submission.find_private(shown)
    assert not submission.find_private('<img src="data:image/png;base64,iVBO/ada/tmp/ada">')


def some_movie(root):
    return root / "gifs" / "he_raw_none_bn-none.gif"


SHEET_3 = {
    "missing": (lambda root: some_movie(root).unlink(), "1 of 84 movies are missing, such as he_raw_none_bn-none.gif"),
    "truncated": (lambda root: some_movie(root).write_bytes(some_movie(root).read_bytes()[:99]), "gif (cannot|has)"),
    "no movie": (lambda root: some_movie(root).write_text("GIF"), "gif cannot be read"),
    "frames": (lambda root: Image.new("P", (2, 2)).save(some_movie(root)), "should have 100 frames and has 1"),
    "one finding": (
        lambda root: findings(root, SHOWN + "1. Odd. Why. So.\n2. Odd.\n"),
        "has a reason for 1 of the two findings",
    ),
    "a finding with decimals": (
        lambda root: findings(root, SHOWN + "1. Odd. Why. It is\n0.52 because of x.\n"),
        "has a reason for 1 of the two",
    ),
    "no findings": (lambda root: (root / "gifs" / "findings.txt").unlink(), "findings.txt is missing"),
    "names": (lambda root: findings(root, "1. A. Why. B.\n2. C. Why. D.\n"), "does not show group and names"),
}


def findings(root, text):
    (root / "gifs" / "findings.txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("spoil", "sentence"), SHEET_3.values(), ids=SHEET_3)
def test_a_part_of_sheet_3_that_is_missing_is_said(spoil, sentence, bundle):
    spoil(bundle)
    [fault] = find_faults(ASSIGNMENTS["3"], bundle)
    assert re.search(sentence, fault)


FINDINGS = ["1. Odd. Why. So.\n2. Even. Because.\n", "1) weil\n\n2) Grund\n", "**Finding 1:** why\n\n# 2. reason\n"]


@pytest.mark.parametrize("text", FINDINGS)
def test_findings_may_be_numbered_in_other_ways(text, bundle):
    (bundle / "gifs" / "findings.txt").write_text(SHOWN + text, encoding="utf-8-sig")
    assert find_faults(ASSIGNMENTS["3"], bundle) == []


# ---- the zips


def pack(root, to, key="1", limit=20):
    return submission.write_zips(submission.pack_assignment(ASSIGNMENTS[key], root, limit, []), to)


def names_in(path):
    with ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_a_zip_holds_what_its_notebook_needs_and_nothing_else(bundle, tmp_path):
    [path] = pack(bundle, tmp_path / "to")
    assert path.name == "Assignment-1_group-Grueppe-7.zip"
    inner = [name.removeprefix("Assignment-1_group-Grueppe-7/") for name in names_in(path)]
    assert sorted(inner) == sorted([
        "notebooks/01_low_level_mlp.html", "notebooks/01_low_level_mlp.ipynb",
        "helpers/__init__.py", "helpers/session.py", "helpers/claims.py", "helpers/unused.py",
        "helpers/style.mplstyle",
        "requirements.txt", "group.json", "runs/kept/01-study/a.jsonl",
    ])  # fmt: skip


def test_kept_studies_go_with_their_notebooks(bundle):
    for study in ("07-doctor", "doctor-rivals", "02-other"):
        (bundle / "runs" / "kept" / study).mkdir()
        (bundle / "runs" / "kept" / study / "a.jsonl").touch()
    names = submission.collect_files(ASSIGNMENTS["more"], bundle, [])
    assert {name.split("/")[2] for name in names if name.startswith("runs/")} == {"07-doctor", "doctor-rivals"}


def test_what_editors_and_killed_runs_leave_behind_stays_out(bundle):
    for name in ("helpers/.DS_Store", "helpers/style.mplstyle~", "gifs/.a.gif.7.part", "runs/kept/01-study/.a.part"):
        (bundle / name).touch()
    for key in ("1", "3"):
        names = submission.collect_files(ASSIGNMENTS[key], bundle, [])
        assert [name for name in names if name.rpartition("/")[2][0] == "." or name[-1] == "~"] == []


def test_modules_beside_the_notebook_go_with_it_and_their_neighbors_do_not(bundle):
    for name in ("mine.py", "notebooks/own.py", "exam.txt"):
        (bundle / name).touch()
    names = submission.collect_files(ASSIGNMENTS["1"], bundle, [])
    assert {"mine.py", "notebooks/own.py", "helpers/claims.py"} <= set(names) and "exam.txt" not in names


@pytest.mark.parametrize("word", ["check", "pack"])
def test_a_file_that_is_too_large_is_said(word, command, capsys, bundle):
    assert command(word, "1", "--limit", "0.01") == 1
    said = capsys.readouterr().out
    assert "- notebooks/01_low_level_mlp.html has" in said and "(--limit): show" in said
    assert not (bundle / "handin").exists()


def test_pages_hold_figures_and_movies(bundle, movie, tmp_path):
    import base64

    gif = base64.b64encode(movie).decode()
    added(new_output("display_data", {"image/gif": gif, "text/plain": "<Movie>"}), source="movie")(bundle)
    page = submission.collect_files(ASSIGNMENTS["1"], bundle, [])["notebooks/01_low_level_mlp.html"].decode()
    assert f"data:image/gif;base64,{gif}" in page
    assert "data:image/png;base64," in page


def test_the_same_content_gives_the_same_bytes(bundle, tmp_path):
    first, second = (pack(bundle, tmp_path / to, "3")[0] for to in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.filterwarnings("ignore:Cell is missing an id")
def test_the_same_notebook_gives_the_same_page_where_its_cells_have_no_ids(bundle):
    given = json.loads(path_of(bundle).read_text(encoding="utf-8"))
    for one in given["cells"]:
        one.pop("id", None)
    path_of(bundle).write_text(json.dumps(given), encoding="utf-8")
    first, second = (submission.collect_files(ASSIGNMENTS["1"], bundle, []) for _ in range(2))
    assert first == second


def test_parts_stay_below_the_limit_and_together_hold_everything(bundle, tmp_path):
    [whole] = pack(bundle, tmp_path / "whole", "3")
    limit = 0.4 * whole.stat().st_size / 1e6
    parts = pack(bundle, tmp_path / "parts", "3", limit)
    assert len(parts) >= 3
    assert all(part.stat().st_size <= limit * 1e6 for part in parts)
    assert [part.name[-11:] for part in parts] == [f"_{i}-of-{len(parts)}.zip" for i in range(1, len(parts) + 1)]
    assert sorted(name for part in parts for name in names_in(part)) == sorted(names_in(whole))
    again = pack(bundle, tmp_path / "parts", "3")
    assert list((tmp_path / "parts").iterdir()) == again  # no part of the earlier packing is left


def test_a_file_that_fits_into_no_part_is_named_and_nothing_is_lost(bundle, tmp_path):
    [old] = pack(bundle, tmp_path)
    before = old.read_bytes()
    with pytest.raises(submission.SubmissionError, match=r"01_low_level_mlp.html has .* show fewer"):
        pack(bundle, tmp_path, "1", 0.01)
    assert old.read_bytes() == before


def test_a_zip_that_cannot_be_replaced_leaves_all_as_it_was(bundle, tmp_path, monkeypatch):
    limit = 0.4 * pack(bundle, tmp_path, "3")[0].stat().st_size / 1e6
    before = {path.name: path.read_bytes() for path in map(Path, pack(bundle, tmp_path, "3", limit))}
    replace = Path.replace

    def open_elsewhere(path, target):
        if "_2-of-" in path.name:
            raise PermissionError(13, "in use")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", open_elsewhere)
    with pytest.raises(session.CannotSave, match="in use"):
        pack(bundle, tmp_path, "3", limit)
    after = {path.name: path.read_bytes() for path in tmp_path.glob("*.zip")}
    assert after == before


NAMES = {
    "": "Assignment-1_without-a-group",
    "7": "Assignment-1_group-7",
    "Group 7": "Assignment-1_Group-7",
    "Gruppe 7": "Assignment-1_Gruppe-7",
    "Ünïcode / ..\\..: *?": "Assignment-1_group-Uenicode",
    "グループ": "Assignment-1_group",
}


@pytest.mark.parametrize(("given", "name"), NAMES.items())
def test_names_are_such_as_windows_and_e_learning_accept(given, name, bundle):
    group(group=given)(bundle)
    assert submission.zip_name(ASSIGNMENTS["1"], bundle) == name


# ---- the command


@pytest.fixture
def command(bundle, monkeypatch):
    """Return a function that runs the command on the bundle."""
    monkeypatch.setattr(session, "ROOT", bundle)
    return lambda *arguments: submission.main([*arguments])


def test_check_and_pack(command, bundle, capsys):
    assert command("check") == 0
    assert capsys.readouterr().out.count("in order") == len(ASSIGNMENTS)
    assert command("pack", "--limit", "19", "1", "2") == 0
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
    nbformat.write(notebook(), path_of(bundle))
    assert command("pack", "1") == 0
    assert [path.name for path in (bundle / "handin").iterdir()] == ["Assignment-1_group-Grueppe-7.zip"]


def test_zips_of_another_group_stay_and_are_named(command, bundle, capsys):
    assert command("pack", "1") == 0
    group(group="8", names=[])(bundle)
    assert command("pack", "1", "--anyway") == 1
    said = capsys.readouterr().out
    assert "Beside it lies Assignment-1_group-Grueppe-7.zip, packed before" in said
    names = {path.name for path in (bundle / "handin").iterdir()}
    assert names == {"Assignment-1_group-Grueppe-7.zip", "Assignment-1_group-8_NOT-IN-ORDER.zip"}


def test_all_that_is_wrong_with_the_group_is_said_at_once(bundle):
    group(group="", names=["Ada", "", "Karl & Emmy", "D"])(bundle)
    assert len(find_faults(ASSIGNMENTS["1"], bundle)) == 4


def test_half_a_notebook_is_packed_as_it_is_if_told_to(command, bundle):
    FAULTS["truncated"][0](bundle)
    assert command("pack", "--anyway") == 1
    [path] = (bundle / "handin").glob("Assignment-1*.zip")
    assert [name for name in names_in(path) if "01_low" in name] == [f"{path.stem}/notebooks/01_low_level_mlp.ipynb"]
    assert len(list((bundle / "handin").glob("*.zip"))) == len(ASSIGNMENTS)


@pytest.mark.parametrize("arguments", [("check", "4"), ("pack", "--limit", "0"), ("send",)])
def test_bad_arguments_are_answered_in_a_sentence(arguments, command, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(*arguments)
    assert "error: " in capsys.readouterr().err


SLOW = """
import sys, time
from pathlib import Path
import submission
from submission import ASSIGNMENTS

write = submission.write_zip
def slowly(path, files):
    write(path, files)
    print("written", flush=True)
    time.sleep(60)

submission.write_zip = slowly
submission.write_zips(submission.pack_assignment(ASSIGNMENTS["1"], Path(sys.argv[1]), 20, []), Path(sys.argv[2]))
"""


def test_kill_9_leaves_the_old_zip_and_nothing_that_looks_like_one(bundle, tmp_path):
    to = tmp_path / "to"
    [old] = pack(bundle, to)
    before = old.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(bundle), str(to)], cwd=session.ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [path.name for path in to.glob("*.zip")] == [old.name]
    assert old.read_bytes() == before
