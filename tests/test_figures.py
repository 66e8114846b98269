"""Each figure function returns a Figure that says what it shows and draws without a warning, NaN included."""

import io
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.pylabtools import print_figure
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from helpers import figures, movie, quantities
from helpers.movie import Rectangles

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


def training(linears=2, relus=None, steps=3):
    """Return the histories of a TorchMonitor with layers l1 ... and ReLUs "one", "two" ..."""
    random = torch.Generator().manual_seed(0)
    relus = ["one", "two", "three", "four", "five"][: linears - 1 if relus is None else relus]
    weights = {f"l{i}": [torch.randn(4, 3, generator=random) for _ in range(steps + 1)] for i in range(1, linears + 1)}
    net_values = {name: [(1 + t) * torch.randn(9, 5, generator=random) for t in range(steps)] for name in relus}
    activations = {name: [values.relu() for values in lists] for name, lists in net_values.items()}
    return (
        weights,
        net_values,
        activations,
        [2.5 - 0.5 * t for t in range(steps)],
        [2.6 - 0.4 * t for t in range(steps)],
    )


CASES = {
    "image_grid": lambda: figures.image_grid(rng.random((3, 8, 8)), ["one", "two\nlines", "three"], columns=2),
    "weights": lambda: figures.image_grid(rng.normal(size=(2, 8, 8)), ["one"], cmap="RdBu_r", symmetric=True),
    "learning_curves": lambda: figures.learning_curves({"one": [0.1, np.nan], "two": [[0.2, 0.3], [0.4, 0.5]]}, "two"),
    "one curve": lambda: figures.learning_curves({"a": [3, 2]}, "one", log=True, percent=False),
    "response": lambda: figures.response(TABLE, "lr", "error", hue="depth", panel="act", xlabel="one", chance=0.9),
    "response by name": lambda: figures.response(TABLE, "act", "error", hue="lr", log_x=False, xlabel="one"),
    "heatmap": lambda: figures.heatmap(GRID, "one", "two"),
    **{f"training {n} layers": lambda n=n: figures.training_figure(3, *training(n)) for n in (2, 6)},
    "training, more ReLUs than Linears": lambda: figures.training_figure(1, *training(1, 3)),
    "training without a Linear": lambda: figures.training_figure(2, *training(0, 1)),
}


def texts(figure):
    """Return all that is written in a figure."""
    return [text.get_text() for text in figure.findobj(plt.Text)]


@pytest.mark.parametrize("name", CASES)
def test_draws_a_labelled_figure_and_leaves_none_open(name):
    open_before = plt.get_fignums()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # between matplotlib and what it needs
        figure = CASES[name]()
        figure.canvas.draw()
    assert isinstance(figure, Figure)
    assert re.search(r"\b(one|two|l1)\b", " ".join(texts(figure)))
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


# ---- the training figure of sheet 3


COLORS = {what: to_rgb(color) for what, color in figures.ROWS.items()}


def added(figure):
    """Return what the batches have added: for each of them the boxes and their colors."""
    batches = [artist for artist in figure.artists if isinstance(artist, Rectangles)][-figure_steps(figure) :]
    return [(artist.boxes, artist.colors) for artist in batches]


def figure_steps(figure):
    (clock,) = (text for text in texts(figure) if re.fullmatch(r"\d+ / 3", text))
    return int(clock.split()[0])


def boxes_of(figure, color):
    """Return the boxes of a color that each batch adds, (batches, N, 4)."""
    return [boxes[np.isclose(colors, to_rgb(color)).all(axis=1)] for boxes, colors in added(figure)]


def title_of(figure, words):
    (text,) = (text for text in figure.findobj(plt.Text) if text.get_text() == words)
    return text


@pytest.mark.parametrize("t", [1, 2, 3])
def test_training_figure_draws_both_losses_up_to_the_batch(t):
    *_, train_losses, val_losses = histories = training()
    figure = figures.training_figure(t, *histories, loss_range=(0, 4))
    for losses, (name, color) in zip((train_losses, val_losses), figures.LOSSES.items(), strict=True):
        assert to_rgb(title_of(figure, name).get_color()) == to_rgb(color)  # the legend
        (boxes,) = zip(*boxes_of(figure, color), strict=True)
        heights = [top - bottom for _, bottom, _, top in boxes]
        assert len(boxes) == t and heights[0] == figures.LINE and all(np.diff([left for left, *_ in boxes]) > 0)
        middles = np.array([bottom + figures.LINE / 2 for _, bottom, _, _ in boxes])  # both fall from batch to batch
        pixels = (2 * figures.ROW - figures.TITLE - figures.BELOW) / 4  # of one unit
        assert middles - middles[0] == pytest.approx(pixels * (np.array(losses[:t]) - losses[0]), abs=1)


@pytest.mark.parametrize("t", [1, 2, 3])
def test_training_figure_says_its_title_the_batch_and_its_losses(t):
    *_, train_losses, val_losses = histories = training()
    figure = figures.training_figure(t, *histories, title="He, raw")
    words = figure.findobj(movie.Words)
    top = max(text.get_position()[1] for text in words)
    line = [text for text in words if text.get_position()[1] == top]
    line = sorted(line, key=lambda text: (text.get_position()[0], text.get_ha() == "left"))
    expected = f"He, raw batch {t} / 3 training loss {train_losses[t - 1]:.2f} validation loss {val_losses[t - 1]:.2f}"
    assert " ".join(text.get_text().strip() for text in line) == expected


def test_training_figure_has_the_same_scales_for_each_batch():
    histories = training()
    fixed = [texts(figures.training_figure(t, *histories)) for t in (1, 2, 3)]
    changing = re.compile(r"\d / 3|\d\.\d\d")
    scales = [[text for text in found if not changing.fullmatch(text)] for found in fixed]
    assert scales[0] == scales[1] == scales[2] and any(text.lstrip("-").isdigit() for text in scales[0])


def test_bars_of_the_training_figure_reach_from_quantile_to_quantile():
    weights, net_values, activations, *_ = histories = training()
    figure = figures.training_figure(3, *histories)
    for what, lists in zip(figures.ROWS, (weights, net_values, activations), strict=True):
        middle = np.array(COLORS[what])
        for part, (low, high) in ((1 - 0.35 * (1 - middle), (0, 4)), (middle, (1, 3))):
            for number, tensors in enumerate(lists.values()):
                boxes = np.array([boxes[number] for boxes in boxes_of(figure, part)], dtype=float)  # of each batch
                q = np.array([quantities.Distribution(tensor).quantiles() for tensor in tensors])
                low_limit, high_limit = figures._limits(q)
                q = q[-3:]
                pixels = figures.HEIGHT / (high_limit - low_limit)
                assert boxes[:, 3] - boxes[:, 1] == pytest.approx(pixels * (q[:, high] - q[:, low]), abs=1.5)


def test_batches_that_are_not_finite_are_red():
    weights, net_values, *_ = histories = training()
    weights["l2"][3][0, 0] = np.nan
    net_values["one"][1][2, 2] = -np.inf
    red = boxes_of(figures.training_figure(3, *histories), figures.ALARM)
    assert [len(boxes) for boxes in red] == [0, 3, 3]
    assert {top - bottom for boxes in red for _, bottom, _, top in boxes} == {figures.HEIGHT}


def test_histogram_of_the_training_figure_is_that_of_the_present_batch():
    histories = training(steps=2)
    histories[1]["one"] = [torch.linspace(-1, 1, 4500).view(900, 5), torch.full((900, 5), 0.5)]
    shown = []
    for t in (1, 2):
        (histogram,) = (
            artist
            for artist in figures.training_figure(t, *histories).artists
            if artist.get_zorder() > movie.ABOVE
            if isinstance(artist, Rectangles)
        )
        boxes = histogram.boxes[np.isclose(histogram.colors, COLORS["net_values"]).all(axis=1)]
        shown.append((boxes[:, 2] - boxes[:, 0]) / figures.HISTOGRAM)
    even, single = shown
    assert np.ptp(even[1:-1]) <= 0.1 and (single > 0).sum() == 1


def test_training_figure_draws_the_share_of_dead_units():
    histories = training()
    for t, dead in enumerate((1, 3, 5)):
        histories[2]["one"][t][:] = 1
        histories[2]["one"][t][:, :dead] = 0
    figure = figures.training_figure(3, *histories)
    tops = [boxes[0][3] for boxes in boxes_of(figure, "k")]
    assert np.diff(tops) == pytest.approx(0.4 * figures.HEIGHT, abs=1)
    assert {"one: outputs", "100% dead"} <= {*texts(figure)}


@pytest.mark.parametrize("before", [True, False])
def test_training_figure_shows_the_side_of_a_batch_norm_that_no_other_line_shows(before):
    histories = training()
    (net_values,), (outputs,) = (lists.values() for lists in histories[1:3])
    given, other = [quantities.rms(tensor) for tensor in net_values], (1.0, 1.0, 0.01)
    norms = {"norm": list(zip(other, given, strict=True) if before else zip(given, other, strict=True))}
    figure = figures.training_figure(3, *histories, summary=quantities.summarize(*histories, norms=norms))
    assert ("norm in" if before else "norm out") in texts(figure)
    boxes = boxes_of(figure, figures.NORM)
    assert [len(found) for found in boxes] == [1] * 3
    low, high = figures._limits(np.log10([*given, *other, *map(quantities.rms, outputs)]))
    pixels = 2 * figures.HEIGHT / (high - low)  # of two powers of ten
    assert boxes[0][0][1] - boxes[2][0][1] == pytest.approx(pixels, abs=2)
    assert not any(len(found) for found in boxes_of(figures.training_figure(3, *histories), figures.NORM))


def test_training_figure_keeps_losses_beyond_the_range_on_its_edge():
    figure = figures.training_figure(3, *training(), loss_range=(1.9, 2.1))
    bottoms = [boxes[0][1] for boxes in boxes_of(figure, figures.LOSSES["training"])]
    assert bottoms[0] - bottoms[1] == pytest.approx((2 * figures.ROW - figures.TITLE - figures.BELOW) / 2, abs=2)


def test_training_figure_is_shown_whole_in_a_notebook():
    figure = figures.training_figure(3, *training())
    (expected,) = movie.frames(lambda t, *histories: figure, (), 1)
    shown = np.asarray(Image.open(io.BytesIO(print_figure(figure))).convert("RGB"))
    height, width, _ = expected.shape
    inside = [
        np.array_equal(shown[y : y + height, x : x + width], expected)  # a margin may lie around it
        for y in range(shown.shape[0] - height + 1)
        for x in range(shown.shape[1] - width + 1)
    ]
    assert any(inside)
