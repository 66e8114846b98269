"""The saved notebooks as documents: what a grader sees who runs nothing."""

import json
import re

import pages
import pytest

from helpers import session

NOTEBOOKS = sorted((session.ROOT / "notebooks").glob("*.ipynb"))
CELLS, WORDS, PAGES = 45, 3500, 15  # of the main path, which ends before the appendix
PERCENT = re.compile(r"\d+\.\d+(?= ?%)")

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code_cells(path):
    return [cell for cell in read(path) if cell["cell_type"] == "code"]


def texts(path, start=""):
    """Return the Markdown cells that begin with `start`."""
    sources = ["".join(cell["source"]) for cell in read(path) if cell["cell_type"] == "markdown"]
    return [source for source in sources if source.startswith(start)]


def printed(path):
    """Return all text that the cells have put out."""
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    return "\n".join("".join(o.get("text", "")) + "".join(o.get("data", {}).get("text/plain", "")) for o in outputs)


def test_was_run_whole_and_in_order(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]


def test_holds_outputs_of_a_real_run(path):
    assert "source: torchvision" in printed(path)
    for sign in ("quick run", "QUICK=1", "!!! A SAMPLE", "not judged"):
        assert sign not in printed(path)
    assert not re.search(r"trials read from runs/(?!kept/)", printed(path))  # left by an earlier run


def test_every_claim_holds(path):
    lines = printed(path).splitlines()
    assert [line for line in lines if line.startswith("holds: ")]
    assert not [line for line in lines if line.startswith("FAILS: ")]
    assert "".join(code_cells(path)[-1]["source"]).strip() == "summary()"


@pytest.mark.skipif(
    not session.is_example(session.read_group(session.ROOT)[1]), reason="the outputs are of another run than the texts"
)
def test_percentages_in_the_texts_stand_in_an_output(path):
    outputs = printed(path)
    told = texts(path, "**Finding") + texts(path, "# ") + texts(path, '<a id="summary">')
    numbers = {number for text in told for number in PERCENT.findall(text)}
    assert numbers
    assert sorted(number for number in numbers if not re.search(rf"(?<!\d){number}(?!\d)", outputs)) == []


def test_shows_no_widget_and_no_path_of_a_machine(path):
    text = path.read_text(encoding="utf-8")
    assert "widget-view" not in text
    assert not re.search(r"(/home|/root|/tmp|/Users|C:\\\\)[/\\\\]\w", printed(path))


def test_is_small_and_its_cells_are_short(path):
    assert path.stat().st_size < 3e6
    long = [len(cell["source"]) for cell in code_cells(path) if len(cell["source"]) > 30]
    assert long == []


def test_main_path_is_read_in_a_quarter_of_an_hour(path):
    cells = pages.main_path(read(path))
    texts = [pages.source(cell) for cell in cells if pages.is_text(cell)]
    assert len(cells) - len(texts) <= CELLS
    assert sum(len(text.split()) for text in texts) <= WORDS
    assert pages.pages(cells) <= PAGES


def test_names_its_kernel_and_nothing_of_other_tools(path):
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert set(metadata) == {"kernelspec", "language_info"}


def test_begins_with_the_same_set_up_cell(path):
    first = code_cells(path)[0]
    assert first["source"] == code_cells(NOTEBOOKS[0])[0]["source"]
    assert first["metadata"] == {"cellView": "form", "jupyter": {"source_hidden": True}}  # folded: it is not the topic


def test_alone_in_an_empty_folder_it_says_what_to_do(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="The folder `helpers` is missing: put this notebook beside it"):
        exec("".join(code_cells(path)[0]["source"]), {})


def test_every_experiment_has_its_finding(path):
    questions = [text for text in texts(path) if "**Question.**" in text and "**Experiment.**" in text]
    assert len(texts(path, "**Finding")) >= len(questions) > 0
    assert all("**Hypothesis.**" in text or "**Expected" in text for text in questions)


def test_links_lead_to_a_section(path):
    source = "\n".join(texts(path))
    assert set(re.findall(r"\]\(#([\w-]+)\)", source)) <= set(re.findall(r'<a id="([\w-]+)">', source))
