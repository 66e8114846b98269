"""The movie as most would make it: `ax.boxplot` of all values so far, anew for each frame, and `imageio.mimsave`.

It takes minutes. So a few of its frames are drawn and encoded, and their time is scaled to all of them.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from benchmarks.measure import seconds
from helpers import figures


@dataclass
class PlainMovie:
    """What some frames took, and by that what a whole movie takes."""

    at: Sequence[int]  # the batches of these frames
    drawing: list[float]  # seconds of each of them
    encoding: float  # seconds of one, on average
    kilobytes: float  # of one, on average
    pixels: tuple[int, int]  # height, width

    def seconds(self, batches: int) -> float:
        """Return the seconds of all frames."""
        return seconds_of_all(self.at, self.drawing, batches) + self.encoding * batches


def sample(history: tuple, at) -> PlainMovie:
    """Draw the frames at the given batches, and encode them."""
    drawing, pictures = time_frames(boxplots, history, at)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.gif"
        encoding = seconds(lambda: imageio.mimsave(path, pictures, duration=100))
        kilobytes = path.stat().st_size / 1000
    return PlainMovie(at, drawing, encoding / len(at), kilobytes / len(at), pictures[0].shape[:2])


def boxplots(t, weights, net_values, activations, train_losses, val_losses) -> plt.Figure:
    """Draw the same panels as `training_figure`, in its size, with a box of all values for each batch."""
    columns = max(len(weights), len(net_values) + 1)
    size = figures.training_size(columns)
    figure, axes = plt.subplots(3, columns, figsize=size, dpi=figures.DPI, layout="none", squeeze=False)
    rows = {"weights": weights, "net values": net_values, "outputs": activations}
    for row, (what, layers) in zip(axes, rows.items(), strict=True):
        first = 0 if layers is weights else 1  # there are weights before the first batch
        for ax, (name, tensors) in zip(row, layers.items(), strict=False):
            values = [tensor.flatten().numpy() for tensor in tensors[: t + 1 - first]]
            ax.boxplot(values, positions=range(first, t + 1), manage_ticks=False)
            ax.set_title(f"{what} {name}", fontsize=7)
        for ax in row[len(layers) :]:
            ax.remove()
    ax = figure.add_subplot(3, columns, 3 * columns)
    ax.plot(range(1, t + 1), train_losses[:t], label="training")
    ax.plot(range(1, t + 1), val_losses[:t], label="validation")
    ax.legend()
    for ax in figure.axes:
        ax.set_xlim(-1, len(train_losses) + 1)
        ax.tick_params(labelsize=6, pad=1)
    figure.suptitle(f"batch {t}: loss {train_losses[t - 1]:.2f}, {val_losses[t - 1]:.2f}", fontsize=9)
    return figure


def picture(figure: plt.Figure) -> np.ndarray:
    """Draw a figure; return its pixels, uint8 (H, W, 3)."""
    plt.close(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def time_frames(fig_fun, history: tuple, at) -> tuple[list[float], list[np.ndarray]]:
    """Return the seconds that the frames at the given batches take, each drawn anew, and the frames."""
    times, pictures = [], []
    for t in at:
        start = time.perf_counter()
        pictures.append(picture(fig_fun(t, *history)))
        times.append(time.perf_counter() - start)
    return times, pictures


def seconds_of_all(at, times: list[float], batches: int) -> float:
    """Return the seconds of all frames, those between the timed ones interpolated; beyond them a fitted line."""
    t = np.arange(1, batches + 1)
    line = np.polyval(np.polyfit(at, times, 1), t)
    return float(np.where(t <= at[-1], np.interp(t, at, times), line).sum())
