"""The set-up cell as Colab runs it: in /content, beside an uploaded zip, with a mounted Drive, or with nothing."""

import json
import subprocess
import sys
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
    exec(set_up_cell(content).partition("\nsys.path.insert")[0], names)
    monkeypatch.delitem(sys.modules, "helpers", raising=False)
    return names["find_bundle"]()


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


@pytest.mark.parametrize("place", ["course", "Colab Notebooks/Übung 1"])
def test_folder_in_the_mounted_drive(place, content, monkeypatch):
    bundle = content / "drive" / "MyDrive" / place
    make(bundle)
    assert found(content, monkeypatch) == bundle


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
