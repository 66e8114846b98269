"""Recorded numbers -> matplotlib Figure. Nothing here trains, shows or saves."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter

from helpers import quantities, session
from helpers.movie import Rectangles, Words, incremental

plt.style.use(Path(__file__).with_name("style.mplstyle"))
if session.QUICK:  # coarse figures without a layout, whose titles need not make room, are drawn in a third of the time
    plt.rcParams.update({"figure.dpi": 30, "savefig.dpi": 30, "figure.constrained_layout.use": False, "axes.titley": 1})

GREY = "#777777"  # the baseline, and guide lines


def panels(rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """Return a Figure and its axes (rows, columns); closed in pyplot, so that a notebook shows it once."""
    options.setdefault("figsize", (1.4 + 2.8 * columns if columns > 1 else 7.6, 2.75 * rows))
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
    figure, ((ax,),) = panels(figsize=(1.8 + 0.52 * grid.shape[1], 1 + 0.27 * grid.shape[0]))
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

ALARM = "#d00000"
LOSSES = {"training": "C0", "validation": "C1"}
ROWS = {"weights": "C2", "net_values": "C3", "outputs": "C5"}
NORM = "C4"
SMALL, SMALLER = 7.5, 6.5  # points: legible in a GIF, of which every pixel costs time and bytes
# Pixels. A panel has the batches from left to right, and beside them the histogram of the present one.
HEAD, LEFT, HISTORY, GAP, HISTOGRAM, TITLE, HEIGHT, BELOW = 30, 31, 103, 3, 24, 14, 60, 8
WIDE = HISTORY + GAP + HISTOGRAM
COLUMN, ROW, BIN, LINE, DPI = LEFT + WIDE + 4, TITLE + HEIGHT + BELOW, 4, 2, 100


@incremental
def training_figure(
    weights, net_values, activations, train_losses, val_losses, title="", summary=None, loss_range=None
):
    """Draw what a TorchMonitor has recorded up to batch t: `training_figure(t, *histories)`, for t = 1 ... T.

    A column for each Linear layer: its weights, and below them the net values and outputs of the ReLU that has the same
    place among the ReLUs. A batch is a bar from the first to the last of quantities.LEVELS, of all entries, darker
    between the quartiles, with the median, and red where a number is not finite; beside it stands the histogram of
    batch t (black marks: of the first). Each panel has a scale of its own, the same for all batches. Black, from 0 to
    100 %: the share of dead units (feature maps: channels), zero for all the batch; above it, at t. Lowest row: log10
    of root mean squares, one scale for all layers: net values, outputs, and the other side of a batch norm. Last
    column: losses, guessing (ln of the number of outputs), and log10 of |change| / |weight| for each Linear layer.
    `title` names the training. `summary`: quantities.summarize of the same histories; only it knows of batch norms.
    `loss_range` (low, high) makes the losses of several movies comparable; those beyond it lie on its edge.
    """
    summary = summary or quantities.summarize(weights, net_values, activations, train_losses, val_losses)
    figure = _blank(columns := max(len(summary.weights), len(summary.net_values) + 1))
    added, present, shares = _Boxes(summary.losses.shape[1]), _Boxes(summary.losses.shape[1]), []
    for row, (what, color) in enumerate(ROWS.items()):
        for column, (name, distributions) in enumerate(getattr(summary, what).items()):
            shown = quantities.quantiles({name: distributions})
            panel = _Panel(figure, column, row, *_limits(shown)).label(_panel_title(summary, what, name))
            added.bars(panel, shown[0], color)
            present.histograms(panel, distributions, color)
            if what == "outputs":
                added.line(dataclasses.replace(panel, low=0, high=1), summary.dead[column], "k")
                shares.append(panel.text(WIDE, HEIGHT + 2, "", fontsize=SMALL, ha="right"))
    _draw_signals(figure, summary, added)
    _draw_losses(figure, columns - 1, summary, loss_range, added)
    _draw_update_ratios(figure, columns - 1, summary, added)
    texts, histograms = _status_line(figure, title) + shares, Rectangles(figure)
    yield figure, [histograms, *texts]
    for t in range(added.steps):
        for text, words in zip(texts, _status(summary, t), strict=True):
            text.set_text(words)
        histograms.change(*present.of_batch(t))
        yield [Rectangles(figure, *added.of_batch(t))]


def training_size(columns: int) -> tuple[float, float]:
    """Return width and height, in inches, of a training figure with so many columns of panels."""
    return (max(columns, 4) * COLUMN + 6) / DPI, (HEAD + (len(ROWS) + 1) * ROW) / DPI


def _blank(columns: int) -> Figure:
    figure = plt.figure(figsize=training_size(columns), dpi=DPI, layout="none")
    figure.add_axes((0, 0, 1, 1)).set_axis_off()  # for IPython a figure without one is empty, and it shows nothing
    plt.close(figure)
    return figure


def _panel_title(summary, what: str, name: str) -> str:
    if what == "weights":
        return "{}  {} → {}".format(name, *reversed(summary.shapes[name]))
    return f"{name}: {what.replace('_', ' ')}"


@dataclasses.dataclass
class _Panel:
    """A part of a figure on whole pixels, with a vertical scale; much faster to make and draw than an Axes."""

    figure: Figure
    column: int
    row: int
    low: float
    high: float
    rows: int = 1  # how many it spans
    width: int = HISTORY

    def __post_init__(self):
        self.left = self.column * COLUMN + LEFT
        height = round(self.figure.get_figheight() * DPI)
        self.bottom = height - HEAD - (self.row + self.rows) * ROW + BELOW
        self.height = self.rows * ROW - TITLE - BELOW

    def y(self, values) -> np.ndarray:
        """Return the heights of values, those beyond the scale on its edge, NaN at its bottom."""
        values = np.clip(np.nan_to_num(values, nan=self.low), self.low, self.high)
        return np.rint(self.bottom + (values - self.low) / (self.high - self.low) * self.height)

    def label(self, title: str, guides: Mapping[float, str] | None = None) -> "_Panel":
        """Draw title, ticks, and dotted guides at given values."""
        ticks = MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        ticks = ticks[(self.low <= ticks) & (ticks <= self.high)]
        right, top = self.left + self.width, self.bottom + self.height
        lines = [(self.left, y, right, y + 1) for y in self.y(ticks)] + [(self.left - 1, self.bottom, self.left, top)]
        Rectangles(self.figure, lines, [to_rgb("0.9")] * len(ticks) + [to_rgb("0.6")])
        for tick, y in zip(ticks, self.y(ticks), strict=True):
            self.text(-3, y - self.bottom, f"{tick:.4g}", fontsize=SMALLER, ha="right", va="center", color="0.3")
        self.text(0, self.height + 2, title, fontsize=SMALL)
        for value, words in (guides or {}).items():
            dots = np.arange(self.left, right, 4)
            y = np.full(len(dots), self.y(value))
            Rectangles(self.figure, np.stack([dots, y, dots + 2, y + 1], axis=1), [to_rgb(GREY)] * len(dots))
            self.text(self.width, self.y(value) - self.bottom + 4, words, fontsize=SMALLER, ha="right", color="0.3")
        return self

    def text(self, x: float, y: float, words: str, **style) -> Words:
        """Write at pixels from the panel's lower left corner."""
        return Words(self.figure, self.left + x, self.bottom + y, words, **style)


class _Boxes:
    """Rectangles for each of `steps` batches."""

    def __init__(self, steps: int):
        self.steps, self._boxes, self._colors = steps, [np.empty((steps, 0, 4))], [np.empty((steps, 0, 3))]

    def of_batch(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes (N, 4) and colors (N, 3) of batch t, counted from 0."""
        if len(self._boxes) > 1:
            self._boxes, self._colors = [np.concatenate(self._boxes, axis=1)], [np.concatenate(self._colors, axis=1)]
        return self._boxes[0][t], self._colors[0][t]

    def _add(self, boxes: Sequence, colors) -> None:
        """Take boxes as (left, bottom, right, top), arrays (steps, N) or less, and colors, (steps, N, 3) or less."""
        boxes = np.stack(np.broadcast_arrays(*boxes), axis=-1)
        self._boxes.append(boxes)
        self._colors.append(np.broadcast_to(colors, (*boxes.shape[:2], 3)))

    def _columns(self, panel: _Panel) -> tuple[np.ndarray, np.ndarray]:
        """Return where batches begin and end, (steps, 1) each; a pixel at least."""
        edges = panel.left + np.rint(np.arange(1, self.steps + 2) * panel.width / (self.steps + 1))
        return edges[:-1, None], np.maximum(edges[1:], edges[:-1] + 1)[:, None]

    def bars(self, panel: _Panel, quantiles: np.ndarray, color: str) -> None:
        """Draw quantiles (steps, 5) as bars; with one more, the first are those before the first batch."""
        y = panel.y(quantiles)
        bottoms = np.stack([y[:, 0], y[:, 1], y[:, 2]], axis=1)
        tops = np.stack([y[:, 4], y[:, 3], y[:, 2] + 1], axis=1)
        broken = ~np.isfinite(quantiles).all(axis=1)
        bottoms[broken], tops[broken] = panel.bottom, panel.bottom + panel.height
        rgb = np.array(to_rgb(color))
        colors = np.tile([1 - 0.35 * (1 - rgb), rgb, 0.4 * rgb], (len(y), 1, 1))
        colors[broken] = to_rgb(ALARM)
        left, right = self._columns(panel)
        last = slice(len(y) - self.steps, None)
        self._add((left, bottoms[last], right, tops[last]), colors[last])
        if len(y) > self.steps:
            width = max(1, round(panel.width / (self.steps + 1)))
            boxes = [(panel.left, b, panel.left + width, t) for b, t in zip(bottoms[0], tops[0], strict=True)]
            Rectangles(panel.figure, boxes, colors[0])

    def line(self, panel: _Panel, values: np.ndarray, color) -> None:
        """Draw values (steps,) as a line of steps; nothing where they are NaN."""
        y, (left, right) = panel.y(values)[:, None] - LINE // 2, self._columns(panel)
        before = np.concatenate([y[:1], y[:-1]])
        bottoms, tops = np.minimum(y, before), np.maximum(y, before) + LINE
        seen = ~np.isnan(values)[:, None] & ~np.isnan(np.concatenate([values[:1], values[:-1]]))[:, None]
        self._add((left, bottoms, np.where(seen, right, left), tops), to_rgb(color))

    def histograms(self, panel: _Panel, distributions: Sequence, color: str) -> None:
        """Draw a histogram for each batch beside the bars, and marks where that of the first one ends."""
        count = panel.height // BIN
        edges = np.linspace(panel.low, panel.high, count + 1)
        shares = np.array([each.shares(edges) for each in distributions])[-self.steps :]
        largest = np.sort(shares, axis=1)[:, -2].max() or 1  # the second largest: a spike at 0 is cut off
        left = panel.left + HISTORY + GAP
        right = left + np.minimum(np.rint(shares / largest * HISTOGRAM), HISTOGRAM)
        bottom = panel.bottom + BIN * np.arange(count)
        self._add((left, bottom, right, bottom + BIN), to_rgb(color))
        self._add((right[:1] - 1, bottom, np.broadcast_to(right[:1], shares.shape), bottom + BIN), (0, 0, 0))


def _limits(values: np.ndarray, span: float = 0.02) -> tuple[float, float]:
    """Return the limits of a panel for all finite values."""
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (-1, 1)
    height = (high - low) or span
    return low - 0.04 * height, high + 0.04 * height


def _log10(values: np.ndarray) -> np.ndarray:
    """Return log10, and NaN where there is none."""
    return np.log10(values, out=np.full_like(values, np.nan), where=(values > 0) & np.isfinite(values))


def _draw_signals(figure: Figure, summary, added: _Boxes) -> None:
    """Draw how large the signal is behind each layer, on one scale for all layers."""
    lines = {"net": (summary.net_rms, ROWS["net_values"]), "out": (summary.output_rms, ROWS["outputs"])}
    if len(norms := summary.norm_rms):  # one of its sides is the net value or the output, and drawn already
        before = len(norms) == len(summary.net_rms) and np.allclose(norms[:, 1], summary.net_rms, rtol=0.01)
        lines |= {"norm in": (norms[:, 0], NORM)} if before else {"norm out": (norms[:, 1], NORM)}
    low, high = _limits(np.concatenate([_log10(values).ravel() for values, _ in lines.values()]))
    for column in range(len(summary.net_values)):
        panel = _Panel(figure, column, len(ROWS), low, high, width=WIDE).label("log10 rms")
        for x, (name, (values, color)) in zip((51, 71, 90), lines.items(), strict=False):
            panel.text(x, panel.height + 2, name, fontsize=SMALL, color=color)
            for row in _log10(values[column : column + 1]):
                added.line(panel, row, color)


def _draw_losses(figure: Figure, column: int, summary, loss_range, added: _Boxes) -> None:
    """Draw both losses, and that of guessing."""
    guess = math.log(list(summary.shapes.values())[-1][0]) if summary.shapes else np.nan
    low, high = loss_range or _limits(np.append(summary.losses, guess))
    guides = {guess: "guessing"} if low <= guess <= high else {}
    panel = _Panel(figure, column, 1, low, high, rows=2, width=WIDE).label("loss", guides)
    for x, values, (name, color) in zip((32, 78), summary.losses, LOSSES.items(), strict=True):
        added.line(panel, values, color)
        panel.text(x, panel.height + 2, name, fontsize=SMALL, color=color)


def _draw_update_ratios(figure: Figure, column: int, summary, added: _Boxes) -> None:
    """Draw by what part of itself each layer's weights change."""
    ratios = _log10(summary.update_ratio)
    if not len(ratios):
        return
    low, high = _limits(ratios, 1)
    guides = {-3.0: ""} if low < -3 < high else {}
    panel = _Panel(figure, column, len(ROWS), low, high, width=WIDE).label("log10 |Δw| / |w|", guides)
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(ratios)))[:, :3]
    for i, (values, color, name) in enumerate(zip(ratios, colors, summary.shapes, strict=True)):
        added.line(panel, values, color)
        panel.text(76 + i * 56 / len(ratios), panel.height + 2, name[-1], fontsize=SMALL, color=color)


def _status_line(figure: Figure, title: str) -> list[Words]:
    """Write the title and labels at the top; return the empty texts, which change, for the batch and both losses."""
    width, height = np.rint(figure.bbox.size)
    Words(figure, 6, height - 14, title, fontsize=9, fontweight="bold", va="center")
    texts, labels = [], {"batch": "k", **{f"{name} loss": color for name, color in LOSSES.items()}}
    for from_right, (label, color) in zip((312, 164, 36), labels.items(), strict=True):
        style = {"fontsize": 8.5, "color": color, "va": "center"}
        Words(figure, width - from_right - 3, height - 14, label, ha="right", **style)
        texts.append(Words(figure, width - from_right, height - 14, **style))
    return texts


def _status(summary, t: int) -> list[str]:
    """Return what changes from batch to batch: its number, both losses, and of each ReLU the share of dead units."""
    words = [f"{t + 1} / {summary.losses.shape[1]}", *map("{:.2f}".format, summary.losses[:, t])]
    return words + [f"{share:.0%} dead" for share in summary.dead[:, t]]
