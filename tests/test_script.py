"""`python -m doctor script.py`: an unedited script is watched, and stays what it was."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from doctor.__main__ import main
from doctor.calls import BACKWARD, LOSSES, TENSOR_BACKWARD

ROOT = Path(__file__).parents[1]
SCRIPT = """
import sys
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 8)
y = (x[:, :1] > 0).float()
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1){end})
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
loss_fn = nn.BCEWithLogitsLoss()
for step in range(int(sys.argv[1])):
    optimizer.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    optimizer.step()
    if step == 140:
        {at_140}
print(loss.item())
sys.exit(3)
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs a script under the doctor: its exit code, stdout and stderr."""

    def run(text: str, *options: str, arguments=("150",)):
        path = tmp_path / "train.py"
        path.write_text(text)
        monkeypatch.setattr(sys, "argv", ["doctor", *options, str(path), *arguments])
        monkeypatch.setattr(sys, "path", list(sys.path))
        for heard in (BACKWARD, TENSOR_BACKWARD, LOSSES):  # by watches that other tests have left open
            [heard.ignore(listener) for listener in list(heard.listeners)]
        before, init = torch.autograd.backward, torch.optim.Optimizer.__init__
        with pytest.raises((SystemExit, KeyboardInterrupt)) as end:
            main()
        assert (torch.autograd.backward, torch.optim.Optimizer.__init__) == (before, init)  # torch is as it was
        assert not hasattr(functional.mse_loss, "__wrapped__") and not hasattr(torch.Tensor.backward, "__wrapped__")
        return getattr(end.value, "code", None), *capsys.readouterr()

    return run


def script(end: str = "", at_140: str = "pass") -> str:
    return SCRIPT.format(end=end, at_140=at_140)


def test_the_cause_is_named_and_the_script_stays_what_it_was(run, tmp_path):
    code, out, err = run(script(", nn.Sigmoid()"), "--html", str(tmp_path / "report.html"))
    assert "1. sigmoid-before-loss" in err and "Sequential, 150 steps" in err
    assert "sigmoid-before-loss" in (tmp_path / "report.html").read_text()
    alone = subprocess.run([sys.executable, tmp_path / "train.py", "150"], capture_output=True, text=True)
    assert (code, out) == (alone.returncode, alone.stdout) and code == 3


def test_a_sound_script_has_no_finding(run):
    assert "\nNo finding." in run(script())[2]


def test_it_reports_when_asked_and_lets_the_script_go_on(run):
    code, out, err = run(script(), "--steps", "20", "--every", "4")
    assert code == 3 and float(out) and err.count("==== doctor") == 1 and "20 steps" in err


def test_it_reports_when_the_script_is_interrupted(run):
    code, out, err = run(script(at_140="raise KeyboardInterrupt"))
    assert code is None and not out and "141 steps" in err


def test_models_that_are_trained_apart_get_a_report_each(run):
    second = (
        "\nfor model in (nn.Linear(8, 1), nn.Linear(8, 1)):\n    optimizer = torch.optim.SGD(model.parameters(), 0.1)\n"
    )
    second += "    loss_fn(model(x), y).backward()\n    optimizer.step()\nsys.exit(3)"
    err = run(script().replace("sys.exit(3)", second))[2]
    assert err.count("==== doctor") == 3


def test_a_script_that_trains_nothing(run):
    assert "no model was trained" in run("raise SystemExit")[2]
