"""The same strip of evidence for any network: what it gets, activations over time, gradients by layer, loss."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import PowerNorm
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter
from torch.overrides import TorchFunctionMode
from torchvision.utils import make_grid

from doctor import measure
from helpers import figures

TITLES = "inputs", "first layer", "last hidden layer", "outputs", "gradient norms", "training loss"
MOST = 1000.0  # where the scales end, so that an explosion does not flatten the others


class _Activations(TorchFunctionMode):
    """Collect the outputs of all activation functions, in modules or not."""

    def __init__(self):
        super().__init__()
        self.found = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        if measure.is_activation(measure.function_name(function), args, kwargs or {}):
            self.found[f"layer {len(self.found) + 1}"] = outputs.clone()
        return outputs


def record(log, model, batch, parameters=None) -> None:
    """Write what this step looks like to a Logbook, if it is due; call it between `backward` and the update.

    The `model`, any callable, is called once more: gradients, random numbers and running averages stay as they are.
    """
    if not log.due:
        return
    if log.steps == 0:
        side = math.isqrt(batch[0].numel())
        tiles = batch[:9].reshape(-1, 1, side, side) if side**2 == batch[0].numel() else batch[:9]
        log.images("inputs", make_grid(tiles, nrow=3, padding=0)[None])
    buffers = [(buffer, buffer.clone()) for buffer in getattr(model, "buffers", list)()]
    with torch.no_grad(), torch.random.fork_rng(), _Activations() as mode:
        outputs = model(batch)
        for buffer, before in buffers:
            buffer.copy_(before)
    log.activations(mode.found | {"outputs": outputs})
    weights = [p for p in parameters or model.parameters() if p.ndim > 1]
    log.parameters({f"W{number}": weight for number, weight in enumerate(weights, 1)})


def draw(runs: dict[str, dict], guess: float = math.log(10)) -> figures.Figure:
    """Draw a row for each run {label: logbook.read(folder)}, on common scales; dotted: `guess`, the loss of that."""
    figure, axes = figures.panels(len(runs), len(TITLES), figsize=(11.5, 0.2 + 1.38 * len(runs)))
    for row, (label, run) in zip(axes, runs.items(), strict=True):
        row[0].imshow(run["inputs"].values[0])
        low, high = (run[f"image_{end}/inputs"].values[0] for end in ("min", "max"))
        row[0].set(xlabel=f"{low:.3g} to {high:.3g}", ylabel=label, xticks=[], yticks=[])
        norms = np.array([series.values for tag, series in run.items() if tag.startswith("gradient_norm/")])
        for at in np.linspace(0, norms.shape[1] - 1, 6).astype(int):
            values, color = np.where(norms > 0, norms, np.nan)[:, at], plt.get_cmap("viridis")(at / norms.shape[1])
            row[4].semilogy(range(1, len(norms) + 1), values, ".-", color=color)
        row[4].text(0.5, 0.5, "" if norms.any() else "all exactly 0", transform=row[4].transAxes, ha="center")
        row[4].set(xticks=range(1, len(norms) + 1, 1 + len(norms) // 6), xlabel="layer")
        _, steps, losses = run["loss/train"]
        row[5].loglog(steps + 1, losses, "C1-", [1, steps[-1] + 1], [guess, guess], "k:")
        plt.setp(row[[1, 2, 3, 5]], xscale="log", xlim=(1, steps[-1] + 1), xlabel="step")
        layers = [tag.partition("/")[2] for tag in run if tag.startswith("activation/")]
        for ax, layer in zip(row[1:4], (layers[0], layers[-2:][0], layers[-1]), strict=True):
            _draw_histograms(ax, run[f"activation/{layer}"], run[f"activation_units_at_zero/{layer}"].values)
    for panel in ([1, 2], [3], [4], [5]):
        low, high = np.transpose([ax.get_ylim() for ax in axes[:, panel].flat])
        low, high = low.min().clip(-MOST), high.max().clip(None, MOST)
        if panel == [4]:  # at least two powers of ten, which alone have numbers
            low, high = 10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(high))
        plt.setp(axes[:, panel].flat, ylim=(low, high))
    for i, ax in enumerate(axes.flat):
        ax.set_title(TITLES[i] if i < 6 else "", fontsize=9)
        ax.tick_params(labelsize=7.5)
        ax.yaxis.set_minor_formatter(NullFormatter())
    return figure


def _draw_histograms(ax, series, at_zero) -> None:
    ends = np.clip([(bins[0], bins[-1]) for bins, _ in series.values], -MOST, MOST)
    edges = np.sinh(np.linspace(*np.arcsinh([ends.min(), ends.max()]), 41))
    below = [np.interp(edges, bins, [0, *counts.cumsum()]) / counts.sum() for bins, counts in series.values]
    steps = [*(series.steps + 1), 1.1 * series.steps[-1] + 2]
    ax.pcolormesh(steps, edges, np.diff(below).T, cmap="Blues", norm=PowerNorm(0.5, 0, 0.5))
    ax.set_yscale("asinh")
    ax.yaxis.set(major_locator=FixedLocator([-100, -10, -1, 0, 1, 10, 100]), minor_locator=NullLocator())
    ax.yaxis.set(major_formatter=StrMethodFormatter("{x:g}"))
    ax.set_xlabel(f"step; units at zero: {at_zero[0]:.0%} → {at_zero[-1]:.0%}", fontsize=7.5)
