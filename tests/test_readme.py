"""The README: its pictures are those of the saved notebooks, its links lead somewhere."""

import re

from helpers import session
from pictures.extract import marked_figures

README = (session.ROOT / "README.md").read_text(encoding="utf-8")


def test_pictures_are_those_of_the_notebooks():
    shown = set(re.findall(r"!\[.*?\]\((pictures/.*?)\)", README))
    made = {path.relative_to(session.ROOT).as_posix(): content for path, content in marked_figures()}
    assert shown and shown <= set(made)
    for name in shown:
        assert (session.ROOT / name).read_bytes() == made[name]


def test_links_lead_to_files():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert [link for link in links if not (session.ROOT / link).exists()] == []


def test_percentages_stand_in_the_notebook_of_their_line():
    for line in README.splitlines():
        for link in re.findall(r"\((notebooks/\w+\.ipynb)\)", line):
            text = (session.ROOT / link).read_text(encoding="utf-8")
            assert [n for n in re.findall(r"\d+\.\d+(?= ?%)", line) if n not in text] == []
