"""Each figure function returns a Figure that says what it shows and draws without a warning, NaN included."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
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


# ---- the training figure of sheet 3


def drawn(figure, kind):
    """Return the collections of a kind that the batches have added, in the order of drawing."""
    return [artist for artist in figure.artists if isinstance(artist, kind)]


def in_panel(figure, ax, points):
    """Convert points from parts of the figure to the data of a panel."""
    return (figure.transFigure - ax.transData).transform(points)


def panel(figure, title):
    (ax,) = (ax for ax in figure.axes if ax.get_title(loc="left").startswith(title))
    return ax


def panels_of(figure):
    """Return the panels of weights, net values, outputs and losses of `training()`: 2, 1, 1, 1."""
    return [panel(figure, title) for title in ("l1", "l2", "one", "black", "loss")]


@pytest.mark.parametrize("t", [1, 2, 3])
def test_training_figure_draws_both_losses_up_to_the_batch(t):
    *_, train_losses, val_losses = histories = training()
    figure = figures.training_figure(t, *histories)
    ax = panel(figure, "loss")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]
    segments = np.array([lines.get_segments()[:2] for lines in drawn(figure, LineCollection)])  # (t, 2 losses, 2, 2)
    ends = in_panel(figure, ax, segments[:, :, 1].reshape(-1, 2)).reshape(t, 2, 2)
    assert ends[..., 0] == pytest.approx(np.array([[i, i] for i in range(1, t + 1)]))
    assert ends[..., 1] == pytest.approx(np.array([train_losses[:t], val_losses[:t]]).T)
    colors = [line.get_color() for line in ax.get_legend().get_lines()]
    assert len({*colors}) == 2
    for lines in drawn(figure, LineCollection):
        assert [tuple(color[:3]) for color in lines.get_colors()[:2]] == [to_rgb(color) for color in colors]


@pytest.mark.parametrize("t", [1, 2, 3])
def test_training_figure_says_the_batch_and_its_losses(t):
    *_, train_losses, val_losses = histories = training()
    figure = figures.training_figure(t, *histories)
    line = sorted(figure.texts, key=lambda text: (text.get_position()[0], text.get_ha() == "left"))
    expected = f"batch {t} / 3 training loss {train_losses[t - 1]:.2f} validation loss {val_losses[t - 1]:.2f}"
    assert " ".join(text.get_text().strip() for text in line) == expected


def test_training_figure_has_the_same_limits_for_each_batch_and_room_for_all():
    histories = training()
    limits = [[(ax.get_xlim(), ax.get_ylim()) for ax in figures.training_figure(t, *histories).axes] for t in (1, 2, 3)]
    assert limits[0] == limits[1] == limits[2]
    (weights, net_values, activations, *losses), figure = histories, figures.training_figure(1, *histories)
    shown = weights["l1"], weights["l2"], net_values["one"], activations["one"], losses
    for ax, tensors in zip(panels_of(figure), shown, strict=True):
        numbers = np.concatenate([np.quantile(t, figures.LEVELS, method="nearest") for t in tensors])  # the bars
        assert ax.get_ylim()[0] < numbers.min() and ax.get_ylim()[1] > numbers.max()
        assert ax.get_xlim()[0] < 0 and ax.get_xlim()[1] > 3


def test_training_figure_has_one_scale_for_the_net_values_of_all_layers_and_one_for_their_outputs():
    figure = figures.training_figure(1, *training(4))
    for row in (1, 2):
        limits = [ax.get_ylim() for ax in figure.axes if ax.get_subplotspec().rowspan == range(row, row + 1)]
        assert len(limits) == 3 and len({*limits}) == 1


def test_bars_of_the_training_figure_reach_from_quantile_to_quantile():
    weights, net_values, activations, *_ = histories = training()
    figure = figures.training_figure(3, *histories)
    panels = panels_of(figure)[:4]
    *initial, first, second, third = drawn(figure, PolyCollection)
    assert len(initial) == 2  # of the weights of each layer
    for t, bars in enumerate((first, second, third), 1):
        corners = np.array([path.vertices[:4] for path in bars.get_paths()]).reshape(4, 3, 4, 2)
        tensors = weights["l1"][t], weights["l2"][t], net_values["one"][t - 1], activations["one"][t - 1]
        for ax, (whole, box, median), tensor in zip(panels, corners, tensors, strict=True):
            q = np.quantile(tensor, figures.LEVELS, method="nearest")
            for shape, (bottom, top) in ((whole, q[[0, 4]]), (box, q[[1, 3]])):
                points = in_panel(figure, ax, shape)
                assert [*points.min(axis=0), *points.max(axis=0)] == pytest.approx([t - 0.5, bottom, t + 0.5, top])
            assert in_panel(figure, ax, median)[:, 1].mean() == pytest.approx(q[2])


def test_batches_that_are_not_finite_are_red():
    weights, net_values, *_ = histories = training()
    weights["l2"][3][0, 0] = np.nan
    net_values["one"][1][2, 2] = -np.inf
    figure = figures.training_figure(3, *histories)
    colors = [bars.get_facecolors()[::3, :3] for bars in drawn(figure, PolyCollection)[-3:]]  # (batch, panel, RGB)
    red = np.all(np.array(colors) == to_rgb(figures.ALARM), axis=-1)
    assert red.tolist() == [[False] * 4, [False, False, True, False], [False, True, False, False]]


@pytest.mark.parametrize("size", [1, 2, 5, 50, 99, 100, 101, 1000])
def test_quantiles_are_those_of_numpy_with_the_nearest_rank(size):
    numbers = torch.randn(3, size, generator=torch.Generator().manual_seed(size))
    expected = np.quantile(numbers.numpy(), figures.LEVELS, axis=1, method="nearest").T
    np.testing.assert_array_equal(figures._quantiles([*numbers.view(3, size, 1)]), expected)


def test_quantiles_of_what_is_not_finite_are_nan():
    whole = torch.arange(12.0).view(3, 4)
    for value in (np.nan, np.inf, -np.inf):
        bad = whole.clone()
        bad[1, 2] = value
        quantiles = figures._quantiles([whole, bad, whole.half()])
        assert np.isnan(quantiles).all(axis=1).tolist() == [False, True, False]
        assert quantiles[0].tolist() == quantiles[2].tolist() == [0, 3, 6, 8, 11]
    assert (bad[1, 2], whole[1, 2]) == (-np.inf, 6)


def test_training_figure_draws_the_share_of_dead_units():
    histories = training()
    for t, dead in enumerate((1, 3, 5)):
        histories[2]["one"][t][:] = 1
        histories[2]["one"][t][:, :dead] = 0
    figure = figures.training_figure(3, *histories)
    ax = panel(figure, "black: dead units, 0 to 100 %")
    ends = [in_panel(figure, ax, lines.get_segments()[2][1]) for lines in drawn(figure, LineCollection)]
    assert [x for x, _ in ends] == pytest.approx([1, 2, 3])
    assert [y / ax.get_ylim()[1] for _, y in ends] == pytest.approx([0.2, 0.6, 1.0])
