"""The README: its pictures are those of the saved notebooks, its links lead somewhere, its examples run."""

import re

import pytest
import torch
from torch import nn

from docs.pictures.extract import marked_figures
from helpers import session

README = (session.ROOT / "README.md").read_text(encoding="utf-8")


def test_pictures_are_those_of_the_notebooks_and_one_of_the_page():
    shown = set(re.findall(r"!\[.*?\]\((docs/pictures/.*?)\)", README))
    made = {path.relative_to(session.ROOT).as_posix(): content for path, content in marked_figures()}
    assert shown - set(made) == {"docs/pictures/gallery.png"}
    for name in shown & set(made):
        assert (session.ROOT / name).read_bytes() == made[name]


def test_links_lead_to_files():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert [link for link in links if not (session.ROOT / link).exists()] == []


def test_percentages_stand_in_the_notebook_of_their_line():
    for line in README.splitlines():
        for link in re.findall(r"\((notebooks/\w+\.ipynb)\)", line):
            text = (session.ROOT / link).read_text(encoding="utf-8")
            assert [n for n in re.findall(r"\d+\.\d+(?= ?%)", line) if n not in text] == []


EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["monitor", "checks", "doctor"])
def test_examples_run(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs = torch.randn(400, 20)
    targets = inputs[:, :3].argmax(1)
    yours = {"model": model, "loss_fn": nn.CrossEntropyLoss(), "data": (inputs, targets, inputs[:200], targets[:200])}
    yours |= {"optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    yours |= {"batches": list(zip(inputs.split(50), targets.split(50), strict=True))}
    exec(example, yours)
    assert capsys.readouterr().out or (tmp_path / "training.gif").stat().st_size > 1000
    assert len(example.splitlines()) <= 12
