"""Watches a training loop from outside: hooks of the model, the loss and the optimizer write down running numbers.

Nothing of the loop changes: no output, gradient or random number. Tensors are looked at while they are there anyway;
copies of the parameters are kept during a watched step of the optimizer, and no longer.
"""

import functools
import math
from collections import Counter

import pandas as pd
import torch
from torch import Tensor, nn

from helpers.passes import Recorder, few, std_over_samples

FIRST = 4  # passes that are watched whatever `every` is: what is wrong with loss, loop or first weights shows in them


def _safely(method):
    """Never let the loop suffer from its watcher: what `method` raises is written down, and the step is left out."""

    @functools.wraps(method)
    def guarded(self, *args, **kwargs):
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1
            self._gradients, self._before = {}, {}
            self._end_row()

    return guarded


class Watch:
    """Write down every `every`-th training pass and the first ones, until `close`.

    A training pass is a forward pass in training mode with gradients; passes in evaluation mode are only counted.
    `loss_fn` is to be called in the loop where the given one is a plain function, which has no hooks. Of the tables

    passes   has a row for each watched pass: its batch, outputs, labels, loss, and what gradients were left before it,
    places   one for each layer's input and each activation function's output in it (see helpers.passes),
    updates  one for each parameter in the optimizer's step after it: norms of weight, gradient and change.
    """

    def __init__(self, model: nn.Module, loss_fn, optimizer: torch.optim.Optimizer, every: int = 1):
        if every < 1:
            raise ValueError(f"every={every}: give 1 to watch each step, 16 to watch every 16th.")
        self.model, self.optimizer, self.every = model, optimizer, every
        self.parameters = dict(model.named_parameters())
        self.count: Counter[str] = Counter()  # of passes, losses, steps and evaluations
        self.labels: Counter[int] = Counter()  # of the classes in watched batches
        self.errors: Counter[str] = Counter()  # of what could not be watched
        self._tables = {"passes": [], "places": [], "updates": []}
        self._row, self._recorder = None, None  # of the last pass that is watched, until the step after it
        self._gradients: dict[str, Tensor] = {}  # their norms after its backward pass
        self._before: dict[str, Tensor] = {}  # parameters before the step under way
        self._losses_since_step = 0
        self._loss_sum, self._loss_count = 0.0, 0  # since the last watched pass
        self._row_hooks = []
        self._hooks = [
            model.register_forward_pre_hook(self._before_pass),
            model.register_forward_hook(self._after_pass, always_call=True),
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        if isinstance(loss_fn, nn.Module):
            self.loss_fn = loss_fn
            self._hooks.append(loss_fn.register_forward_hook(self._after_loss_module, with_kwargs=True))
        else:
            self.loss_fn = self._watched(loss_fn)

    passes = property(lambda self: pd.DataFrame(self._tables["passes"]))
    places = property(lambda self: pd.DataFrame(self._tables["places"]))
    updates = property(lambda self: pd.DataFrame(self._tables["updates"]))

    def close(self) -> None:
        """Remove all hooks; what is written down stays."""
        self._end_row()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _end_row(self) -> None:
        if self._recorder is not None:
            self._recorder.__exit__(None, None, None)
        for hook in self._row_hooks:
            hook.remove()
        self._row_hooks.clear()
        if self._gradients:  # no step came
            self._note_updates({}, {})
        self._row, self._recorder = None, None

    def _note_updates(self, at_step: dict[str, Tensor], changes: dict[str, Tensor]) -> None:
        """Write a row for each parameter; norms come as tensors of one element and are fetched at once."""
        weights = norms(self._before or self.parameters)
        columns = {"weight": weights, "gradient": self._gradients, "at step": at_step, "change": changes}
        fetched = {key: dict(zip(column, values(column.values()), strict=True)) for key, column in columns.items()}
        for name, p in self.parameters.items():
            row = {"pass": self._row["pass"], "name": name, "dimensions": p.ndim}
            numbers = {key: column.get(name, math.nan) for key, column in fetched.items()}
            self._tables["updates"].append(row | numbers)
        self._gradients = {}

    def _due(self) -> bool:
        """Tell whether the next pass is to be watched."""
        return self.count["passes"] % self.every == 0 or self.count["passes"] < FIRST

    # ---- the forward pass

    @_safely
    def _before_pass(self, module, args):
        if not (module.training and torch.is_grad_enabled()):
            self.count["evaluations in training mode" if module.training else "evaluations"] += 1
            return
        due, number = self._due(), self.count["passes"]
        self.count["passes"] += 1
        if due:
            self._end_row()
            self._row = {"pass": number, "step": self.count["steps"]}
            if args and isinstance(args[0], Tensor):
                self._row |= spread(args[0], "input")
            self._recorder = Recorder(self.parameters)
            self._recorder.__enter__()

    @_safely
    def _after_pass(self, module, args, outputs):
        if self._recorder is None:
            return
        recorder, self._recorder = self._recorder, None
        recorder.__exit__(None, None, None)
        self._tables["places"] += [{"pass": self._row["pass"]} | row for row in recorder.rows]
        self._tables["passes"].append(self._row)

    # ---- the loss and the backward pass

    def _watched(self, loss_fn):
        @functools.wraps(loss_fn)
        def watched(*args, **kwargs):
            loss = loss_fn(*args, **kwargs)
            self._after_loss(loss, *args, *kwargs.values())
            return loss

        return watched

    def _after_loss_module(self, module, args, kwargs, loss):
        self._after_loss(loss, *args, *kwargs.values())

    @_safely
    def _after_loss(self, loss, outputs, targets, *_):
        if not (isinstance(loss, Tensor) and loss.requires_grad):
            return  # of an evaluation
        self.count["losses"] += 1
        self._losses_since_step += 1
        self._loss_sum, self._loss_count = self._loss_sum + loss.detach().mean(), self._loss_count + 1
        if self._row is None or "loss" in self._row:
            return
        self._row |= {"loss": loss.detach().mean().item()}
        self._row["mean loss"] = float(self._loss_sum) / self._loss_count  # since the last watched pass
        self._loss_sum, self._loss_count = 0.0, 0
        if isinstance(outputs, Tensor):
            self._row |= {"size": len(outputs)} | spread(outputs, "output")
        if is_classification(outputs, targets):
            self._row |= judged(outputs, targets)
            self.labels.update(targets.tolist())
        self._row_hooks.append(loss.register_hook(self._at_backward))
        for name, p in self.parameters.items():
            if p.requires_grad:
                hook = functools.partial(self._after_gradient, name)
                self._row_hooks.append(p.register_post_accumulate_grad_hook(hook))

    @_safely
    def _at_backward(self, gradient):
        """Note the gradients left from the step before, and by what the loss was scaled (accumulation, AMP)."""
        self._row["scale"] = gradient.abs().mean().item()
        if self._losses_since_step == 1 and self.count["steps"]:  # else they may be summed up on purpose
            self._row["left"] = max(values(norms(self._all_gradients()).values()), default=0.0)

    @_safely
    def _after_gradient(self, name, p):
        self._gradients[name] = p.grad.norm()

    # ---- the step

    def _all_gradients(self) -> dict[str, Tensor]:
        return {name: p.grad for name, p in self.parameters.items() if p.grad is not None}

    @_safely
    def _before_step(self, optimizer, args, kwargs):
        by_closure = self._row is None and self._losses_since_step == 0  # the passes of this step are still to come
        if self._row is not None or (by_closure and self._due()):
            self._before = {name: p.detach().clone() for name, p in self.parameters.items()}
            self._at_step = {} if by_closure else norms(self._all_gradients())

    @_safely
    def _after_step(self, optimizer, args, kwargs):
        self.count["steps"] += 1
        self._losses_since_step = 0
        if self._before and self._row is not None:
            changes = {name: p.detach() - self._before[name] for name, p in self.parameters.items()}
            self._note_updates(self._at_step, norms(changes))
        self._before = {}
        self._end_row()


# ---- numbers


def norms(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the norm of each tensor, as a tensor of one element."""
    found = torch._foreach_norm([tensor.detach() for tensor in tensors.values()]) if tensors else []
    return dict(zip(tensors, found, strict=True))


def values(numbers) -> list[float]:
    """Fetch tensors of one element from their device, all at once."""
    numbers = list(numbers)
    return torch.stack(numbers).tolist() if numbers else []


@torch.no_grad()
def spread(batch: Tensor, name: str) -> dict[str, float]:
    """Return the distribution of the values of a batch (B, ...), under keys that begin with `name`.

    `variation`: root mean square of the std over samples / that of the values, 0 where all samples are the same.
    """
    batch = few(batch.detach()).float()
    rms, over_samples = batch.square().mean().sqrt(), std_over_samples(batch)
    low, high = batch.aminmax()
    keys = ("rms", "mean", "low", "high", "variation")
    numbers = values([rms, batch.mean(), low, high, over_samples / rms])
    return {f"{name} {key}": number for key, number in zip(keys, numbers, strict=True)}


def is_classification(outputs, targets) -> bool:
    """Tell whether outputs (B, C) are compared with class indices (B,)."""
    both = isinstance(outputs, Tensor) and isinstance(targets, Tensor) and outputs.ndim == 2 and targets.ndim == 1
    return both and not targets.is_floating_point() and len(outputs) == len(targets)


@torch.no_grad()
def judged(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Return accuracy, the shares of the commonest prediction and label, and how far sums of outputs are from 1."""
    guesses, outputs = outputs.argmax(1), outputs.float()
    not_negative = bool((outputs >= 0).all())
    return {
        "accuracy": (guesses == targets).float().mean().item(),
        "guess share": guesses.bincount().max().item() / len(targets),
        "label share": targets.bincount().max().item() / len(targets),
        "rows off 1": (outputs.sum(1) - 1).abs().max().item() if not_negative else math.inf,
        "columns off 1": (outputs.sum(0) - 1).abs().max().item() if not_negative else math.inf,
    }
