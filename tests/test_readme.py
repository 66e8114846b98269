"""README and docs/: short, their links lead somewhere, their commands run, their numbers come from a measurement."""

import json
import re
import shlex
import sys
from pathlib import Path

import joblib
import pytest
import torch
from torch import nn

from docs.pictures.extract import marked_figures
from doctor.__main__ import main
from helpers import session

ROOT = session.ROOT
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}
README = PAGES["README.md"]
CI = "\n".join((ROOT / ".ci" / name).read_text(encoding="utf-8") for name in ("run", "floors", "gpu"))
BENCHMARKS = {path: path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.md")}

BLOCK = re.compile(r"(?ms)^( *)```(\w+)\n(.*?)^\1```$")
BLOCKS = [(page, language, text) for page, whole in PAGES.items() for _, language, text in BLOCK.findall(whole)]
COMMAND = re.compile(r"`((?:python3?|pip|jupyter|pytest|tensorboard|source)\b[^`\n]*)`")
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"

# What neither a test nor .ci runs as it stands here, and why.
NOT_RUN = {
    "Set-ExecutionPolicy -Scope Process RemoteSigned": "PowerShell alone knows it",
    r".venv\Scripts\Activate.ps1": "PowerShell alone knows it",
    "python -m venv .venv": "on Windows; elsewhere it is python3, which .ci/run takes",
    "$env:QUICK = 1": "PowerShell; .ci/run sets the variable its own way",
    "Remove-Item Env:QUICK": "PowerShell alone knows it",
    "tensorboard --logdir runs": "a server that runs until it is stopped; tests/test_logbook.py reads what it reads",
    "tensorboard --logdir runs/kept": "the same",
    "pip install .": "it would install into this environment; tests/test_doctor.py looks at what it would install",
    "python docs/badges.py": "it writes into notebooks/; tests/test_badges.py runs what it runs",
    "python docs/pictures/extract.py": "it writes into docs/; a test below compares what it would write",
}


def outputs(notebook: Path) -> str:
    """Return the text that the saved cells of a notebook have put out."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    found = [output for cell in cells for output in cell.get("outputs", [])]
    return "\n".join("".join(o.get("text", "")) + "".join(o.get("data", {}).get("text/plain", "")) for o in found)


def missing(told: str, source: str) -> list[str]:
    """Return the numbers of a text that its source does not have."""
    return [n for n in re.findall(NUMBER, told) if not re.search(rf"(?<![\d.]){re.escape(n)}(?!\.?\d)", source)]


def rows(text: str) -> list[list[str]]:
    """Return the cells of each table row that has a link in it."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|") and "](" in line]


def shell_commands() -> set[str]:
    """Return each command of the pages: lines of shell blocks, and what stands between backticks in a text."""
    lines = [line for _, language, text in BLOCKS if language in ("sh", "powershell") for line in text.splitlines()]
    inline = [command for whole in PAGES.values() for command in COMMAND.findall(BLOCK.sub("", whole))]
    return {re.sub(r"\s+# .*", "", line).strip() for line in lines + inline}


def test_the_readme_is_a_front_door():
    assert len(README.split()) <= 900
    assert len(re.findall(r"!\[", README)) == 1
    assert set(re.findall(r"\]\((docs/\w+\.md)\)", README)) == PAGES.keys() - {"README.md"}


def test_the_table_has_a_finding_of_each_notebook_with_its_number():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    table = [row for row in rows(README) if "(notebooks/" in row[0]]
    assert [re.search(r"\((.*)\)", row[0])[1] for row in table] == [f"notebooks/{path.name}" for path in notebooks]
    for path, (_, _, finding) in zip(notebooks, table, strict=True):
        finding = re.sub(r"\(\[.*?\)\)", "", finding)
        assert re.search(NUMBER, finding), path.name
        assert missing(finding, outputs(path)) == [], path.name


def test_links_lead_to_files():
    for path in PATHS:
        links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
        gone = [link for link in links if not link.startswith("http") and not (path.parent / link).exists()]
        assert gone == [], path.name


def test_pictures_are_those_of_the_notebooks():
    marked = dict(marked_figures())
    shown = {
        (ROOT / page).parent / name for page, text in PAGES.items() for name in re.findall(r"!\[.*?\]\((.*?)\)", text)
    }
    assert marked.keys() == {path for path in shown if path.name != "gallery.png" and path.suffix == ".png"}
    assert [path.name for path, content in marked.items() if path.read_bytes() != content] == []
    others = {path for path in (ROOT / "docs" / "pictures").glob("*.png") if path not in shown}
    assert {path.name for path in others if not path.name.startswith("tensorboard")} == set()  # notebooks show those


def test_benchmarks_have_their_command_and_figures_in_their_table():
    page = PAGES["docs/benchmarks.md"]
    for _, command, says, table in rows(page):
        source = BENCHMARKS[ROOT / "benchmarks" / re.search(r"benchmarks/(\w+\.md)\)", table)[1]]
        assert command in source
        assert missing(says, source) == [], command
    own = {path.name for path, text in BENCHMARKS.items() if "`python -m benchmarks." in text}
    assert {name for name in own if f"benchmarks/{name}" not in page} == set()


def test_percentages_of_the_docs_come_from_a_measurement():
    measured = "\n".join([*BENCHMARKS.values(), *map(outputs, (ROOT / "notebooks").glob("*.ipynb"))])
    for page, text in PAGES.items():
        told = re.findall(rf"{NUMBER}(?= ?%| to {NUMBER} %| of {NUMBER}\b)", text)
        assert missing(" ".join(told), measured) == [], page


def test_every_command_is_run_by_a_test_or_by_ci():
    assert {language for _, language, _ in BLOCKS} <= {"sh", "powershell", "python", "text"}
    tables = "\n".join(BENCHMARKS.values())
    for command in shell_commands() - NOT_RUN.keys():
        in_ci = re.search(rf"(?m)(?:^|[ (]){re.escape(command)}(?=$|[ );])", CI)
        measured = f"`{command}`" in tables  # a benchmark takes up to hours: its table says that it was run
        assert in_ci or measured or command in DOCTOR_COMMANDS, command
    assert NOT_RUN.keys() <= shell_commands()


DOCTOR_COMMANDS = sorted(command for command in shell_commands() if command.startswith("python -m doctor "))
TRAIN = """
import sys
from torch import nn, optim, randn

assert sys.argv[1:] == ["--epochs", "1"]
model = nn.Linear(20, 3)
optimizer = optim.SGD(model.parameters(), lr=0.1)
for inputs in randn(250, 32, 20):
    nn.functional.cross_entropy(model(inputs), inputs[:, :3].argmax(dim=1)).backward()
    optimizer.step()
"""


@pytest.mark.parametrize("command", DOCTOR_COMMANDS)
def test_a_script_is_watched_as_the_page_says(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "train.py").write_text(TRAIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(command)[2:])
    monkeypatch.setattr(sys, "path", list(sys.path))
    main()
    assert "1. gradients-not-zeroed" in capsys.readouterr().err
    assert (tmp_path / "report.html").exists() == ("--html report.html" in command)


@pytest.fixture
def run_example(tmp_path, monkeypatch, capsys):
    """Return a function that runs an example with the names that it calls yours; it returns what is printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "folder", lambda name: tmp_path / name)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs = torch.randn(400, 20)
    targets = inputs[:, :3].argmax(1)
    yours = {"model": model, "loss_fn": nn.CrossEntropyLoss(), "data": (inputs, targets, inputs[:200], targets[:200])}
    yours |= {"optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    yours |= {"batches": list(zip(inputs.split(50), targets.split(50), strict=True))}

    def run(text: str) -> str:
        with joblib.parallel_config(n_jobs=1):
            exec(text, yours)
        return capsys.readouterr().out

    return run


DOCS_EXAMPLES = [(page, text) for page, language, text in BLOCKS if language == "python" and page != "README.md"]


@pytest.mark.parametrize(("page", "example"), DOCS_EXAMPLES)
def test_examples_run(page, example, run_example, tmp_path):
    assert run_example(example) or (tmp_path / "training.gif").stat().st_size > 1000


def test_the_readme_shows_the_report_of_its_ten_lines(run_example):
    example, shown = (text for page, language, text in BLOCKS if page == "README.md" and language in ("python", "text"))
    beginning, dots, rest = re.sub(r"\d+\.\d+", "#", shown).partition("...\n")
    assert dots and not rest
    assert re.sub(r"\d+\.\d+", "#", run_example(example)).startswith(beginning)
    assert len([line for line in example.splitlines() if line]) <= 10
