"""Recorded numbers -> matplotlib Figure. Nothing here trains, shows or saves."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter
from PIL import Image

from doctor import measure
from helpers import session
from helpers.movie import incremental

plt.style.use(Path(__file__).with_name("style.mplstyle"))
if session.QUICK:  # coarse figures without a layout, whose titles need not make room, are drawn in a third of the time
    plt.rcParams.update({"figure.dpi": 30, "savefig.dpi": 30, "figure.constrained_layout.use": False, "axes.titley": 1})

GREY = "#777777"  # the baseline, and guide lines


def panels(rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """Return a Figure and its axes (rows, columns); closed in pyplot, so that a notebook shows it once."""
    options.setdefault("figsize", (1.4 + 2.8 * columns if columns > 1 else 7.6, 3.3 * rows))
    figure, axes = plt.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat if session.QUICK else ():
        ax.set_axis_off()  # ticks and their labels are half of the time of drawing
    plt.close(figure)
    return figure, axes


def image_grid(images, titles=(), columns=10, cmap="gray", symmetric=False, size=0.9) -> Figure:
    """Show images (N, H, W) or (N, H, W, 3) in rows of `columns`, all on one color scale, `size` inches wide each.

    `symmetric` centers the scale on 0, for weights.
    """
    images = np.asarray(images)
    rows = -(-len(images) // columns)
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    height = size * images.shape[1] / images.shape[2] + 0.17 * lines
    figure, axes = panels(rows, columns, figsize=(size * columns, height * rows))
    high = np.abs(images).max() if symmetric else images.max()
    low = -high if symmetric else images.min()
    for i, ax in enumerate(axes.flat):
        ax.axis("off")
        if i < len(images):
            ax.imshow(images[i], cmap=cmap, vmin=low, vmax=high)
        if i < len(titles):
            ax.set_title(titles[i], fontsize=8, fontweight="normal", loc="center", pad=2)
    return figure


def small_png(figure: Figure) -> bytes:
    """Return a figure as a PNG with a palette, which takes a fifth of the bytes; for large sheets of plots."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    image = Image.open(buffer).convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE)  # keeps thin colored lines
    image.save(buffer := io.BytesIO(), "png", optimize=True)
    return buffer.getvalue()


def seed_lines(ax: Axes, x, values, label: str | None = None, color: str | None = None) -> None:
    """Draw `values` (seeds, len(x)) as a thin line for each seed and a thick one for their median."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    (median,) = ax.plot(x, np.median(values, axis=0), label=label, color=color, marker="o" if len(x) < 16 else None)
    for row in values if len(values) > 1 else ():
        ax.plot(x, row, color=median.get_color(), linewidth=0.7, alpha=0.45)


def percent_axis(axis, log: bool = False) -> None:
    """Label an axis of fractions in percent; a logarithmic one at 1, 1.5, 2, 3, 5, 7 x powers of ten."""
    if log:
        axis.set_major_locator(FixedLocator([d * 10.0**e for e in (-3, -2, -1) for d in (1, 1.5, 2, 3, 5, 7)] + [1]))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(PercentFormatter(1, decimals=None))


def learning_curves(runs: Mapping[str, Sequence], ylabel: str, xlabel="epochs", log=False, percent=True) -> Figure:
    """Draw curves over epochs or steps, {label: (seeds, epochs)}; the first is the baseline, in grey."""
    figure, ((ax,),) = panels()
    for i, (label, values) in enumerate(runs.items()):
        values = np.atleast_2d(np.asarray(values, dtype=float))
        seed_lines(ax, np.arange(1, values.shape[1] + 1), values, label, color=f"C{i - 1}" if i else GREY)
    ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    if percent:
        percent_axis(ax.yaxis, log)
    if len(runs) > 1:
        figure.legend(loc="outside right upper")
    return figure


def response(table, x: str, y: str, hue=None, panel=None, log_x=True, xlabel="", ylabel="", chance=None) -> Figure:
    """Draw how the fraction `y` answers to `x`: a line for each `hue`, a panel for each `panel`, seeds as thin lines.

    Without `log_x` the values of x stand at equal distances. A numeric hue gets sequential colors. `chance` draws a
    guide line.
    """
    groups = [("", table)] if panel is None else list(table.groupby(panel, sort=False))
    hues = [] if hue is None else table[hue].unique()
    colors = [None] if hue is None else [f"C{i}" for i in range(len(hues))]
    if hue and pd.api.types.is_numeric_dtype(table[hue]):
        colors = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(hues)))
    figure, axes = panels(1, len(groups), sharey=True)
    for ax, (name, part) in zip(axes.flat, groups, strict=True):
        lines = [(None, part)] if hue is None else part.groupby(hue, sort=False)
        for color, (label, rows) in zip(colors, lines, strict=True):
            grid = rows.pivot_table(index="seed", columns=x, values=y, sort=log_x)
            seed_lines(ax, grid.columns if log_x else np.arange(grid.shape[1]), grid, label, color)
        if log_x:
            ax.set_xscale("log")
        else:
            ax.set_xticks(np.arange(grid.shape[1]), [str(value) for value in grid.columns])
        if chance is not None:
            ax.axhline(chance, color=GREY, linewidth=1, linestyle="--")
        ax.set(title=f"{panel}: {name}" if panel else "", xlabel=xlabel or x, yscale="log")
        percent_axis(ax.yaxis, log=True)
    axes[0, 0].set_ylabel(ylabel or y)
    if hue:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), title=hue, loc="outside right upper")
    return figure


def heatmap(grid: pd.DataFrame, title: str, label: str, fmt: str = "{:.0f}", cmap: str = "viridis", **limits) -> Figure:
    """Draw a table of numbers as colored cells with their values; the names of its axes are the labels."""
    figure, ((ax,),) = panels(figsize=(1.8 + 0.52 * grid.shape[1], 1.1 + 0.36 * grid.shape[0]))
    values = grid.to_numpy(dtype=float)
    image = ax.imshow(values, cmap=cmap, aspect="auto", origin="lower", **limits)
    ax.tick_params(labelsize=8.5)
    for (row, column), value in np.ndenumerate(values):
        dark = np.isfinite(value) and np.dot(image.cmap(image.norm(value))[:3], (0.3, 0.6, 0.1)) < 0.5
        ax.text(column, row, fmt.format(value), ha="center", va="center", color="w" if dark else "k", fontsize=8)
    ax.set_xticks(range(grid.shape[1]), [f"{v:.2g}" if isinstance(v, float) else v for v in grid.columns])
    ax.set_yticks(range(grid.shape[0]), [f"{v:.2g}" if isinstance(v, float) else v for v in grid.index])
    ax.set(title=title, xlabel=grid.columns.name, ylabel=grid.index.name)
    ax.grid(False)
    figure.colorbar(image, label=label, fraction=0.05)
    return figure


# ---- the training figure of sheet 3

LEVELS = (0.01, 0.25, 0.5, 0.75, 0.99)  # the quantiles that a bar shows
ALARM = "#d00000"
LOSSES = {"training loss": "C0", "validation loss": "C1"}
SMALL, SMALLER = 7.5, 6.5  # points: legible in a GIF, of which every pixel costs time and bytes


@incremental
def training_figure(weights, net_values, activations, train_losses, val_losses):
    """Draw what a TorchMonitor has recorded up to batch t: `training_figure(t, *histories)`, for t = 1 ... T.

    A column for each Linear layer: its weights, and below them the net values and outputs of the ReLU that has the same
    place among the ReLUs; in the last column the losses. A batch is a bar from the first to the last of LEVELS, of all
    entries, darker between the quartiles, with the median; red where a number is not finite. The black line is the
    share of dead units (of feature maps: channels), those at zero for the whole batch; 100 % is the top. Dotted: the
    initial weights, and the loss of guessing, ln of the number of outputs. Limits hold for all batches; those of net
    values, and of outputs, for all layers.
    """
    steps, losses = len(train_losses), (train_losses, val_losses)
    figure, rows, loss_panel = _training_panels(weights, net_values, activations, steps)
    _set_limits(loss_panel, np.array(losses), above=0.3)  # room for the legend
    boxes, colors = [np.empty((steps, 0, 4, 2))], [np.empty((steps, 0, 4))]  # of the bars of each panel, by batch
    lines = [_line(loss_panel, values) for values in losses]
    for axes, lists, color in zip(rows, (weights, net_values, activations), ("C2", "C3", "C5"), strict=True):
        quantiles = [_quantiles(tensors) for tensors in lists.values()]
        for ax, q in zip(axes, quantiles, strict=True):
            _set_limits(ax, q if lists is weights else np.concatenate(quantiles))
            for parts, part in zip((boxes, colors), _bars(ax, q[-steps:], 1, color), strict=True):
                parts.append(part)
            if lists is weights:
                ax.hlines(q[0, [0, -1]], *ax.get_xlim(), colors=GREY, linestyles=":", linewidth=0.7)
                _add_bars(figure, *(part[0] for part in _bars(ax, q[:1], 0, color)))
    for ax, outputs in zip(rows[2], activations.values(), strict=True):
        dead = np.array([measure.dead_units(batch).float().mean().item() for batch in outputs])
        lines.append(_line(ax, ax.get_ylim()[1] * dead))
    boxes, colors, lines = np.concatenate(boxes, axis=1), np.concatenate(colors, axis=1), np.stack(lines, axis=1)
    line_colors = [*LOSSES.values(), *["k"] * len(activations)]
    clock, *numbers = _status_line(figure)
    yield figure, [clock, *numbers]
    for t in range(steps):
        clock.set_text(f"{t + 1} / {steps}")
        for number, values in zip(numbers, losses, strict=True):
            number.set_text(f"{values[t]:.2f}")
        segments = LineCollection(lines[t], colors=line_colors, linewidths=1.3, transform=figure.transFigure)
        yield [_add_bars(figure, boxes[t], colors[t]), figure.add_artist(segments)]


def _training_panels(weights, net_values, activations, steps: int) -> tuple[Figure, list[list[Axes]], Axes]:
    """Return a figure with a row of panels for each of the three, and the panel of the losses."""
    columns = max(len(weights), len(net_values) + 1)
    width = max(1.6 * columns, 5.6)  # inches
    figure = plt.figure(figsize=(width, 3.7), layout="none")
    plt.close(figure)
    margins = {"left": 0.55 / width, "right": 1 - 0.32 / width, "top": 0.86, "bottom": 0.062}
    grid = figure.add_gridspec(3, columns, wspace=0.32, hspace=0.3, **margins)
    loss_panel = figure.add_subplot(grid[1:, -1], xlim=(-1, steps + 1))
    rows = []
    for row, (lists, what) in enumerate(((weights, "weights"), (net_values, "net values"), (activations, "outputs"))):
        rows.append([figure.add_subplot(grid[row, i], xlim=(-1, steps + 1)) for i in range(len(lists))])
        for ax, (name, tensors) in zip(rows[-1], lists.items(), strict=True):
            first = ax is rows[-1][0]
            shape = "  {1} → {0}".format(*tensors[0].shape) if lists is weights else ""
            ax.set_title((name + shape) if row < 2 else "black: dead units, 0 to 100 %" if first else "")
            ax.set_ylabel(what if first else "", fontsize=SMALL)
            ax.tick_params(labelbottom=row == 2, labelleft=first or row == 0)
    loss_panel.set_title("loss")
    loss_panel.yaxis.tick_right()
    for label, color in LOSSES.items():
        loss_panel.plot([], [], color=color, label=label.removesuffix(" loss"))
    loss_panel.legend(loc="upper right", fontsize=SMALL, frameon=True, facecolor="w", edgecolor="none", borderpad=0.1)
    if weights:
        guessing = math.log(next(reversed(weights.values()))[0].shape[0])
        loss_panel.axhline(guessing, color=GREY, linestyle=":", linewidth=0.9)
    for ax in figure.axes:
        ax.set_title(ax.get_title(loc="left"), fontsize=SMALL, pad=3)
        ax.tick_params(labelsize=SMALLER, pad=1.5, length=2)
        ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    loss_panel.tick_params(axis="y", length=0, pad=3)  # a tick before a number on the right looks like a minus
    return figure, rows, loss_panel


def _status_line(figure: Figure) -> list[Text]:
    """Write labels at the top; return the empty texts, of which only these change, for the batch and both losses."""
    texts = []
    for inches, label, color in zip((1.0, 2.7, 4.4), ("batch", *LOSSES), ("k", *LOSSES.values()), strict=True):
        x = inches / figure.get_figwidth()
        figure.text(x, 0.945, f"{label} ", fontsize=8.5, color=color, ha="right")
        texts.append(figure.text(x, 0.945, "", fontsize=8.5, color=color))
    return texts


def _bars(ax: Axes, quantiles: np.ndarray, first: int, color: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the bars of batch `first` and those after it as boxes (T, 3, 4, 2), in parts of the figure, and colors."""
    low, high = ax.get_ylim()
    q = np.where(np.isfinite(quantiles), quantiles, low)
    median = q[:, 2] + (high - low) / 120 * np.array([[-1], [1]])
    spans = np.stack([q[:, [0, 4]], q[:, [1, 3]], median.T], axis=1)  # (T, 3, bottom and top)
    rgb = np.array(to_rgb(color))
    colors = np.tile(to_rgba_array([1 - 0.35 * (1 - rgb), rgb, 0.4 * rgb]), (len(q), 1, 1))
    broken = ~np.isfinite(quantiles).all(axis=1)
    spans[broken], colors[broken] = (low, high), to_rgba_array(ALARM)
    x = np.arange(first, first + len(q))[:, None, None] + [-0.5, 0.5, 0.5, -0.5]
    corners = np.stack(np.broadcast_arrays(x, spans[..., [0, 0, 1, 1]]), axis=-1)
    return _in_figure(ax, corners), colors


def _add_bars(figure: Figure, boxes: np.ndarray, colors: np.ndarray) -> Artist:
    """Draw the bars of all panels at once, which takes a tenth of the time of an artist for each."""
    bars = PolyCollection(boxes, facecolors=colors, linewidths=0, antialiaseds=False, transform=figure.transFigure)
    return figure.add_artist(bars)


def _line(ax: Axes, values: Sequence[float]) -> np.ndarray:
    """Return the line through `values` as a segment for each batch (T, 2, 2), in parts of the figure."""
    points = _in_figure(ax, np.stack([np.arange(len(values) + 1), [values[0], *values]], axis=1))
    return np.stack([points[:-1], points[1:]], axis=1)


def _quantiles(tensors: Sequence) -> np.ndarray:
    """Return the quantiles LEVELS of each tensor's entries, (len(tensors), 5); NaN where an entry is not finite."""
    rows = []
    for tensor in tensors:
        values = np.sort(tensor.float().flatten().numpy())  # which puts NaN and Inf at the ends
        finite = np.isfinite(values[[0, -1]]).all()
        rows.append(values[np.rint(np.array(LEVELS) * (len(values) - 1)).astype(int)] if finite else [np.nan] * 5)
    return np.array(rows, dtype=float)


def _set_limits(ax: Axes, values: np.ndarray, above: float = 0.05) -> None:
    """Make the panel as high as all finite values need, and what stands in it already; leave a part free `above`."""
    values = np.append(values[np.isfinite(values)], [line.get_ydata()[0] for line in ax.lines if len(line.get_ydata())])
    low, high = (values.min(), values.max()) if len(values) else (-1, 1)
    height = (high - low) or 0.02
    ax.set_ylim(low - 0.05 * height, high + above * height)


def _in_figure(ax: Axes, points: np.ndarray) -> np.ndarray:
    """Convert points (..., 2) from the data of a panel to parts of the figure."""
    return (ax.transData - ax.figure.transFigure).transform(points.reshape(-1, 2)).reshape(points.shape)
