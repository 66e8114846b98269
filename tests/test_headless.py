"""The README's main command as a quick run, in a copy of the project without data and without a network.

For time's sake two of these run side by side, of the notebooks with odd and with even numbers.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from helpers import session

COMMAND = "--config headless.py --to notebook --execute --output-dir executed notebooks/*.ipynb"
HALVES = ("notebooks/?[13579]_*.ipynb", "notebooks/?[02468]_*.ipynb")


def test_the_readme_and_ci_use_the_command_tested_here():
    for file in ("README.md", ".ci/run"):
        assert f"jupyter nbconvert {COMMAND}" in (session.ROOT / file).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Run the command; return the folder of the copy. nbconvert itself expands the patterns, as on Windows."""
    folder = tmp_path_factory.mktemp("a clone")
    for name in ("helpers", "notebooks"):
        shutil.copytree(session.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("headless.py", "group.json"):
        shutil.copy(session.ROOT / name, folder / name)
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9") | {"no_proxy": ""}
    nowhere |= {name.upper(): value for name, value in nowhere.items()}
    command = [sys.executable, "-m", "jupyter", "nbconvert", *COMMAND.split()[:-1]]
    environment = os.environ | nowhere | {"QUICK": "1"}
    halves = [subprocess.Popen([*command, half], cwd=folder, env=environment) for half in HALVES]
    try:
        assert [half.wait(timeout=240) for half in halves] == [0, 0]
    finally:
        for half in halves:
            half.kill()
    return folder


def outputs(folder):
    """Return {notebook: the outputs of its cells}."""
    return {
        path.name: [
            output
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
            for output in cell.get("outputs", [])
        ]
        for path in (folder / "executed").glob("*.ipynb")
    }


def test_every_notebook_runs_without_data_and_says_so(project):
    executed = outputs(project)
    assert set(executed) == {path.name for path in (project / "notebooks").glob("*.ipynb")}
    for of_notebook in executed.values():
        text = "".join("".join(output.get("text", "")) for output in of_notebook)
        assert "QUICK=1" in text
        told = re.findall(r"!!! A GENERATED STAND-IN, its numbers say nothing about (\w+)", text)
        assert told and len(told) == len(set(told))  # by no worker again
        assert f"not judged (quick run, stand-in {told[0]}" in text


def test_outputs_are_clean(project):
    for of_notebook in outputs(project).values():
        assert not [output for output in of_notebook if output.get("name") == "stderr"]
        assert not [output for output in of_notebook if "\r" in "".join(output.get("text", ""))]
    for path in (project / "executed").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not [cell for cell in cells if "execution" in cell["metadata"]]  # time stamps


def test_a_quick_run_touches_no_file_of_a_real_one(project):
    assert not (project / "runs").exists()
    assert (project / "provisional" / "quick-run+stand-in-MNIST" / "runs").is_dir()
