"""A progress bar leaves one clean line, wherever it is shown and however the notebook was run."""

import io
import re
import subprocess
import sys

import joblib
import nbformat
import pytest
from nbclient import NotebookClient

from helpers import session
from helpers.progress import progress

CELL = f"""
import sys, time
sys.path.insert(0, {str(session.ROOT)!r})
from helpers.progress import progress
for _ in progress(range(4), desc="iterated"):
    time.sleep(0.3)
with progress(total=9, initial=5, desc="counted") as bar:
    for _ in range(2):
        bar.update(2)
"""


def execute(notebook, folder, way):
    if way == "nbclient":
        return NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(folder)}}).execute()
    path = folder / "bars.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--execute", "--inplace", "--to=notebook"]
    subprocess.run([*command, f"--config={session.ROOT / 'headless.py'}", path], check=True)
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("way", ["nbclient", "headless"])
def test_notebook_holds_one_line_for_each_bar(way, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    outputs = execute(notebook, tmp_path, way).cells[0].outputs
    assert [output.output_type for output in outputs] == ["display_data"] * 2
    iterated, counted = (output.data["text/plain"] for output in outputs)
    assert iterated.startswith("iterated: 100%") and re.search(r"4/4 \[00:\d\d<00:00", iterated)
    assert counted.startswith("counted: 100%") and "9/9" in counted
    assert all(len(output.data) == 1 and "\n" not in output.data["text/plain"] for output in outputs)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_terminal_shows_every_state_and_a_log_file_the_last():
    shown = {}
    for file in (Terminal(), io.StringIO()):
        for _ in progress(range(3), desc="bar", file=file, mininterval=0):
            pass
        shown[type(file)] = file.getvalue()
    assert all(f"{n}/3" in shown[Terminal] for n in range(4))
    assert shown[io.StringIO].strip().startswith("bar: 100%") and shown[io.StringIO].count("\r") == 1


def test_workers_show_nothing(capfd):
    def work():
        return sum(progress(range(3)))

    assert joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(work)() for _ in range(2)) == [3, 3]
    assert "it/s" not in capfd.readouterr().err
