"""What is handed in is checked, each fault is one sentence, and what is packed opens on its own."""

import base64
import json
import os
import re
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
SIGNATURE = "group: Grüppe 7   names: Ada Lovelace, Kurt Gödel"
NAME = "Assignment-1_group-Gruppe-7"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FINDINGS = "1. He learns best. Why. It keeps the signal.\n\n2. Odd: 0.5 of it, because of batch norm.\n"


def cell(number, source, *outputs):
    return new_code_cell(source, execution_count=number, outputs=list(outputs))


def text(printed):
    return new_output("stream", name="stdout", text=printed)


def notebook():
    """Return a notebook as a whole run would leave it."""
    cells = [
        new_markdown_cell("# Title"),
        cell(1, "from helpers import session\n\nsession.describe()", text(f"{SIGNATURE}   (from group.json)\n")),
        cell(2, "x = 1"),
        cell(3, "figure", new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})),
        cell(4, "summary()", text("holds: it learns: 0.98 (at least 0.9)\n")),
    ]
    return new_notebook(cells=cells)


@pytest.fixture
def bundle(tmp_path):
    """Make a small bundle in which all is in order but for sheet 3, in a folder with a blank and an umlaut."""
    root = tmp_path / "Übung 3"
    files = {
        "group.json": json.dumps(GROUP), "requirements.txt": "torch\n",
        "helpers/session.py": "", "helpers/style.mplstyle": "", "runs/kept/01-study/v1.jsonl": "{}\n",
    }  # fmt: skip
    for name, content in files.items():
        write(root / name, content)
    for name in (name for assignment in ASSIGNMENTS.values() for name in assignment.notebooks):
        write(root / "notebooks" / f"{name}.ipynb", nbformat.writes(notebook()))
    return root


def write(path, content=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


@pytest.fixture
def movies(bundle, monkeypatch):
    """Add movies of 2 frames, their page and the findings, so that sheet 3 is in order as well; return their folder."""
    monkeypatch.setattr(submission, "MOVIE_FRAMES", 2)
    write(bundle / "gifs" / "findings.txt", f"{SIGNATURE}\n{FINDINGS}")
    write(bundle / "gifs" / "index.html", "<!DOCTYPE html>")
    path = bundle / "gifs" / submission.movie_names()[0]
    Image.new("L", (2, 2)).save(path, save_all=True, append_images=[Image.new("L", (2, 2), 255)])
    for name in submission.movie_names():
        (bundle / "gifs" / name).write_bytes(path.read_bytes())
    return bundle / "gifs"


@pytest.fixture
def command(bundle, monkeypatch, capsys):
    """Return a function that runs the command on the bundle, and gives its status and what it says."""
    monkeypatch.setattr(session, "ROOT", bundle)
    return lambda *arguments: (submission.main([*map(str, arguments)]), capsys.readouterr().out)


def test_nothing_is_said_of_what_is_in_order(command, movies):
    status, said = command("check")
    assert status == 0 and said.count("in order") == len(ASSIGNMENTS)


# ---- each fault in turn


def path_of(root):
    return root / "notebooks" / "01_low_level_mlp.ipynb"


def copy_of(root):
    return root / "notebooks" / "01_low_level_mlp (1).ipynb"  # as browsers name a second download


def edited(change):
    """Return a function that changes the first notebook; without nbformat, which would mend it."""

    def edit(root):
        given = json.loads(path_of(root).read_text(encoding="utf-8"))
        change(given)
        write(path_of(root), json.dumps(given))

    return edit


def with_cell(*outputs, source="print(x)"):
    return edited(lambda given: given["cells"].append(cell(5, source, *outputs)))


def with_group(**fields):
    return lambda root: write(root / "group.json", json.dumps(GROUP | fields))


HOME = "/".join(("", "home", "ada"))
COLAB_ERROR = {"output_type": "error", "ename": "E", "evalue": "", "traceback": [], "errorDetails": {"actions": []}}
WIDGET = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": ""}

FAULTS = {
    "missing": (lambda root: path_of(root).unlink(), "is missing"),
    "renamed": (lambda root: path_of(root).rename(copy_of(root)), r"01_low_level_mlp \(1\).ipynb: keep"),
    "a copy": (lambda root: write(copy_of(root)), r"01_low_level_mlp \(1\).ipynb: keep"),
    "half": (lambda root: path_of(root).write_bytes(path_of(root).read_bytes()[:-40]), "no notebook, or half of one"),
    "no notebook": (lambda root: write(path_of(root), "[1, 2]"), "no notebook"),
    "no source": (edited(lambda given: given["cells"][3].pop("source")), "no notebook"),
    "not in order": (edited(lambda given: given["cells"][2].update(execution_count=7)), "in order"),
    "never run": (edited(lambda given: given["cells"][2].update(execution_count=None)), "in order"),
    "error": (with_cell(new_output("error", ename="KeyError", evalue="1")), "cell 5 ends with KeyError"),
    "error in Colab": (edited(lambda given: given["cells"][3].update(outputs=[COLAB_ERROR])), "cell 3 ends with E"),
    "no outputs": (edited(lambda given: given["cells"][3].update(outputs=[])), "nothing is shown by code cell 3"),
    "no print": (with_cell(source="x = 1\nprint(\n    x,\n)"), "nothing is shown by code cell 5"),
    "no value": (with_cell(source="table['a'][0]\n"), "nothing is shown by code cell 5"),
    "omitted": (edited(lambda given: given["metadata"].update(colab={"private_outputs": True})), "omit"),
    "quick run": (with_cell(text("QUICK=1: a short smoke run")), "quick run"),
    "sample": (with_cell(text("!!! A SAMPLE of real images")), "sample"),
    "failed claim": (with_cell(text(2 * "FAILS: fail 1: best: 0.1 (at least 0.9)\n")), r'failed \("fail 1: best"\)'),
    "widget": (with_cell(new_output("display_data", WIDGET)), "cell 5 shows a widget"),
    "path": (with_cell(text(f"saved in {HOME}/runs")), f"cell 5 shows {HOME}/runs, which"),
    "no group.json": (lambda root: (root / "group.json").unlink(), "group.json should read"),
    "a comma too many": (lambda root: write(root / "group.json", '{"group",}'), r"should read .* \(line 1: "),
    "names as text": (with_group(names="Ada"), "group.json should read"),
    "no group": (with_group(group=""), "names no group"),
    "no names": (with_group(names=[]), "has no names"),
    "as in the example": (with_group(names=["...", "..."]), "has no names"),
    "an empty name": (with_group(names=["Ada", " "]), "or an empty one"),
    "four names": (with_group(names=["A", "B", "C", "D"]), "4 names"),
    "names in one": (with_group(names=["Ada, Karl"]), '"Ada, Karl" as one name'),
    "names joined": (with_group(names=["Ada und Karl"]), '"Ada und Karl" as one name'),
    "other names": (with_group(names=["Emmy Noether"]), "does not show group and names"),
    "fewer names": (with_group(names=GROUP["names"][:1]), "does not show group and names"),
}


@pytest.mark.parametrize(("spoil", "words"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_said_in_one_sentence(spoil, words, bundle):
    spoil(bundle)
    faults = find_faults(ASSIGNMENTS["1"], bundle)
    assert [fault for fault in faults if re.search(words, fault)]
    assert all(fault.endswith(".") and "\n" not in fault for fault in faults)
    assert len(faults) <= 2


def test_all_that_is_wrong_with_the_group_is_said_at_once(bundle):
    with_group(group="", names=["Ada", "", "Karl & Emmy", "D"])(bundle)
    assert len(find_faults(ASSIGNMENTS["1"], bundle)) == 4


QUIET = [
    "x = 1", "t[0] = u[0]", "rows.append(3)", "%matplotlib inline", "figure;", "def f():\n    print(1)", "# nothing",
    "if not torch.cuda.is_available():\n    print('no GPU')", "with open('x', 'w') as file:\n    print(1, file=file)",
    '"""Text."""',
]  # fmt: skip


@pytest.mark.parametrize("source", QUIET)
def test_cells_that_show_nothing_are_in_order_without_outputs(source):
    assert not submission.SHOWING.search(source)


OWN = [HOME, f"file://{HOME}/x", f"saved to:{HOME}", f"PATH=/usr/bin:{HOME}", "Path('C:/Users/ada')", r"D:\Studium\DL"]
CELLS = ["/".join(("", "tmp", name, "1.py:1: FutureWarning")) for name in ("ipykernel_12", "ipython-input-1-2")]
PICTURE = '<img src="data:image/png;base64,iVBO/ada/tmp/ada+/tmp/a">'


@pytest.mark.parametrize("shown", OWN)
def test_what_tells_of_the_own_machine_is_found(shown):
    assert submission.PRIVATE.search(f"some text {shown} and more")


@pytest.mark.parametrize("shown", ["https://example.org/home/x", "/content/bundle", "a/tmp/b", PICTURE, *CELLS])
def test_other_texts_are_not_accused(shown):
    assert not submission.PRIVATE.search(f"some text {shown} and more")


SHEET_3 = {
    "no movie": (lambda gifs: movie_in(gifs).unlink(), "1 of 84 movies are missing .* he_raw_none_bn-none.gif"),
    "half a movie": (lambda gifs: movie_in(gifs).write_bytes(movie_in(gifs).read_bytes()[:60]), "1 of 84 movies"),
    "frames": (lambda gifs: Image.new("L", (2, 2)).save(movie_in(gifs)), "1 of 84 movies .* frames"),
    "no page": (lambda gifs: (gifs / "index.html").unlink(), "gifs/index.html is missing: run 04"),
    "no findings": (lambda gifs: (gifs / "findings.txt").unlink(), "findings.txt is missing"),
    "one finding": (lambda gifs: write_findings(gifs, "1. Odd. Why. So.\n2. Odd.\n"), "a reason for 1 of"),
    "decimals": (lambda gifs: write_findings(gifs, "1. Odd. Why. It is\n0.52 because of x.\n"), "a reason for 1 of"),
    "names": (lambda gifs: write(gifs / "findings.txt", FINDINGS), "does not show group and names"),
}


def movie_in(gifs):
    return gifs / "he_raw_none_bn-none.gif"


def write_findings(gifs, findings):
    write(gifs / "findings.txt", f"{SIGNATURE}\n{findings}")


@pytest.mark.parametrize(("spoil", "words"), SHEET_3.values(), ids=SHEET_3)
def test_a_part_of_sheet_3_that_is_missing_is_said(spoil, words, bundle, movies):
    spoil(movies)
    [fault] = find_faults(ASSIGNMENTS["3"], bundle)
    assert re.search(words, fault)


@pytest.mark.parametrize("findings", ["1) weil\n\n2) Grund\n", "**Finding 1:** why\n\n# 2. reason\n"])
def test_findings_may_be_numbered_in_other_ways(findings, bundle, movies):
    write_findings(movies, findings)
    assert find_faults(ASSIGNMENTS["3"], bundle) == []


# ---- the zips


def zips_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.zip")}


def names_in(path):
    with ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_a_zip_holds_what_its_notebook_needs_and_nothing_else(bundle, command):
    beside = "mine.py", "notebooks/own.py", "doctor/rules/loss.py", "data/sample/MNIST-test.webp"
    for name in (*beside, "exam.txt", "helpers/.DS_Store", "helpers/style.mplstyle~", "runs/kept/02-other/v1.jsonl"):
        write(bundle / name)
    assert command("pack", "1")[0] == 0
    inner = [name.removeprefix(f"{NAME}/") for name in names_in(bundle / "handin" / f"{NAME}.zip")]
    assert sorted(inner) == sorted([
        "notebooks/01_low_level_mlp.html", "notebooks/01_low_level_mlp.ipynb", "requirements.txt", "group.json",
        "helpers/session.py", "helpers/style.mplstyle", "runs/kept/01-study/v1.jsonl", *beside,
    ])  # fmt: skip


@pytest.mark.parametrize("assignment", ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_what_the_notebooks_load_and_link_to_is_in_their_zip(assignment, monkeypatch):
    monkeypatch.setattr(submission, "render_html", lambda path: b"")
    files = submission.collect_files(assignment, session.ROOT, [])
    for name in assignment.notebooks:
        source = files[f"notebooks/{name}.ipynb"].decode()
        assert set(re.findall(r"\]\(\.\./([^)#\s]+)", source)) <= set(files)
        loaded = [data for data in ("MNIST", "FashionMNIST", "CIFAR10") if rf"\"{data}\"" in source]
        assert loaded and {f"data/sample/{data}-train.webp" for data in loaded} <= set(files)
        kept = {path.name for path in (session.ROOT / "runs" / "kept").glob(f"{name[:2]}-*")}
        assert kept <= {file.split("/")[2] for file in files if file.startswith("runs/kept/")}


def test_pages_hold_figures_and_movies(bundle):
    movie = base64.b64encode(b"GIF89a").decode()
    with_cell(new_output("display_data", {"image/gif": movie, "text/plain": "<Movie>"}), source="movie")(bundle)
    page = submission.render_html(path_of(bundle)).decode()
    assert f"data:image/gif;base64,{movie}" in page and "data:image/png;base64," in page


@pytest.mark.filterwarnings("ignore:Cell is missing an id")
def test_the_same_content_gives_the_same_bytes(bundle, command, tmp_path):
    edited(lambda given: [one.pop("id") for one in given["cells"]])(bundle)  # nbformat draws them at random
    for to in ("a", "b"):
        assert command("pack", "1", "--to", tmp_path / to)[0] == 0
    assert zips_in(tmp_path / "a") == zips_in(tmp_path / "b") != {}


def large_files(root, count=4):
    """Add files of 0.3 MB that cannot be compressed, each to be in a part of its own at a limit of 0.5 MB."""
    for number in range(count):
        (root / "helpers" / f"{number}.bin").write_bytes(os.urandom(300_000))


def test_the_page_on_handing_in_names_the_limit():
    page = session.ROOT / "docs" / "hand_in.md"
    assert f"above {submission.LIMIT} MB (`--limit`)" in page.read_text(encoding="utf-8")


def test_parts_stay_below_the_limit_and_together_hold_everything(bundle, command, tmp_path):
    large_files(bundle)
    command("pack", "1", "--to", tmp_path / "whole")
    command("pack", "1", "--to", tmp_path / "parts", "--limit", "0.5")
    [whole], parts = (list((tmp_path / to).iterdir()) for to in ("whole", "parts"))
    assert {part.name for part in parts} == {f"{NAME}_{i}-of-{len(parts)}.zip" for i in range(1, len(parts) + 1)}
    assert len(parts) >= 4 and all(part.stat().st_size <= 500_000 for part in parts)
    assert sorted(name for part in parts for name in names_in(part)) == sorted(names_in(whole))
    command("pack", "1", "--to", tmp_path / "parts")
    assert zips_in(tmp_path / "parts") == zips_in(tmp_path / "whole")  # no part of the earlier packing is left


def test_a_zip_that_cannot_be_replaced_leaves_all_as_it_was(bundle, command, monkeypatch):
    large_files(bundle)
    command("pack", "1", "--limit", "0.5")
    before, replace = zips_in(bundle / "handin"), Path.replace

    def open_elsewhere(path, target):
        if "_2-of-" in path.name:
            raise PermissionError(13, "in use")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", open_elsewhere)
    status, said = command("pack", "1", "--limit", "0.5")
    assert status == 1 and "Nothing was written" in said and "in use" in said
    assert zips_in(bundle / "handin") == before


def test_a_kill_leaves_the_old_zip_and_nothing_that_looks_like_one(bundle, command, monkeypatch):
    command("pack", "1")
    before = zips_in(bundle / "handin")
    write(bundle / "helpers" / "new.py")
    monkeypatch.setattr(submission, "write_zip", lambda path, files: (path.touch(), os._exit(9)))
    if (child := os.fork()) == 0:
        command("pack", "1")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert zips_in(bundle / "handin") == before


NAMES = {"": "without-a-group", "7": "group-7", "Ünï_code / ..\\..: *?": "group-Uni-code", "グループ": "group"}


@pytest.mark.parametrize(("given", "name"), NAMES.items())
def test_names_are_such_as_windows_and_e_learning_accept(given, name, bundle):
    with_group(group=given)(bundle)
    assert submission.zip_name(ASSIGNMENTS["1"], bundle) == f"Assignment-1_{name}"


# ---- the command


def test_nothing_is_written_if_the_check_fails_unless_told_to(command, bundle):
    with_cell(new_output("error", ename="KeyError", evalue="1"))(bundle)
    status, said = command("pack", "1")
    assert status == 1 and "Nothing was written" in said and not (bundle / "handin").exists()
    assert command("pack", "1", "--anyway")[0] == 1
    with ZipFile(bundle / "handin" / f"{NAME}_NOT-IN-ORDER.zip") as archive:
        assert b"KeyError" in archive.read(f"{NAME}_NOT-IN-ORDER/NOT_IN_ORDER.txt")
    write(path_of(bundle), nbformat.writes(notebook()))
    assert command("pack", "1")[0] == 0
    assert list(zips_in(bundle / "handin")) == [f"{NAME}.zip"]


def test_half_a_notebook_is_packed_as_it_is_if_told_to(command, bundle):
    FAULTS["half"][0](bundle)
    assert command("pack", "1", "2", "--anyway")[0] == 1
    name = f"{NAME}_NOT-IN-ORDER"
    packed = names_in(bundle / "handin" / f"{name}.zip")
    assert [inner for inner in packed if "01_low" in inner] == [f"{name}/notebooks/01_low_level_mlp.ipynb"]
    assert len(zips_in(bundle / "handin")) == 2


def test_zips_of_others_stay_and_are_named(command, bundle):
    others = {f"Assignment-1_group-{name}.zip" for name in ("8", "Gruppe-70", "Gruppe-7_copy")}
    for name in others:
        write(bundle / "handin" / name)
    said = command("pack", "--limit", "19", "1")[1]
    assert all(f"Beside it lies {name}, packed before" in said for name in others)
    assert set(zips_in(bundle / "handin")) == {f"{NAME}.zip", *others}


@pytest.mark.parametrize("word", ["check", "pack"])
def test_a_file_that_is_too_large_is_said(word, command, bundle):
    status, said = command(word, "1", "--limit", "0.01", "--anyway")
    assert status == 1 and "- notebooks/01_low_level_mlp.html has" in said and "(--limit): show" in said
    assert not (bundle / "handin").exists()


@pytest.mark.parametrize("arguments", [("check", "4"), ("send",)])
def test_bad_arguments_are_answered_in_a_sentence(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        submission.main(arguments)
    assert "error: " in capsys.readouterr().err
