"""Notebook 01 keeps to the assignment: everything by hand before the reflection."""

import json

from helpers import session

FORBIDDEN = ("torch.nn", "nn.", "import nn", "torch.optim", "optim.")


def test_nothing_of_torch_nn_before_the_reflection():
    cells = json.loads((session.ROOT / "notebooks" / "01_low_level_mlp.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    reflection = next(i for i, source in enumerate(sources) if "Reflection: what should be wrapped?" in source)
    code = [source for cell, source in zip(cells, sources, strict=True) if cell["cell_type"] == "code"]
    before = [s for cell, s in zip(cells[:reflection], sources, strict=False) if cell["cell_type"] == "code"]
    assert not [line for s in before for line in s.splitlines() if any(word in line for word in FORBIDDEN)]
    assert any("nn.Linear" in source for source in code[len(before) :])


def test_the_ensemble_is_by_hand_too():
    source = (session.ROOT / "helpers" / "ensemble.py").read_text(encoding="utf-8")
    assert not [word for word in ("torch.nn", "torch.optim", "autograd", ".backward()") if word in source]
