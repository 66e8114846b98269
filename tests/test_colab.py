"""The set-up cell as Colab runs it: in /content, beside an uploaded zip, with a mounted Drive, or with nothing."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import pytest

import submission
from handin_notebook import Page
from helpers import session

NOTEBOOK = session.ROOT / "notebooks" / "01_low_level_mlp.ipynb"


@pytest.fixture
def content(tmp_path, monkeypatch):
    """Make an empty folder that stands for /content, and work in it."""
    folder = tmp_path / "content"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def set_up_cell(content):
    """Return the source of the set-up cell, with the folder in place of /content."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    source = "".join(next(cell for cell in cells if cell["cell_type"] == "code")["source"])
    assert 'Path("/content")' in source
    return source.replace('Path("/content")', f"Path({str(content)!r})")


def found(content, monkeypatch):
    """Return the folder that the cell finds, as in a kernel that has not imported `helpers` yet."""
    names = {}
    monkeypatch.delitem(sys.modules, "helpers", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    exec(set_up_cell(content).partition("\nfrom helpers")[0], names)
    return Path(sys.path[0])


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    """Pack Assignment 1 as it is, but for its page."""
    folder = tmp_path_factory.mktemp("zip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submission, "make_page", lambda path, root: Page())
        submission.main(["pack", "1", "--anyway", "--to", str(folder)])
    [path] = folder.glob("*.zip")
    return path


def make(bundle):
    (bundle / "helpers").mkdir(parents=True)
    (bundle / "helpers" / "session.py").touch()


def test_uploaded_zip_is_unpacked(content, zipped, monkeypatch):
    (content / "sample_data").mkdir()
    (content / zipped.name).write_bytes(zipped.read_bytes())
    assert found(content, monkeypatch) == content / "bundle" / zipped.stem


def test_zip_of_the_folder_without_a_folder_in_it(content, monkeypatch):
    with ZipFile(content / "bundle (1).zip", "w") as archive:
        archive.writestr("helpers/session.py", "")
    assert found(content, monkeypatch) == content / "bundle"


def test_zip_in_parts_is_unpacked_into_one_folder(content, monkeypatch):
    names = "helpers/session.py", "gifs/uniform.gif", "runs/kept/04-seeds/code.jsonl"
    for number, name in enumerate(names, 1):
        with ZipFile(content / f"Sheet-3_{number}-of-3.zip", "w") as archive:
            archive.writestr(f"Sheet-3/{name}", "")
    bundle = found(content, monkeypatch)
    assert bundle == content / "bundle" / "Sheet-3"
    assert all((bundle / name).exists() for name in names)


def test_zip_that_was_unpacked_before_leaves_what_has_changed(content, zipped, monkeypatch):
    (content / zipped.name).write_bytes(zipped.read_bytes())
    group = found(content, monkeypatch) / "group.json"
    group.write_text('{"group": "7", "names": ["Ada"]}')
    (group.parent / "helpers" / "session.py").unlink()
    bundle = found(content, monkeypatch)
    assert group == bundle / "group.json" and "Ada" in group.read_text()
    assert (bundle / "helpers" / "session.py").exists()


def test_zip_that_is_still_uploaded_is_passed_over(content, zipped, monkeypatch):
    (content / zipped.name).write_bytes(zipped.read_bytes()[:10_000])
    with pytest.raises(FileNotFoundError, match="in Colab upload the bundle's zip"):
        found(content, monkeypatch)


def test_other_zips_stay_as_they_are(content, monkeypatch):
    with ZipFile(content / "holiday.zip", "w") as archive:
        archive.writestr("beach.png", "")
    with pytest.raises(FileNotFoundError, match="in Colab upload the bundle's zip"):
        found(content, monkeypatch)
    assert [path.name for path in content.iterdir()] == ["holiday.zip"]


@pytest.mark.parametrize("name", ["../../evil.py", "/evil.py", "helpers/../../../evil.py"])
def test_zip_with_paths_that_climb_out_writes_nothing_outside(name, content, monkeypatch):
    with ZipFile(content / "bundle.zip", "w") as archive:
        archive.writestr("helpers/session.py", "")
        archive.writestr(name, "")
    found(content, monkeypatch)
    assert {path.relative_to(content).parts[0] for path in content.rglob("evil.py")} == {"bundle"}
    assert not list(content.parent.glob("evil.py"))
    assert not Path("/evil.py").exists()


@pytest.mark.parametrize("drive", ["drive/MyDrive", "gdrive/MyDrive", "drive/Shareddrives/Group 7"])
@pytest.mark.parametrize("place", ["course", "Colab Notebooks/Übung 1", "one/two/three"])
def test_folder_in_the_mounted_drive(drive, place, content, monkeypatch):
    bundle = content / drive / place
    make(bundle)
    assert found(content, monkeypatch) == bundle


@pytest.mark.parametrize("place", ["drive/MyDrive/one/two/three/four", "../mnt/drive/course"])
def test_what_is_not_found_in_a_drive_gets_a_sentence_that_fits(place, content, monkeypatch):
    make(content / place)
    with pytest.raises(FileNotFoundError, match="a Drive with it, at most 3 folders deep"):
        found(content, monkeypatch)


def test_zip_with_backslashes_is_unpacked(content, monkeypatch):
    with ZipFile(content / "bundle.zip", "w") as archive:
        for name in ("course\\helpers\\session.py", "course\\group.json"):
            archive.writestr(name, "")  # here it stays as it is
    assert found(content, monkeypatch) == content / "bundle" / "course"
    assert (content / "bundle" / "course" / "group.json").exists()


def test_of_two_zips_the_newer_one_is_unpacked(content, monkeypatch):
    for name, age in (("course (1).zip", 0), ("course.zip", 100), ("a.zip", 200)):
        with ZipFile(content / name, "w") as archive:
            archive.writestr("course/helpers/session.py", f"{age}")
        os.utime(content / name, (time.time() - age,) * 2)
    assert (found(content, monkeypatch) / "helpers" / "session.py").read_text() == "0"


def test_corrected_zip_in_the_same_session_is_told(content, monkeypatch, capsys):
    def upload(name, code):
        with ZipFile(content / name, "w") as archive:
            archive.writestr("course/helpers/session.py", code)
            archive.writestr("course/doctor/__init__.py", "")

    upload("course.zip", "old")
    bundle = found(content, monkeypatch)
    monkeypatch.setattr(session, "ROOT", bundle)
    session.check_uploads(content)
    (bundle / "helpers" / "session.py").write_text("changed by hand")
    session.check_uploads(content)
    assert not capsys.readouterr().out
    upload("course (1).zip", "corrected")
    os.utime(content / "course (1).zip", (time.time() + 10,) * 2)
    session.check_uploads(content)
    assert re.fullmatch(
        r"!!! course \(1\).zip .* other code than .*: delete .*, restart .*\.\n", capsys.readouterr().out
    )


def test_half_of_a_zip_is_no_corrected_one(content, monkeypatch, capsys):
    (content / "a.zip").write_bytes(b"half")
    session.check_uploads(content)
    assert not capsys.readouterr().out


def test_working_folder_that_is_gone_says_to_mount_it_again(content, tmp_path, monkeypatch):
    (tmp_path / "drive").mkdir()
    monkeypatch.chdir(tmp_path / "drive")
    (tmp_path / "drive").rmdir()
    with pytest.raises(FileNotFoundError, match=r"mount at /content/drive \(again\? then restart\)"):
        found(content, monkeypatch)
    os.chdir(tmp_path)


def test_drive_that_came_off_says_to_mount_it_again(content, monkeypatch):
    def not_connected(path):
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    make(content / "drive" / "MyDrive" / "course")
    monkeypatch.setattr(Path, "is_file", not_connected)
    with pytest.raises(FileNotFoundError, match=r"mount at /content/drive \(again\? then restart\)"):
        found(content, monkeypatch)


@pytest.mark.parametrize("place", ["", "course", "uploads/course"])
def test_clone_comes_before_the_mounted_drive(place, content, monkeypatch):
    make(content / place)
    make(content / "drive" / "MyDrive" / "course")
    assert found(content, monkeypatch) == content / place


def test_with_nothing_at_hand_one_sentence_says_what_to_do(content, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        found(content, monkeypatch)
    assert str(error.value).count(".") == 1


def test_cell_runs_from_an_uploaded_zip(content, zipped):
    """Run the whole cell in a process of its own that has `google.colab`, as Colab has."""
    (content / zipped.name).write_bytes(zipped.read_bytes())
    colab = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n"
    program = colab + set_up_cell(content) + "\nfrom helpers import data, sweep\nprint(session.ROOT)"
    result = subprocess.run([sys.executable, "-c", program], cwd=content, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("group: ")
    assert result.stdout.strip().endswith(str(content / "bundle" / zipped.stem))
