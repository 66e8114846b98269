"""Recorded numbers -> matplotlib Figure. Nothing here trains, shows or saves."""

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

plt.style.use(Path(__file__).with_name("style.mplstyle"))

GREY = "#777777"  # the baseline, and guide lines


def panels(rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """Return a Figure and its axes (rows, columns); closed in pyplot, so that a notebook shows it once."""
    options.setdefault("figsize", (1.4 + 2.8 * columns if columns > 1 else 7.6, 3.3 * rows))
    figure, axes = plt.subplots(rows, columns, squeeze=False, **options)
    plt.close(figure)
    return figure, axes


def image_grid(
    images,
    titles: Sequence[str] = (),
    columns: int = 10,
    cmap: str = "gray",
    symmetric: bool = False,
    size: float = 0.9,
) -> Figure:
    """Show images (N, H, W) or (N, H, W, 3) in rows of `columns`, all on one colour scale; `size` in inches each.

    `symmetric` centres the scale on 0, for weights.
    """
    images = np.asarray(images)
    rows = -(-len(images) // columns)
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    figure, axes = panels(rows, columns, figsize=(size * columns, (size + 0.17 * lines) * rows))
    high = np.abs(images).max() if symmetric else images.max()
    low = -high if symmetric else images.min()
    for i, ax in enumerate(axes.flat):
        ax.axis("off")
        if i < len(images):
            ax.imshow(images[i], cmap=cmap, vmin=low, vmax=high)
        if i < len(titles):
            ax.set_title(titles[i], fontsize=8, fontweight="normal", loc="center", pad=2)
    return figure


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


def learning_curves(
    runs: Mapping[str, Sequence], ylabel: str, xlabel: str = "epochs", log: bool = False, percent: bool = True
) -> Figure:
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


def response(
    table: pd.DataFrame,
    x: str,
    y: str,
    hue: str | None = None,
    panel: str | None = None,
    log_x: bool = True,
    xlabel: str = "",
    ylabel: str = "",
    chance: float | None = None,
) -> Figure:
    """Draw how the fraction `y` answers to `x`, a line for each `hue`, a panel for each `panel`.

    The seeds of `table` are thin lines beside their median. Without `log_x` the values of x stand at equal
    distances. A numeric hue gets sequential colours. `chance` draws a guide line.
    """
    groups = [("", table)] if panel is None else list(table.groupby(panel, sort=False))
    colors = [None] if hue is None else _hue_colors(table[hue].unique())
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


def _hue_colors(values: Sequence) -> list:
    if all(isinstance(value, Real) for value in values):
        return list(plt.get_cmap("viridis")(np.linspace(0, 0.85, len(values))))
    return [f"C{i}" for i in range(len(values))]


def heatmap(grid: pd.DataFrame, title: str, label: str, fmt: str = "{:.0f}", cmap: str = "viridis", **limits) -> Figure:
    """Draw a table of numbers as coloured cells with their values; the names of its axes are the labels."""
    figure, ((ax,),) = panels(figsize=(1.8 + 0.52 * grid.shape[1], 1.1 + 0.36 * grid.shape[0]))
    values = grid.to_numpy(dtype=float)
    image = ax.imshow(values, cmap=cmap, aspect="auto", origin="lower", **limits)
    ax.tick_params(labelsize=8.5)
    for (row, column), value in np.ndenumerate(values):
        dark = np.isfinite(value) and np.dot(image.cmap(image.norm(value))[:3], (0.3, 0.6, 0.1)) < 0.5
        color = "white" if dark else "black"
        ax.text(column, row, fmt.format(value), ha="center", va="center", color=color, fontsize=8)
    ax.set_xticks(range(grid.shape[1]), [f"{v:.2g}" if isinstance(v, float) else v for v in grid.columns])
    ax.set_yticks(range(grid.shape[0]), [f"{v:.2g}" if isinstance(v, float) else v for v in grid.index])
    ax.set(title=title, xlabel=grid.columns.name, ylabel=grid.index.name)
    ax.grid(False)
    figure.colorbar(image, label=label, fraction=0.05)
    return figure


def decision_plane(points, labels, regions, extent, xlabel: str, ylabel: str, yticks=None) -> Figure:
    """Draw points (N, 2) over the decision regions (rows, columns) of a classifier, a colour for each class.

    `extent` is (left, right, bottom, top) of the regions, whose first row lies at the bottom.
    """
    figure, ((ax,),) = panels(figsize=(6.5, 4.2))
    colours = {"cmap": "tab10", "vmin": -0.5, "vmax": 9.5}
    ax.imshow(regions, extent=extent, origin="lower", aspect="auto", alpha=0.3, interpolation="nearest", **colours)
    dots = ax.scatter(*np.asarray(points).T, c=labels, s=5, linewidths=0, **colours)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=extent[:2], ylim=extent[2:])
    if yticks is not None:
        ax.set_yticks(yticks)
    ax.grid(False)
    figure.colorbar(dots, label="class (area: predicted)", ticks=range(10))
    return figure
