"""A run knows where it writes and says what it is."""

import errno
import json
import os
import subprocess
import sys
import threading
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
    session.caveats += ["sample MNIST", "quick run"]
    assert session.folder("gifs") == session.ROOT / "provisional" / "quick-run+sample-MNIST" / "gifs"


def test_pick(monkeypatch):
    assert session.pick(3, 1) == 3
    monkeypatch.setattr(session, "QUICK", True)
    assert session.pick(3, 1) == 1


def test_results_lie_where_runs_says_and_other_seeds_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNS", str(tmp_path))
    assert session.folder("runs") == tmp_path and session.folder("gifs") == session.ROOT / "gifs"
    monkeypatch.setattr(session, "SEEDS_FROM", 1000)
    assert session.folder("runs") == tmp_path / "provisional" / "seeds-from-1000"
    assert session.folder("gifs") == session.ROOT / "provisional" / "seeds-from-1000" / "gifs"


def test_what_is_kept_is_read_on_the_sample_and_not_with_other_seeds(monkeypatch):
    committed = session.ROOT / "runs" / "kept" / "README.md"
    session.caveats.append("sample MNIST")
    assert session.kept_path("README.md") == committed
    monkeypatch.setattr(session, "KEPT_SEEDS_FROM", 1000)
    assert session.kept_path("README.md") != committed


def test_kept_studies_follow_the_seeds_unless_told_otherwise():
    code = "from helpers import session; print(session.SEEDS_FROM, session.KEPT_SEEDS_FROM)"
    for given, expected in (
        ({}, "0 0"),
        ({"SEEDS_FROM": "7"}, "7 7"),
        ({"SEEDS_FROM": "7", "KEPT_SEEDS_FROM": "0"}, "7 0"),
    ):
        environment = {name: value for name, value in os.environ.items() if "SEEDS_FROM" not in name} | given
        run = [sys.executable, "-c", code]
        assert subprocess.check_output(run, env=environment, cwd=session.ROOT, text=True).strip() == expected


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
    file.write_text(json.dumps({"group": "0", "names": ["Ada Example", "Alan Example"]}))
    session.describe()
    assert "Ada Example, Alan Example   (an example: write yours into group.json)\n" in capsys.readouterr().out
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
    with pytest.raises(ValueError, match="should read"):
        session.describe()


# ---- new files


def files(folder):
    """Return what lies in a folder and those below it, with contents."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("as_type", [Path, str])
def test_new_file_appears_when_it_is_whole_in_folders_that_are_made_for_it(tmp_path, as_type):
    path = tmp_path / "gifs" / "he" / "a.gif"
    with session.new_file(as_type(path)) as temporary:
        temporary.write_text("ha")
        assert not path.exists() and temporary.parent == path.parent
        temporary.write_text("half and half")
    assert files(tmp_path) == {"gifs/he/a.gif": "half and half"}


def test_unfinished_file_has_a_name_that_every_system_takes_and_no_pattern_finds(tmp_path):
    with session.new_file(tmp_path / "a.gif") as temporary:
        temporary.touch()
        assert not set(temporary.name) & set('<>:"/\\|?*') and temporary.name[-1] not in ". "
        assert [*tmp_path.glob("*.gif")] == []


def test_new_file_replaces_an_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with session.new_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert files(tmp_path) == {"a.txt": "new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [{}, {"a.txt": "old"}])
@pytest.mark.parametrize("written", [True, False])
def test_error_leaves_the_old_file_and_nothing_else(tmp_path, error, old, written):
    for name, text in old.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(error), session.new_file(tmp_path / "a.txt") as temporary:
        if written:
            temporary.write_text("half")
        raise error
    assert files(tmp_path) == old


def test_new_file_that_nobody_writes_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), session.new_file(tmp_path / "a.txt"):
        pass
    assert files(tmp_path) == {}


def test_new_file_that_cannot_be_moved_is_not_left_behind(tmp_path):
    (tmp_path / "a.txt" / "folder").mkdir(parents=True)
    with pytest.raises(OSError), session.new_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert files(tmp_path) == {}


# ---- one process at a time


def test_a_second_one_waits_for_the_first(tmp_path, capsys):
    path, order = tmp_path / "runs" / "a.jsonl", []

    def second():
        with session.alone_with(path, "it waits"):
            order.append("second")

    with session.alone_with(path, "nobody else"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and capsys.readouterr().out == "it waits\n"


def test_file_systems_without_locks_let_everybody_in(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="POSIX")

    def flock(*_):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", flock)
    with session.alone_with(tmp_path / "a", "first"), session.alone_with(tmp_path / "a", "second"):
        pass
