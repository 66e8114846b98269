"""The committed movies of notebook 04, their index and the findings: what is handed in for sheet 3."""

import csv
import itertools
import json
import re

import pytest
from PIL import Image

from helpers import movie, session

GIFS = session.ROOT / "gifs"
INDEX = list(csv.DictReader((GIFS / "index.csv").read_text(encoding="utf-8").splitlines()))
NAMES = {
    f"{init}_{inputs}_{regularization}_bn-{batch_norm}.gif"
    for init, inputs, regularization, batch_norm in itertools.product(
        ("he", "uniform"),
        ("raw", "standardized"),
        ("none", "l2-0.001", "l2-0.01", "l2-0.1", "dropout-0.1", "dropout-0.3", "dropout-0.5"),
        ("none", "before", "after"),
    )
}


def test_there_is_a_movie_for_each_configuration_and_a_line_in_the_index():
    assert len(NAMES) == len(INDEX) == 84
    assert {path.name for path in GIFS.glob("*.gif")} == {line["file"] for line in INDEX} == NAMES
    for line in INDEX:
        assert line["file"] == "{init}_{inputs}_{regularization}_bn-{batch_norm}.gif".format(**line)
        assert 0 <= float(line["accuracy"]) <= 1 and float(line["val_loss"]) > 0 and float(line["seconds"]) > 0


@pytest.mark.parametrize("name", sorted(NAMES))
def test_movie_has_100_frames_at_the_usual_rate_rests_at_the_last_and_repeats(name):
    path = GIFS / name
    assert path.stat().st_size <= 300_000
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["loop"]) == (100, 0)
        durations = [(gif.seek(frame), gif.info["duration"])[1] for frame in range(100)]
    assert durations == [10 * round(100 / movie.FPS)] * 99 + [movie.LAST]


def test_all_movies_together_are_below_25_mb():
    assert sum((GIFS / name).stat().st_size for name in NAMES) < 25e6


def test_page_holds_the_numbers_of_the_index():
    page = (GIFS / "index.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, flags=re.DOTALL)
    records = json.loads(data)["records"]
    assert len(page) < 3e6 and len(records) == 84
    for record, line in zip(records, INDEX, strict=True):
        assert record["factors"] == {name: line[name] for name in record["factors"]}
        assert record["results"] == pytest.approx({k: float(line[k]) for k in record["results"]}, rel=1e-3)


def test_findings_are_those_of_the_saved_notebook():
    text = (GIFS / "findings.txt").read_text(encoding="utf-8")
    cells = json.loads((session.ROOT / "notebooks" / "04_cifar10_gif_sweep.ipynb").read_text(encoding="utf-8"))["cells"]
    printed = "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))
    found = text[text.index("1. The best learning progress") :]
    for finding in found.split("2. The most surprising observation"):
        assert "Why." in finding and finding.strip() in printed
