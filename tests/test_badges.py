"""The notebooks' Colab badges lead where group.json says."""

import json

import pytest

from docs import badges
from helpers import session

SAVED = sorted((session.ROOT / "notebooks").glob("*.ipynb"))


def project(folder, repository):
    """Make a project with copies of two notebooks."""
    (folder / "notebooks").mkdir()
    for path in SAVED[:2]:
        (folder / "notebooks" / path.name).write_bytes(path.read_bytes())
    (folder / "group.json").write_text(json.dumps({"group": "7", "names": ["Ada"], "repository": repository}))
    return [folder / "notebooks" / path.name for path in SAVED[:2]]


def test_without_a_repository_a_badge_says_that_it_opens_an_upload(tmp_path):
    copies = project(tmp_path, "")
    badges.write_badges(tmp_path)
    for copy, path in zip(copies, SAVED, strict=False):
        assert copy.read_bytes() == path.read_bytes()  # so it is in the saved ones
        assert "#upload=true) Upload this notebook there, and the bundle's zip" in copy.read_text(encoding="utf-8")


def test_with_a_repository_it_opens_the_notebook_itself_and_the_way_back_is_open(tmp_path):
    copies = project(tmp_path, "ada/notebooks")
    badges.write_badges(tmp_path)
    for copy in copies:
        first = "".join(json.loads(copy.read_text(encoding="utf-8"))["cells"][0]["source"])
        assert f"(https://colab.research.google.com/github/ada/notebooks/blob/main/notebooks/{copy.name})" in first
        assert "!git clone https://github.com/ada/notebooks`" in first
    (tmp_path / "group.json").write_text('{"group": "7", "names": []}')
    badges.write_badges(tmp_path)
    assert [copy.read_bytes() for copy in copies] == [path.read_bytes() for path in SAVED[:2]]


def test_another_address_is_an_error_that_says_what_to_do(tmp_path):
    project(tmp_path, "https://github.com/ada/notebooks")
    with pytest.raises(ValueError, match='should read "OWNER/NAME"'):
        badges.write_badges(tmp_path)
