"""What is handed in is checked, each fault is one sentence, and what is packed opens on its own."""

import base64
import json
import os
import re
from pathlib import Path
from zipfile import ZipFile

import nbformat
import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import handin_notebook
import submission
from handin_notebook import make_page
from helpers import session
from submission import ASSIGNMENTS, find_faults

GROUP = {"group": "Grüppe 7", "names": ["Ada Lovelace", "Kurt Gödel"]}
SIGNATURE = "group: Grüppe 7   names: Ada Lovelace, Kurt Gödel"
NAME = "Assignment-1_group-Gruppe-7"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HOLDS = "holds: it learns: 0.98 (at least 0.9)\n"
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
        cell(4, "claim('it learns', 0.98, at_least=0.9)\nsummary()", text(f"{HOLDS}1 of 1 hold\n")),
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


def copy_of(root, name="01_low_level_mlp (1).ipynb"):  # as browsers name a second download
    return root / "notebooks" / name


def edited(change):
    """Return a function that changes the first notebook; without nbformat, which would mend it."""

    def edit(root):
        given = json.loads(path_of(root).read_text(encoding="utf-8"))
        change(given)
        write(path_of(root), json.dumps(given))

    return edit


def with_cell(*outputs, source="print(x)"):
    return edited(lambda given: given["cells"].append(cell(5, source, *outputs)))


def with_summary(printed):
    return edited(lambda given: given["cells"][-1].update(outputs=[text(printed)]))


def with_group(**fields):
    return lambda root: write(root / "group.json", json.dumps(GROUP | fields))


HOME = "/".join(("", "home", "ada"))
COLAB_ERROR = {"output_type": "error", "ename": "E", "evalue": "", "traceback": [], "errorDetails": {"actions": []}}
WIDGET = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": ""}

FAULTS = {
    "missing": (lambda root: path_of(root).unlink(), "is missing"),
    "renamed": (lambda root: path_of(root).rename(copy_of(root)), r"01_low_level_mlp \(1\).ipynb: keep"),
    "a copy": (lambda root: write(copy_of(root)), r"01_low_level_mlp \(1\).ipynb: keep"),
    "a copy of Colab": (lambda root: write(copy_of(root, "Copy of 01_low_level_mlp.ipynb")), "Copy of 01.*: keep"),
    "a copy of Jupyter": (lambda root: write(copy_of(root, "01_low_level_mlp-Copy1.ipynb")), "-Copy1.ipynb: keep"),
    "another ending": (lambda root: write(copy_of(root, "01_low_level_mlp.ipynb.txt")), "ipynb.txt: keep"),
    "half": (lambda root: path_of(root).write_bytes(path_of(root).read_bytes()[:-40]), "no notebook, or half of one"),
    "no notebook": (lambda root: write(path_of(root), "[1, 2]"), "no notebook"),
    "no source": (edited(lambda given: given["cells"][3].pop("source")), "no notebook"),
    "not in order": (edited(lambda given: given["cells"][2].update(execution_count=7)), "in order"),
    "never run": (edited(lambda given: given["cells"][2].update(execution_count=None)), "in order"),
    "no count": (
        edited(lambda given: given["cells"][2].pop("execution_count")),
        "not saved after a whole run in order",
    ),
    "no list of outputs": (edited(lambda given: given["cells"][3].pop("outputs")), "nothing is shown by code cell 3"),
    "only the set-up cell": (edited(lambda given: given.update(cells=given["cells"][:2])), r"up to summary\(\)"),
    "no summary": (edited(lambda given: given["cells"].pop()), r"up to summary\(\)"),
    "nothing claimed": (with_summary("0 of 0 hold\n"), r"up to summary\(\)"),
    "a claim left out": (with_summary("1 of 1 hold\n"), '"1 of 1 hold", and it shows 0 of 0'),
    "a claim made again": (
        with_summary(f"{HOLDS}{HOLDS.replace('it', 'x')}FAILS: x learns: 0.1 (at least 0.9)\n1 of 2 hold\n"),
        '"x learns"',
    ),
    "FAILS made holds": (with_summary(f"{HOLDS}{HOLDS.replace('it', 'x')}1 of 2 hold\n"), "shows 2 of 2: outputs are"),
    "holds made FAILS": (with_summary(f"{HOLDS.replace('holds', 'FAILS')}1 of 1 hold\n"), "shows 0 of 1: outputs are"),
    "a summary by hand": (with_summary(f"{HOLDS}2 of 2 hold\n"), "shows 1 of 1: outputs are"),
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
    "the example": (with_group(group="0", names=["Ada Example", "Alan Example"]), "still holds the example"),
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


def test_what_is_claimed_again_counts_once_and_lines_may_be_in_two_outputs(bundle):
    halves = HOLDS * 2 + HOLDS[:10], f"{HOLDS[10:]}1 of 1 hold\n"
    edited(lambda given: given["cells"][-1].update(outputs=[*map(text, halves)]))(bundle)
    assert find_faults(ASSIGNMENTS["1"], bundle) == []


QUIET = [
    "x = 1", "t[0] = u[0]", "rows.append(3)", "%matplotlib inline", "figure;", "def f():\n    print(1)", "# nothing",
    "if not torch.cuda.is_available():\n    print('no GPU')", "with open('x', 'w') as file:\n    print(1, file=file)",
    '"""Text."""',
]  # fmt: skip


@pytest.mark.parametrize("source", QUIET)
def test_cells_that_show_nothing_are_in_order_without_outputs(source):
    assert not handin_notebook.SHOWING.search(source)


OWN = [HOME, f"file://{HOME}/x", f"saved to:{HOME}", f"PATH=/usr/bin:{HOME}", "Path('C:/Users/ada')", r"D:\Studium\DL"]
OWN += [
    r"d:\studium\dl",
    r"\\nas\ada\dl",
    "/content/drive/MyDrive/Ada Lovelace/x",
    "/content/drive/Othercomputers/Ada/x",
]
OWN += ["/cluster/home/ada", "/scratch/ada/x", "/dss/dsshome1/lxc/ada", "/zhome/ada", "/u/ada/x", "/gpfs/home/ada"]
OWN += ["/".join(("", "tmp", "ipynotes", "x"))]
CELLS = ["/".join(("", "tmp", name, "1.py:1: FutureWarning")) for name in ("ipykernel_12", "ipython-input-1-2")]
PICTURE = '<img src="data:image/png;base64,iVBO/ada/u/ada+/u/a">'


@pytest.mark.parametrize("shown", OWN)
def test_what_tells_of_the_own_machine_is_found(shown):
    assert handin_notebook.PRIVATE.search(f"some text {shown} and more")


@pytest.mark.parametrize("shown", ["https://example.org/home/x", "/content/bundle", "a/tmp/b", PICTURE, *CELLS])
def test_other_texts_are_not_accused(shown):
    assert not handin_notebook.PRIVATE.search(f"some text {shown} and more")


def found_in(cell):
    return [*handin_notebook.cell_faults(nbformat.from_dict(cell))]


PLACES = {
    "source": lambda what: new_code_cell(f"x = {what!r}"),
    "raw string": lambda what: new_code_cell(f"x = r'{what}'"),
    "comment": lambda what: new_code_cell(f"# d:/x, e:/y\n# {what}"),
    "text": lambda what: new_markdown_cell(f"See {what}."),
    "metadata": lambda what: new_code_cell("", metadata={"a": [{"b": what}]}),
    "metadata of an output": lambda what: new_code_cell("", outputs=[
        new_output("display_data", {"text/plain": ""}, metadata={"a": what})]),
    "table": lambda what: new_code_cell("", outputs=[new_output("display_data", {"text/html": f"<td>{what}</td>"})]),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", [HOME, r"d:\studium\dl", "/content/drive/MyDrive/Ada/x"])
def test_a_path_is_found_wherever_it_stands(place, path):
    [fault] = found_in(PLACES[place](path))
    assert "of your own machine" in fault


@pytest.mark.parametrize("place", ["source", "raw string", "text"])
def test_a_path_in_the_network_is_found(place):
    [fault] = found_in(PLACES[place](r"\\nas\ada"))
    assert r"\\nas\ada, which is of your own machine" in fault


HARMLESS = [
    r"print('loss at t:\nfoo')", r"r'(?i:\w+)'", r"plt.title(r'$f:\mathbb{R}\to x$')", r"'\\Delta\\eta'", "x[a:b]",
    "'https://example.org/home/x'", "f'{folder}/scratch/x'", "{x:3}", "token = 'unknown'", "secret_of_all = 'none'",
    "tokens['the_end_of_a_long_sentence']", "5 / u / p", "sha = '0123456789abcdef0123456789abcdef01234567'",
]  # fmt: skip


@pytest.mark.parametrize("source", HARMLESS)
def test_other_sources_are_not_accused(source):
    assert found_in(new_code_cell(source)) == []


TOKENS = {
    "GitHub": "gh" + "p_" + 36 * "a", "GitHub, new": "github" + "_pat_" + 30 * "a",
    "Hugging Face": "hf" + "_" + 34 * "a",
    "OpenAI": "sk" + "-proj-" + 40 * "a", "Anthropic": "sk" + "-ant-" + 40 * "a", "AWS": "AK" + "IA" + 16 * "A",
    "Google": "AI" + "za" + 35 * "a", "GitLab": "glpat" + "-" + 20 * "a", "Slack": "xox" + "b-" + 12 * "1",
    "W&B": "wandb.login(key='" + 20 * "a1" + "')", "W&B, set": "WANDB_API_KEY=" + 20 * "a1",
    "Kaggle": '"kaggle": "' + 16 * "a1" + '"', "key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "an address": "https://ada:" + "geheim@example.org", "any": "api_key = '" + 10 * "a1" + "'",
}  # fmt: skip


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("place", ["text", "metadata", "table"])
def test_a_token_is_found_and_not_shown(token, place):
    [fault] = found_in(PLACES[place](token))
    assert "access token" in fault and token[:20] not in fault


def test_cells_are_named(bundle):
    path = f"\n\nas in {HOME} and elsewhere"
    edited(lambda given: given["cells"].insert(1, new_markdown_cell(f"## A long heading{path}")))(bundle)
    edited(lambda given: given["metadata"].update(kernelspec={"name": "x", "display_name": f"in {HOME}/venv"}))(bundle)
    faults = find_faults(ASSIGNMENTS["1"], bundle)
    assert 'the text cell "## A long heading' in faults[0] and "it has in its metadata" in faults[1]


def test_what_other_files_hold_is_found(bundle, command):
    write(bundle / "mine.py", f"KEY = '{TOKENS['GitHub']}'\nprint('step t:\\nloss')\n")
    write(bundle / "notebooks" / "own.py", f"DATA = '{HOME}'\n")
    said = command("check", "1")[1]
    assert "mine.py has in it ghp_aa..., which" in said and f"notebooks/own.py has in it {HOME}, which" in said
    assert said.count("\n- ") == 2


SHEET_3 = {
    "no movie": (lambda gifs: movie_in(gifs).unlink(), "1 of 84 movies are missing .* he_raw_none_bn-none.gif"),
    "half a movie": (lambda gifs: movie_in(gifs).write_bytes(movie_in(gifs).read_bytes()[:60]), "1 of 84 movies"),
    "frames": (lambda gifs: Image.new("L", (2, 2)).save(movie_in(gifs)), "1 of 84 movies .* frames"),
    "no page": (lambda gifs: (gifs / "index.html").unlink(), "gifs/index.html is missing: run 04"),
    "no findings": (lambda gifs: (gifs / "findings.txt").unlink(), "findings.txt is missing"),
    "one finding": (lambda gifs: write_findings(gifs, "1. Odd. Why. So.\n2. Odd.\n"), "a reason for 1 of"),
    "decimals": (lambda gifs: write_findings(gifs, "1. Odd. Why. It is\n0.52 because of x.\n"), "a reason for 1 of"),
    "names": (lambda gifs: write(gifs / "findings.txt", FINDINGS), "does not show group and names"),
    "stray": (lambda gifs: write(gifs / "exam.txt"), "gifs/ holds exam.txt, which is no part of the sheet"),
    "stray movie": (lambda gifs: movie_in(gifs).with_name("own.gif").touch(), "gifs/ holds own.gif, which"),
    "stray link": (lambda gifs: (gifs / "all").symlink_to(gifs.parent / "helpers"), "gifs/ holds all, which"),
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


def test_only_what_belongs_to_a_sheet_is_packed_and_no_link(bundle, movies, command):
    for name in ("gifs/exam.txt", "gifs/own.gif", "helpers/exam.pdf", "benchmarks/cases.zip"):
        write(bundle / name)
    elsewhere = bundle.parent / "exam.gif"
    movie_in(movies).rename(elsewhere)
    movie_in(movies).symlink_to(elsewhere)
    (bundle / "runs" / "kept" / "03-study").symlink_to(bundle / "runs" / "kept" / "01-study")
    said = command("pack", "3", "--anyway")[1]
    assert f"gifs/{movie_in(movies).name} is a link" in said and "runs/kept/03-study/v1.jsonl is a link" in said
    [path] = (bundle / "handin").glob("*.zip")
    packed = [name.partition("/")[2] for name in names_in(path)]
    assert not [name for name in packed if "exam" in name or "own" in name or "cases" in name or "03-study" in name]
    assert len([name for name in packed if name.startswith("gifs/")]) == 83 + 2


# ---- the page


def page_with(bundle, *sources, **attachments):
    """Return the page of the first notebook with text cells added, and what is wrong with it."""
    cells = [new_markdown_cell(source, attachments=attachments) for source in sources]
    edited(lambda given: given["cells"].extend(cells))(bundle)
    page = make_page(path_of(bundle), bundle)
    return page.content.decode(), page


def test_a_folded_cell_is_folded_in_the_page_and_shows_its_output(bundle):
    fold = {"jupyter": {"source_hidden": True}}
    edited(lambda given: given["cells"][1]["metadata"].update(fold))(bundle)
    page = page_with(bundle)[0]
    assert "describe" not in page and SIGNATURE in page


PICTURES = {
    "Markdown": "![of mine](my%20pic.png)", "angle brackets": "![x](<my pic.png>)",
    "a title": '![](my%20pic.png "mine")',
    "reference": "![mine][a]\n\n[a]: my%20pic.png", "HTML": '<img src="my pic.png" width=3>',
    "HTML inside a text": "see <img alt='' src='my%20pic.png'/> here", "capitals": '<IMG SRC="./my pic.png">',
    "a folder above": "![](../notebooks/my%20pic.png)", "in a link": "[![](my%20pic.png)](https://example.org)",
}  # fmt: skip


@pytest.mark.parametrize("source", PICTURES.values(), ids=PICTURES)
def test_pictures_beside_a_notebook_are_in_page_and_zip(source, bundle):
    (bundle / "notebooks" / "my pic.png").write_bytes(base64.b64decode(PIXEL))
    content, page = page_with(bundle, source)
    assert content.count(f"data:image/png;base64,{PIXEL}") == 2 and page.faults == []  # one is of a code cell
    files, faults = submission.collect_files(ASSIGNMENTS["1"], bundle)
    assert "notebooks/my pic.png" in files and faults == []


def test_pictures_in_outputs_and_their_movies_are_in_the_page(bundle):
    (bundle / "notebooks" / "a.mp4").write_bytes(b"movie")
    with_cell(new_output("display_data", {"text/html": "<video src='a.mp4'></video>"}))(bundle)
    assert "data:video/mp4;base64,bW92aWU=" in page_with(bundle)[0]


@pytest.mark.parametrize("source", ["![](no.png)", "<img src='no.png'>", "![](../../no.png)", "<img src='//[no.png'>"])
def test_a_picture_that_is_not_in_the_bundle_is_named(source, bundle):
    write(bundle.parent / "no.png")
    page = page_with(bundle, "# Here\n\n" + source)[1]
    [fault] = page.faults
    assert re.match(r'the text cell "# Here .*no.png.*" shows ".*no.png", which is not there: put', fault)
    assert page.files == []


@pytest.mark.parametrize("source", ["![x](attachment:my%20pic.png)", '<img src="attachment:my pic.png">'])
def test_attachments_are_in_the_page_and_one_that_is_missing_is_named(source, bundle, command):
    attachment = {"my pic.png": {"image/png": PIXEL}}
    content, page = page_with(bundle, source, **attachment)
    assert content.count(f"data:image/png;base64,{PIXEL}") == 2 and page.faults == []
    edited(lambda given: given["cells"][-1].pop("attachments"))(bundle)
    status, said = command("pack", "1", "--anyway")
    assert status == 1 and re.search(r'the text cell ".*" shows "attachment:my.*pic.png", which is not there', said)
    assert len(zips_in(bundle / "handin")) == 1


FROM_THE_NETWORK = re.compile(
    r"<(?:script|link)\b[^>]*|https?://[^\s\"'<>]*\.m?(?:js|css)\b|(?i:mathjax|require\.js|cdnjs)"
)


@pytest.mark.parametrize("path", sorted((session.ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_of_a_notebook_becomes_mathml(path):
    sources = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    small = new_notebook(cells=[new_markdown_cell(re.sub(r"!\[.*?\]\(.*?\)", "", source)) for source in sources])
    text = handin_notebook.to_html(small, path.stem)
    assert 'class="formula"' not in text and not FROM_THE_NETWORK.search(text)
    formulas = [
        formula for source in sources for formula in re.findall(r"\$\$?[^$]+\$", re.sub(r"`[^`]*`", "", source))
    ]
    assert text.count("<math") == len(formulas)


def test_the_page_needs_no_network(bundle):
    latex = new_output("display_data", {"text/latex": "$\\displaystyle a^2$", "text/plain": ""})
    with_cell(latex, new_output("display_data", WIDGET))(bundle)
    edited(lambda given: given["metadata"].update(widgets={}))(bundle)
    content = page_with(
        bundle, "$\\ln 10$ and\n\n$$\\begin{aligned}a &= b\\\\c &< d\\end{aligned}$$\n\n```mermaid\ngraph\n```"
    )[0]
    assert content.count("<math") == 3 and "$" not in content and not FROM_THE_NETWORK.search(content)


@pytest.mark.parametrize("formula", [r"\frac{a}{", r"\unknown{x}", r"a & b", r"\text{a<b}", r"x_1_2"])
def test_a_formula_that_cannot_be_read_is_named_and_shown_as_it_is(formula, bundle):
    content, page = page_with(bundle, f"# Here\n\n${formula}$")
    [fault] = page.faults
    assert "has a formula that cannot be read" in fault and formula in fault
    assert '<code class="formula">' in content


LOADING = [
    '<script src="https://cdn.example.org/x"></script>', "<script>load(\"https://example.org/x.min.js\")</script>",
    '<link rel="stylesheet" href="//example.org/x.css">',
]  # fmt: skip


@pytest.mark.parametrize("shown", LOADING)
def test_what_loads_programs_from_the_network_is_named(shown, bundle):
    with_cell(new_output("display_data", {"text/html": shown}))(bundle)
    [fault] = page_with(bundle)[1].faults
    assert "code cell 5 loads" in fault


# ---- notebooks of all kinds

SURROGATE = "\ud800"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8)
    | st.sampled_from([SURROGATE, "$a", "$$\\begin{a}", "![](a\x00b)", "![](attachment:a)", "<img src='//['>", "\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places_in(value, path=()):
    """Yield the path to everything in a value from JSON."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places_in(inner, (*path, key))


WHOLE = json.loads(nbformat.writes(notebook()))
RELATIVE = ("cells", 2, "source"), "from . import mine"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*places_in(WHOLE)]), JSON)
@example(*RELATIVE)
@example(("cells", 2, "source"), f"x = '{SURROGATE}'")
@example(("cells", 0, "source"), f"# {SURROGATE} ![](a{SURROGATE}.png)")
@example(("metadata", "colab"), None)
@example(("cells", 3, "outputs", 0, "data", "text/html"), [SURROGATE])
def test_any_json_in_a_notebook_is_answered_in_sentences(bundle, place, value):
    given = json.loads(json.dumps(WHOLE))
    inner = given
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path_of(bundle).write_text(json.dumps(given), encoding="utf-8")
    faults = find_faults(ASSIGNMENTS["1"], bundle)
    files, others = submission.collect_files(ASSIGNMENTS["1"], bundle)
    assert all(fault.endswith(".") for fault in [*faults, *others])
    assert place != ("cells", 2, "source") or SURROGATE not in str(value) or "half a character" in str(faults)
    [*submission.in_folder("a", files, [*faults, *others])]


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
    monkeypatch.setattr(submission, "make_page", lambda path, root: handin_notebook.Page(b"page"))
    files, faults = submission.collect_files(assignment, session.ROOT)
    assert faults == []
    name = f"{assignment.title.replace(' ', '-')}_{80 * 'a'}_NOT-IN-ORDER"
    in_folder = submission.in_folder(name, files, ["a fault."])
    assert max(map(len, in_folder)) <= 80 and all(re.match(r"(\w|-)+_a+/", path) for path in in_folder)
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
    page = page_with(bundle)[0]
    assert f"data:image/gif;base64,{movie}" in page and "data:image/png;base64," in page


@pytest.mark.filterwarnings("ignore:Cell is missing an id")
def test_the_same_content_gives_the_same_bytes(bundle, command, tmp_path):
    edited(lambda given: [one.pop("id") for one in given["cells"]])(bundle)  # nbformat draws them at random
    for to in ("a", "b"):
        assert command("pack", "1", "--to", tmp_path / to)[0] == 0
    assert zips_in(tmp_path / "a") == zips_in(tmp_path / "b") != {}


def large_files(root, count=4):
    """Write files of 0.3 MB that cannot be compressed, each to be in a part of its own at a limit of 0.5 MB."""
    for number in range(count):
        (root / "runs" / "kept" / "01-study" / f"{number}.bin").write_bytes(os.urandom(300_000))


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
    large_files(bundle)  # others, so that a part of the new packing would be seen

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
    [left] = (bundle / "handin").glob(".packing-*")
    monkeypatch.undo()
    monkeypatch.setattr(session, "ROOT", bundle)
    (bundle / "group.json").unlink()
    assert f"Removed handin/{left.name}" in command("pack", "1")[1]  # also where nothing is packed
    assert zips_in(bundle / "handin") == before and not left.exists()


def test_a_kill_between_two_parts_is_made_good(bundle, command, monkeypatch, tmp_path):
    large_files(bundle)
    command("pack", "1", "--limit", "0.5")
    large_files(bundle)
    command("pack", "1", "--limit", "0.5", "--to", tmp_path / "whole")
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, to: os._exit(9) if "_2-of-" in path.name else replace(path, to))
    if (child := os.fork()) == 0:
        command("pack", "1", "--limit", "0.5")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    monkeypatch.setattr(Path, "replace", replace)
    (bundle / "group.json").unlink()
    assert "Nothing was written" in command("pack", "1")[1]
    assert zips_in(bundle / "handin") == zips_in(tmp_path / "whole")


def test_what_another_run_is_at_is_not_cleared(bundle, command):
    write(bundle / "handin" / f".packing-{psutil.Process().ppid()}-x" / "part")
    write(bundle / "handin" / ".packing-of-old" / "part")
    command("pack", "1")
    [left] = (bundle / "handin").glob(".packing-*")
    assert left.name.endswith("-x")


def test_a_path_that_is_too_long_is_said(bundle, command):
    write(bundle / "runs" / "kept" / "01-study" / (60 * "a"))
    said = command("check", "1")[1]
    assert "of which 64 open everywhere: shorten it." in said


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
