"""Each figure function returns a Figure that says what it shows and draws without a warning, NaN included."""

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from helpers import figures

rng = np.random.default_rng(0)
TABLE = pd.DataFrame(
    [
        {"lr": lr, "act": act, "depth": depth, "seed": seed, "error": rng.uniform(0.01, 0.9)}
        for lr in (0.01, 0.1, 1.0)
        for act in ("relu", "tanh")
        for depth in (1, 2)
        for seed in range(3)
    ]
)
GRID = pd.DataFrame([[1.0, np.nan], [3.0, 90.0]], index=[0.1, 0.2], columns=["a", "b"]).rename_axis("y").T

CASES = {
    "image_grid": lambda: figures.image_grid(rng.random((3, 8, 8)), ["one", "two\nlines", "three"], columns=2),
    "weights": lambda: figures.image_grid(rng.normal(size=(2, 8, 8)), ["one"], cmap="RdBu_r", symmetric=True),
    "learning_curves": lambda: figures.learning_curves({"one": [0.1, np.nan], "two": [[0.2, 0.3], [0.4, 0.5]]}, "two"),
    "one curve": lambda: figures.learning_curves({"a": [3, 2]}, "one", log=True, percent=False),
    "response": lambda: figures.response(TABLE, "lr", "error", hue="depth", panel="act", xlabel="one", chance=0.9),
    "response by name": lambda: figures.response(TABLE, "act", "error", hue="lr", log_x=False, xlabel="one"),
    "heatmap": lambda: figures.heatmap(GRID, "one", "two"),
    "decision_plane": lambda: figures.decision_plane(
        rng.random((5, 2)), range(5), np.zeros((4, 4)), (0, 1, 0, 1), "one", "two"
    ),
}


def texts(figure):
    """Return all that is written in a figure."""
    return [text.get_text() for text in figure.findobj(plt.Text)]


@pytest.mark.parametrize("name", CASES)
def test_draws_a_labelled_figure_and_leaves_none_open(name):
    open_before = plt.get_fignums()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = CASES[name]()
        figure.canvas.draw()
    assert isinstance(figure, Figure)
    assert {"one", "two"} & set(texts(figure))
    assert plt.get_fignums() == open_before


def test_response_shows_every_seed_beside_the_median():
    figure = figures.response(TABLE[TABLE["act"] == "relu"], "lr", "error", hue="depth")
    (ax,) = figure.axes
    assert len(ax.lines) == 2 * (1 + 3)
    part = TABLE[(TABLE["act"] == "relu") & (TABLE["depth"] == 1)]
    assert ax.lines[0].get_ydata() == pytest.approx(part.groupby("lr")["error"].median())


def test_ordered_hues_get_sequential_colours_and_names_get_distinct_ones():
    ordered = figures.response(TABLE, "act", "error", hue="lr", log_x=False).axes[0].lines
    named = figures.response(TABLE, "lr", "error", hue="act").axes[0].lines
    medians = [line for line in ordered if line.get_label() in {"0.01", "0.1", "1.0"}]
    lightness = [sum(line.get_color()[:3]) for line in medians]
    assert lightness == sorted(lightness)
    assert {line.get_color() for line in named if line.get_label() in {"relu", "tanh"}} == {"C0", "C1"}
