"""A run knows where it writes and says what it is."""

import json
from pathlib import Path

import pytest
import torch

from helpers import session


@pytest.fixture(autouse=True)
def _real_run(monkeypatch):
    monkeypatch.setattr(session, "QUICK", False)
    monkeypatch.setattr(session, "caveats", [])


def test_a_run_with_caveats_has_folders_of_its_own():
    assert session.folder("runs") == session.ROOT / "runs"
    for caveat in ("stand-in MNIST", "quick run", "stand-in MNIST"):
        session.add_caveat(caveat)
    assert session.caveats == ["stand-in MNIST", "quick run"]
    assert session.folder("gifs") == session.ROOT / "provisional" / "quick-run+stand-in-MNIST" / "gifs"


def test_pick(monkeypatch):
    assert (session.pick(3, 1), session.pick(3, 1, kept=True)) == (3, 3)
    session.add_caveat("stand-in MNIST")
    assert (session.pick(3, 1), session.pick(3, 1, kept=True)) == (3, 1)
    monkeypatch.setattr(session, "QUICK", True)
    assert (session.pick(3, 1), session.pick(3, 1, kept=True)) == (1, 1)


def test_paths_are_shown_from_the_root_on(tmp_path):
    assert session.shown(session.ROOT / "data" / "MNIST") == "data/MNIST"
    assert session.shown(tmp_path / "data") == f"{tmp_path.as_posix()}/data"
    assert session.shown(Path("data")) == "data"


def test_device_is_there():
    assert torch.zeros(1, device=session.device()).item() == 0


def test_describe_names_the_group_and_the_versions(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(session, "ROOT", tmp_path)
    file = tmp_path / "group.json"
    file.write_text(json.dumps({"group": "7", "names": ["Ada", "Karl"]}))
    session.describe()
    assert capsys.readouterr().out.startswith("group: 7   names: Ada, Karl   (from group.json)\nPython 3.")
    file.write_text(json.dumps({"group": "", "names": []}))
    monkeypatch.setattr(session, "QUICK", True)
    session.describe()
    printed = capsys.readouterr().out
    assert printed.startswith("group: not filled in yet   names: not filled in yet") and torch.__version__ in printed
    assert 'QUICK=1: a short smoke run. Its numbers mean nothing; it writes to "provisional/".' in printed


@pytest.mark.parametrize("text", [None, "{", "{}", "[]"])
def test_unreadable_group_is_an_error_that_says_what_to_do(text, monkeypatch, tmp_path):
    monkeypatch.setattr(session, "ROOT", tmp_path)
    if text is not None:
        (tmp_path / "group.json").write_text(text)
    with pytest.raises(ValueError, match="at the root should read"):
        session.describe()
