"""TorchMonitor: collects what happens in a network during training; hands it on to `movie` and draws nothing itself."""

import itertools
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from doctor import measure
from helpers import movie
from helpers.hooks import Hook, check_not_compiled
from helpers.progress import progress
from helpers.quantities import rms

CALL_RETRIEVE = "call retrieve_weights_after_optimization_step() after each optimizer.step()"


class TorchMonitor(AbstractContextManager):
    """Record weights, net values and activations of a model, batch by batch, and make a movie of them.

        with TorchMonitor(model) as monitor:
            for x, y in batches:
                loss = loss_fn(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                monitor.retrieve_weights_after_optimization_step()
                monitor.receive_losses(loss, validation_loss())
        monitor.make_movie(training_figure, "training.gif")

    After T batches, by the names of `model.named_modules()`, as copies on the CPU:

    weights: Linear layer -> T + 1 matrices (out, in), [0] the initial one
    net_values, activations: ReLU -> T inputs and T outputs, (batch, neurons) or feature maps, in the order of use; the
        k-th use of one module within a forward pass is a ReLU of its own, `name:k`
    train_losses, val_losses: T numbers
    norm_signals: beyond the sheet, batch norm -> T pairs, the root mean squares of its input and of its output

    A forward pass is recorded if the model is called in training mode and does not raise. Outputs, gradients and random
    state are those of a run without monitor. Everything is kept: a batch of B samples costs 4 bytes for each weight and
    8 B for each ReLU unit; 1000 batches of 3072-256-128-10 at B = 128 are some 3.7 GB. Recording ends with `close()` or
    the `with` block. Only the modules nn.Linear and nn.ReLU are seen; a model with none of them gives a warning.
    """

    def __init__(self, model: nn.Module):
        check_not_compiled(model)
        self._linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        relus = {name: module for name, module in model.named_modules() if isinstance(module, nn.ReLU)}
        for modules, kind, what in ((self._linears, "Linear", "weights"), (relus, "ReLU", "net values")):
            if not modules:
                warnings.warn(f"The model has no module nn.{kind}: there are no {what} to record.", stacklevel=2)
        self.weights: dict[str, list[Tensor]] = {name: [] for name in self._linears}
        self.net_values: dict[str, list[Tensor]] = {name: [] for name in relus}
        self.activations: dict[str, list[Tensor]] = {name: [] for name in relus}
        norms = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
        self.norm_signals: dict[str, list[tuple[float, float]]] = {name: [] for name in norms}
        self.train_losses: list[float] = []
        self.val_losses: list[float] = []
        self._recorded = 0  # forward passes
        self._ends: list[int] = []  # how many there were each time the weights were retrieved
        self._pass: list[tuple[str, Tensor, Tensor]] | None = None  # ReLU, input and output in the pass under way
        self._norms: dict[str, tuple[float, float]] = {}  # of that pass
        self.retrieve_weights_after_optimization_step()
        self._hooks = [model.register_forward_pre_hook(Hook(self._begin_pass), prepend=True)]
        for name, module in self._linears.items():
            self._hooks.append(module.register_forward_hook(Hook(self._check_weights, name)))
        for name, module in relus.items():
            self._hooks.append(module.register_forward_pre_hook(Hook(self._take_input), with_kwargs=True))
            self._hooks.append(module.register_forward_hook(Hook(self._take_output, name)))
        for name, module in norms.items():
            self._hooks.append(module.register_forward_hook(Hook(self._take_norm, name)))
        self._hooks.append(model.register_forward_hook(Hook(self._end_pass)))

    def retrieve_weights_after_optimization_step(self) -> None:
        """Append the present weights of all Linear layers; to be called after each step of the optimizer."""
        for name, module in self._linears.items():
            if isinstance(module, nn.LazyLinear):
                raise ValueError(f"The layer {name} has no weights yet: run a batch through the model first.")
            self.weights[name].append(_copy(measure.weight_of(module)))
        self._ends.append(self._recorded)

    def receive_losses(self, train_loss: float | Tensor, val_loss: float | Tensor) -> None:
        """Append the losses on training and validation data; to be called after each batch."""
        numbers = [float(loss.detach() if isinstance(loss, Tensor) else loss) for loss in (train_loss, val_loss)]
        for losses, number in zip((self.train_losses, self.val_losses), numbers, strict=True):  # both or none
            losses.append(number)

    def make_movie(self, fig_fun: Callable[..., Figure], gif_filename: str | Path, fps: float = movie.FPS) -> Path:
        """Write a GIF with one frame for each processed batch, and return its path.

        `fig_fun(t, weights, net_values, activations, train_losses, val_losses)` returns the figure after t = 1 ... T
        batches: that of losses[:t], net_values[...][:t] and weights[...][: t + 1]. It is given the whole lists, so that
        it can fix the limits of its axes for the whole movie. `helpers.movie` says how to write one that draws fast.
        Passes without a retrieval of the weights between them, as when gradients are accumulated, are one batch.
        Raises ValueError where the lists differ in length, for figures of changing size and an fps outside 1 ... 50;
        TypeError for no Figure.
        """
        lists = [{k: self._by_batch(v) for k, v in kind.items()} for kind in (self.net_values, self.activations)]
        histories = self.weights, *lists, *map(self._by_batch, (self.train_losses, self.val_losses))
        steps = _processed_batches(*histories)
        pictures = movie.frames(fig_fun, histories, steps)
        return movie.write_gif(gif_filename, progress(pictures, total=steps, desc=Path(gif_filename).name), fps)

    def close(self) -> None:
        """Remove every hook; what was recorded stays."""
        while self._hooks:
            self._hooks.pop().remove()
        self._pass = None

    def __exit__(self, *exception) -> None:
        self.close()

    def _by_batch(self, entries: list) -> list:
        """Return what belongs to each batch: all passes between two retrievals of the weights, losses as their mean."""
        spans = [*itertools.pairwise(self._ends)]
        if len(entries) <= len(spans) or len(entries) != self._ends[-1] or any(a == b for a, b in spans):
            return entries
        if isinstance(entries[0], Tensor):
            return [torch.cat(torch.atleast_1d(entries[a:b])) for a, b in spans]
        return [sum(entries[a:b]) / (b - a) for a, b in spans]

    # ---- what the hooks call

    def _begin_pass(self, model, args) -> None:
        self._pass, self._norms = [] if model.training else None, {}

    def _check_weights(self, module, args, output, name: str) -> None:
        if self._pass is not None and len(self.weights[name]) <= self._recorded:
            problem = "A batch begins, and the weights after the one before were not retrieved"
            accumulated = "Without it passes count as one batch, as when gradients are accumulated"
            warnings.warn(f"{problem}: {CALL_RETRIEVE}. {accumulated}.", stacklevel=3)

    def _take_input(self, module, args, kwargs) -> None:
        if self._pass is not None:
            self._input = _copy(args[0] if args else kwargs["input"])  # now: inplace=True overwrites it

    def _take_output(self, module, args, output, name: str) -> None:
        if self._pass is not None:
            self._pass.append((name, self._input, _copy(output)))

    def _take_norm(self, module, args, output, name: str) -> None:
        if self._pass is not None:
            self._norms[name] = rms(args[0]), rms(output)

    def _end_pass(self, model, args, output) -> None:
        if self._pass is None:
            return
        uses = Counter()
        for name, *recorded in self._pass:
            uses[name] += 1
            unit = f"{name}:{uses[name]}" if uses[name] > 1 else name
            for lists, value in zip((self.net_values, self.activations), recorded, strict=True):
                if not self._recorded:
                    lists[unit] = lists.pop(unit, [])  # from now on in the order of use
                lists.setdefault(unit, []).append(value)
        for name, signal in self._norms.items():
            self.norm_signals[name].append(signal)
        self._recorded += 1
        self._pass = None


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _processed_batches(weights, net_values, activations, train_losses, val_losses) -> int:
    """Return the number of batches T; raise a ValueError if a list has not as many entries as the longest."""
    mode = "call the model itself, as model(x), in training mode, once for each batch; the pass must use this ReLU"
    mode += "; if it is compiled, make the monitor before its first call"
    losses = "call receive_losses(train_loss, val_loss) after each batch"
    counts = [(f'weights["{name}"]', len(entries) - 1, CALL_RETRIEVE) for name, entries in weights.items()]
    for kind, lists in (("net_values", net_values), ("activations", activations)):
        counts += [(f'{kind}["{name}"]', len(entries), mode) for name, entries in lists.items()]
    counts += [("train_losses", len(train_losses), losses), ("val_losses", len(val_losses), losses)]
    steps = max(count for _, count, _ in counts)
    if steps == 0:
        raise ValueError("No batch has been recorded: train the model before making a movie.")
    for name, count, advice in counts:
        if count < steps:
            raise ValueError(f"{name} is short, with {count} batches where others have {steps}: {advice}.")
    return steps
