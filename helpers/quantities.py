"""Recorded tensors -> the numbers, batch by batch, that the training figure and the page of all movies show."""

import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from doctor import measure

LEVELS = (0.01, 0.25, 0.5, 0.75, 0.99)  # the quantiles that stand for a distribution
COUNTED = 100_000  # entries that are enough
UPPER = slice(1 if sys.byteorder == "little" else 0, None, 2)  # of a float32 in two halves
# Float32 values that share their upper 16 bits make a cell. So many of each sign are finite; those below 0 come later.
FINITE, SIGN = 0x7F80, 0x8000

_edges = (np.arange(FINITE + 1, dtype=np.uint32) << 16).view(np.float32).astype(float)
_edges[1], _edges[-1] = 0, np.finfo(np.float32).max  # nobody tells the smallest from 0
CELLS = np.stack([_edges[:-1], _edges[1:]], axis=1)  # lower and upper edge of each that is not negative


class Distribution:
    """How the entries of a tensor are distributed, counted in cells: those whose float32 have the same upper 16 bits.

    A quantile is so right to the width of a cell, one part in 128 of its value, which is half a pixel of a panel;
    counting takes a tenth of the time of sorting. Of more than 200,000 entries a part is counted, 66,000 or more at
    equal distances: the outer quantiles of a normal distribution then err by 1.5 % of its standard deviation.
    `finite` tells whether all entries are; others are not counted.
    """

    def __init__(self, tensor: Tensor):
        values = tensor.detach().float().flatten()
        self.finite = not len(values) or all(math.isfinite(bound.item()) for bound in values.aminmax())
        part = values.numpy()[:: len(values) // COUNTED | 1]  # odd, to pass through all columns of a matrix
        keys = np.ascontiguousarray(part).view(np.uint16)[UPPER]
        counts = np.bincount(keys)
        occupied = np.flatnonzero(counts != 0)  # of a mask it takes a tenth of the time
        positive, negative = (occupied[(occupied >= sign) & (occupied < sign + FINITE)] for sign in (0, SIGN))
        upto = np.concatenate([[0], counts[negative[::-1]], counts[positive]]).cumsum()
        # Both edges of each cell that has entries, in order, and the share of entries below them.
        self._values = np.concatenate([-CELLS[negative - SIGN].ravel()[::-1], CELLS[positive].ravel()])
        self._below = np.stack([upto[:-1], upto[1:]], axis=1).ravel() / max(1, upto[-1])

    def quantiles(self, levels: Sequence[float] = LEVELS) -> np.ndarray:
        """Return these quantiles; NaN for a tensor with entries that are not finite, or with none."""
        if not self.finite or not len(self._values):
            return np.full(len(levels), np.nan)
        return np.interp(levels, self._below, self._values)

    def shares(self, edges: np.ndarray) -> np.ndarray:
        """Return the share of the finite entries between neighboring edges, (len(edges) - 1,)."""
        below = np.interp(edges, self._values, self._below, left=0) if len(self._values) else np.zeros(len(edges))
        return np.diff(below)


@dataclass
class Summary:
    """The numbers of a training of T batches, for the layers by name; L Linear layers, R ReLUs, N batch norms."""

    weights: dict[str, list[Distribution]]  # T + 1 each, the first of the initial weights
    net_values: dict[str, list[Distribution]]  # T each
    outputs: dict[str, list[Distribution]]
    losses: np.ndarray  # (2, T), training and validation
    net_rms: np.ndarray  # (R, T), root mean squares
    output_rms: np.ndarray  # (R, T)
    dead: np.ndarray  # (R, T), the share of units that are zero for the whole batch
    update_ratio: np.ndarray  # (L, T), |w_t - w_(t-1)| / |w_(t-1)|
    norm_rms: np.ndarray  # (N, 2, T), of the input and the output of batch norms
    shapes: dict[str, tuple[int, ...]]  # of the weights of a Linear layer, (out, in)

    def series(self) -> dict[str, np.ndarray]:
        """Return the arrays, with LEVELS (layers, batches, 5) for distributions, that `gallery` needs of a training."""
        named = {name: getattr(self, name) for name in ("losses", "net_rms", "output_rms", "dead", "update_ratio")}
        if len(self.norm_rms):
            named |= {"norm_input": self.norm_rms[:, 0], "norm_output": self.norm_rms[:, 1]}
        return named | {name: quantiles(getattr(self, name)) for name in ("weights", "net_values", "outputs")}


def summarize(
    weights: Mapping[str, Sequence[Tensor]],
    net_values: Mapping[str, Sequence[Tensor]],
    activations: Mapping[str, Sequence[Tensor]],
    train_losses: Sequence[float],
    val_losses: Sequence[float],
    norms: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Summary:
    """Return the numbers of what a TorchMonitor has recorded; `norms` are its `norm_signals`."""
    return Summary(
        *({name: [*map(Distribution, tensors)] for name, tensors in lists.items()} for lists in (weights, net_values)),
        outputs={name: [*map(Distribution, tensors)] for name, tensors in activations.items()},
        losses=np.array([train_losses, val_losses], dtype=float),
        net_rms=_of_each(rms, net_values, len(train_losses)),
        output_rms=_of_each(rms, activations, len(train_losses)),
        dead=_of_each(lambda batch: measure.dead_units(batch).float().mean().item(), activations, len(train_losses)),
        update_ratio=np.array(
            [[measure.update_ratio(*pair).item() for pair in itertools.pairwise(some)] for some in weights.values()]
        ),
        norm_rms=np.array([np.transpose(pairs) for pairs in (norms or {}).values()], dtype=float),
        shapes={name: tuple(matrices[0].shape) for name, matrices in weights.items()},
    )


def quantiles(distributions: Mapping[str, Sequence[Distribution]]) -> np.ndarray:
    """Return the quantiles LEVELS of each, (layers, batches, 5)."""
    return np.array([[each.quantiles() for each in several] for several in distributions.values()], dtype=float)


def rms(tensor: Tensor) -> float:
    """Return the root mean square of a tensor's entries."""
    return tensor.detach().float().norm().item() / max(1, tensor.numel()) ** 0.5


def _of_each(function, lists, steps: int) -> np.ndarray:
    return np.array([[function(tensor) for tensor in tensors] for tensors in lists.values()]).reshape(-1, steps)
