"""Once group.json is filled in and the notebooks have shown it, what is in this project can be handed in."""

import json

import pytest

import submission
from helpers import session

GROUP, NAMES = session.read_group(session.ROOT)
EXAMPLE = session.signature(GROUP, NAMES)
pytestmark = pytest.mark.skipif(not session.is_example(NAMES), reason="group.json is filled in")


@pytest.fixture
def filled_in(tmp_path):
    """A copy of the project with a group; the notebooks as a run would have saved them then."""
    group = json.loads((session.ROOT / "group.json").read_text()) | {"group": "7", "names": ["Ada Lovelace"]}
    (tmp_path / "group.json").write_text(json.dumps(group))
    owner = session.signature("7", ["Ada Lovelace"])
    for part in ("notebooks", "gifs"):
        (tmp_path / part).mkdir()
        for path in (session.ROOT / part).iterdir():
            copy = tmp_path / part / path.name
            if path.suffix in (".ipynb", ".txt"):
                text = path.read_text(encoding="utf-8").replace(
                    f"{EXAMPLE}   (an example: write yours into", f"{owner}   (from"
                )
                copy.write_text(text.replace(EXAMPLE, owner), encoding="utf-8")
            elif path.is_file():
                copy.symlink_to(path)
    return tmp_path


def test_the_project_as_it_is_has_an_example_group_that_is_refused():
    [fault] = submission.group_faults(session.ROOT)
    assert "still holds the example" in fault


@pytest.mark.parametrize("which", ["1", "2", "3"])
def test_the_graded_notebooks_are_in_order_once_the_group_is_filled_in(which, filled_in):
    assert submission.find_faults(submission.ASSIGNMENTS[which], filled_in) == []


def test_without_a_new_run_the_group_is_missed(filled_in):
    name = submission.ASSIGNMENTS["1"].notebooks[0]
    path = filled_in / "notebooks" / f"{name}.ipynb"
    path.write_bytes((session.ROOT / "notebooks" / path.name).read_bytes())
    faults = submission.find_faults(submission.ASSIGNMENTS["1"], filled_in)
    assert len(faults) == 1 and "does not show group and names" in faults[0]
