"""The README's main command, as a quick run of each notebook in a copy of the project without data or network."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from helpers import session

COMMAND = "--config headless.py --to notebook --execute --output-dir executed notebooks/*.ipynb"
NOTEBOOKS = [
    pytest.param(path, marks=() if path.stem.startswith("03") else pytest.mark.slow)
    for path in sorted((session.ROOT / "notebooks").glob("*.ipynb"))
]


def test_the_readme_and_ci_use_the_command_tested_here():
    for file in ("README.md", ".ci/run"):
        assert f"jupyter nbconvert {COMMAND}" in (session.ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("told", ["!!! A SAMPLE of real images, shifted, stands for MNIST", "all data are there"])
def test_at_its_end_the_terminal_says_whether_numbers_count(told, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"print({told!r})")])
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "01_a.ipynb")
    shutil.copy(session.ROOT / "headless.py", tmp_path)
    command = [sys.executable, "-m", "jupyter", "nbconvert", *COMMAND.split()]
    result = subprocess.run(command, cwd=tmp_path, check=True, timeout=240, capture_output=True, text=True)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("No number counts of 01_a, run on the sample") == told.startswith("!!!")


@pytest.fixture
def project(request, tmp_path):
    """Run the command in a copy that holds a single notebook; nbconvert itself expands the pattern, as on Windows."""
    folder = tmp_path / "a clone, Übung 1"
    for name in ("helpers", "doctor", "benchmarks", "data/sample"):
        shutil.copytree(session.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "notebooks").mkdir()
    shutil.copy(request.param, folder / "notebooks")
    for name in ("headless.py", "group.json"):
        shutil.copy(session.ROOT / name, folder / name)
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9") | {"no_proxy": ""}
    nowhere |= {name.upper(): value for name, value in nowhere.items()}
    command = [sys.executable, "-m", "jupyter", "nbconvert", *COMMAND.split()]
    subprocess.run(command, cwd=folder, env=os.environ | nowhere | {"QUICK": "1"}, check=True, timeout=240)
    return folder


@pytest.mark.parametrize("project", NOTEBOOKS, ids=lambda path: path.stem, indirect=True)
def test_notebook_runs_without_data(project):
    [path] = (project / "executed").glob("*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    texts = ["".join(output.get("text", "")) for output in outputs]
    assert "QUICK=1" in "".join(texts)
    told = re.findall(r"!!! A SAMPLE of real images, shifted, stands for (\w+)", "".join(texts))
    assert told and len(told) == len(set(told))  # by no worker again
    assert f"not judged (quick run, sample {told[0]}" in "".join(texts)

    # The outputs are clean: no warning, one line for each progress bar, no time stamp.
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not [text for text in texts if "\r" in text]
    assert not [cell for cell in cells if "execution" in cell["metadata"]]

    # It touches no file of a real run, and what it writes has a folder of its own.
    assert (project / "provisional" / f"quick-run+sample-{told[0]}").is_dir()
    assert {entry.name for entry in project.iterdir() if entry.is_dir()} <= {
        "benchmarks", "doctor", "helpers", "notebooks", "executed", "provisional", "data",
    }  # fmt: skip
